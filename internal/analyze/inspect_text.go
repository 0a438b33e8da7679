package analyze

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"nopal/trace"
)

// topFunctions is how many of the most called functions are shown.
const topFunctions = 10

// WriteText writes the facts as people read them.
func (in *Info) WriteText(w io.Writer) error {
	var b strings.Builder
	in.writeHead(&b)
	in.writeObjects(&b)
	in.writeProcesses(&b)
	in.writeFunctions(&b)
	in.writeBlocks(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return &WriteError{err}
	}
	return nil
}

func (in *Info) writeHead(b *strings.Builder) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(b, "%-9s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	m := &in.Meta
	line("command", "%s", shellWords(m.Command))
	line("nopal", "%s", m.Version)
	line("host", "%s: %s, %s, %d CPUs, pages of %d bytes", m.Host, m.System, m.Machine, m.CPUs, m.PageSize)
	line("started", "%s", time.Unix(0, m.Started).UTC().Format("2006-01-02 15:04:05 MST"))
	line("clock", "%s, %s", in.Clock.Source, frequency(in.Clock.Frequency))
	if len(m.Options) > 0 {
		var opts []string
		for _, o := range m.Options {
			opts = append(opts, o.Name+"="+o.Value)
		}
		line("options", "%s", shellWords(opts))
	}
	if in.End != nil {
		line("lasted", "%v; ended because %s", time.Duration(in.End.Duration), in.End.Reason)
	} else if in.Events > 0 {
		line("lasted", "%v from first to last event", time.Duration(in.Last-in.First))
	}
	if in.Exits > 0 {
		line("events", "%d: %d entries and %d exits", in.Events, in.Events-in.Exits, in.Exits)
	} else {
		line("events", "%d", in.Events)
	}
	if p := in.Probes; p != (ProbeInfo{}) {
		line("probes", "%d for arguments, %d for results, %d for injections", p.Entries, p.Exits, p.Injections)
	}
	switch in.Injections {
	case 0:
	case 1:
		line("injected", "into 1 call")
	default:
		line("injected", "into %d calls", in.Injections)
	}
	line("lost", "%d", in.Lost)
	state := "complete"
	switch {
	case in.Damage != nil:
		state = "DAMAGED, the facts are those before the damage: " + in.Damage.Error()
	case in.Truncated:
		state = "INCOMPLETE: the recorder was killed or could not write"
	}
	line("file", "%s, %s", byteCount(in.Size), state)
}

func frequency(hz uint64) string {
	switch {
	case hz >= 1e9 && hz%1e6 == 0:
		return fmt.Sprintf("%g GHz", float64(hz)/1e9)
	case hz >= 1e6:
		return fmt.Sprintf("%g MHz", float64(hz)/1e6)
	}
	return fmt.Sprintf("%d Hz", hz)
}

func byteCount(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 10<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// shellWords writes words so that a shell would read them back.
func shellWords(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$`*?[](){}<>|&;~#!") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		b.WriteString(w)
	}
	return b.String()
}

// table writes aligned columns under a heading.
func table(b *strings.Builder, heading string, rows func(row func(cells ...any))) {
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, printable(fmt.Sprint(c)))
		}
		fmt.Fprintln(w)
	})
	// A Builder takes everything.
	_ = w.Flush()
}

func (in *Info) writeObjects(b *strings.Builder) {
	table(b, "CALLS\tFUNCTIONS\tCALLED\tBUILD-ID\tOBJECT", func(row func(...any)) {
		for _, o := range in.Objects {
			row(o.Events, o.Functions, o.Called, orDash(o.BuildID), o.Path)
		}
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (in *Info) writeProcesses(b *strings.Builder) {
	table(b, "PID\tTID\tEVENTS\tLOST\tNAME", func(row func(...any)) {
		for _, p := range in.Processes {
			row(p.PID, "", p.Events, p.Lost, shellWords(p.Command)+p.fate())
			for _, t := range p.Threads {
				row("", t.TID, t.Events, t.Lost, orDash(t.Name))
			}
		}
	})
}

// fate says how a process ended, if that is worth saying.
func (p *ProcessInfo) fate() string {
	s := syscall.WaitStatus(p.Status)
	switch {
	case !p.Ended || s == 0:
		return ""
	case s.Signaled():
		return fmt.Sprintf(" (killed by signal %d)", s.Signal())
	}
	return fmt.Sprintf(" (exit status %d)", s.ExitStatus())
}

func (in *Info) writeFunctions(b *strings.Builder) {
	if len(in.Functions) == 0 {
		return
	}
	table(b, fmt.Sprintf("CALLS\tFUNCTION (of %d called)", len(in.Functions)), func(row func(...any)) {
		for _, f := range in.Functions[:min(topFunctions, len(in.Functions))] {
			row(f.Calls, f.Name)
		}
	})
}

func (in *Info) writeBlocks(b *strings.Builder) {
	table(b, "BLOCKS\tBYTES\tTYPE", func(row func(...any)) {
		row(1, trace.HeaderSize, "header")
		for _, s := range in.Blocks {
			row(s.Count, s.Bytes, s.Type)
		}
	})
}
