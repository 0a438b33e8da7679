package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// attachment is for how long a process of 100,000 functions stood still when nopal attached, recorded and left: the longest time that
// the process itself saw between two looks at the clock, of each attachment.
type attachment struct {
	Flags string    `json:"flags"`
	Gaps  []float64 `json:"gaps"`  // milliseconds
	Idle  []float64 `json:"idle"`  // the same time without nopal: what the machine does
	Parts []string  `json:"parts"` // what nopal says of it
	Error string    `json:"error,omitempty"`
}

const manyFunctions = "many-100000"

// measureAttach attaches to a running process again and again.
func (b *bench) measureAttach(ctx context.Context) {
	for _, flags := range []string{"", "--graph"} {
		a := &attachment{Flags: flags}
		b.results.Attach = append(b.results.Attach, a)
		if err := b.attach(ctx, a); err != nil {
			a.Error = err.Error()
			fmt.Fprintf(os.Stderr, "peers: attach %s: %v\n", flags, err)
		}
	}
}

func (b *bench) attach(ctx context.Context, a *attachment) error {
	build := exec.CommandContext(ctx, "test/build.sh", "--arch", "amd64", manyFunctions)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build a program with 100,000 functions: %w", err)
	}
	program, err := filepath.Abs("build/amd64/fixtures/test/" + manyFunctions)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "gap")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return errors.New("the program ended early")
	}
	for range b.options.runs {
		if _, err := askGap(in, lines); err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
		idle, err := askGap(in, lines)
		if err != nil {
			return err
		}
		argv := append([]string{"record", "-p", strconv.Itoa(cmd.Process.Pid), "--duration", "200ms", "-o", filepath.Join(b.dir, "attach.data")},
			strings.Fields(a.Flags)...)
		said, err := exec.CommandContext(ctx, b.options.nopal, argv...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, telling(string(said)))
		}
		gap, err := askGap(in, lines)
		if err != nil {
			return err
		}
		a.Gaps, a.Idle = append(a.Gaps, gap), append(a.Idle, idle)
		if part := stoodStill.FindString(string(said)); part != "" {
			a.Parts = append(a.Parts, part)
		}
	}
	return nil
}

var stoodStill = regexp.MustCompile(`stood still .*`)

// askGap returns the longest gap since it was asked last, in milliseconds.
func askGap(in io.Writer, lines *bufio.Scanner) (float64, error) {
	if _, err := fmt.Fprintln(in); err != nil {
		return 0, err
	}
	if !lines.Scan() {
		return 0, errors.New("the program ended early")
	}
	return parseGap(lines.Text())
}

func parseGap(line string) (float64, error) {
	var ns float64
	if _, err := fmt.Sscanf(line, "gap %g", &ns); err != nil {
		return 0, fmt.Errorf("read the program's answer %q: %w", line, err)
	}
	return ns / 1e6, nil
}

// attachTable shows the attachments.
func (r *results) attachTable() [][]string {
	rows := [][]string{{"nopal record -p", "ms median", "min..max", "without nopal", "reach", ""}}
	for _, a := range r.Attach {
		name := "entries"
		if a.Flags != "" {
			name = a.Flags
		}
		s, ok := spreadOf(a.Gaps, 1)
		idle, _ := spreadOf(a.Idle, 1)
		if a.Error != "" || !ok {
			rows = append(rows, []string{name, "not there yet: " + a.Error})
			continue
		}
		rows = append(rows, []string{name, figure(s.median), figure(s.least) + ".." + figure(s.most), figure(idle.median), "<= 50", verdict(true, s.median <= 50)})
		if n := len(a.Parts); n > 0 {
			rows = append(rows, []string{"", "the last: " + a.Parts[n-1]})
		}
	}
	return rows
}
