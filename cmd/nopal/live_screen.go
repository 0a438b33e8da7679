package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// screen is the terminal while a table takes all of it: the alternate screen, which leaves what was there before as it was, and
// raw input, so that keys work at once.
type screen struct {
	tty   *os.File
	state *term.State
	winch chan os.Signal
	once  sync.Once
}

// The sequences are those of every terminal since the VT100 and xterm.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// openScreen takes the terminal that nopal was started on.
func openScreen() (*screen, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	s := &screen{tty: tty, winch: make(chan os.Signal, 1)}
	if s.state, err = term.MakeRaw(int(tty.Fd())); err != nil {
		_ = tty.Close()
		return nil, fmt.Errorf("prepare terminal: %w", err)
	}
	signal.Notify(s.winch, syscall.SIGWINCH)
	if _, err := tty.WriteString(enterScreen); err != nil {
		s.close()
		return nil, fmt.Errorf("prepare terminal: %w", err)
	}
	return s, nil
}

// close gives the terminal back. Whoever comes first does it.
func (s *screen) close() {
	s.once.Do(func() {
		signal.Stop(s.winch)
		_, _ = s.tty.WriteString(leaveScreen)
		_ = term.Restore(int(s.tty.Fd()), s.state)
	})
}

// size is that of the terminal now.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.tty.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// draw replaces what is shown, in one write so that it does not flicker.
func (s *screen) draw(lines []string) error {
	var b strings.Builder
	b.WriteString(home)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + clearLine)
	}
	b.WriteString(clearBelow)
	if _, err := s.tty.WriteString(b.String()); err != nil {
		return fmt.Errorf("write to terminal: %w", err)
	}
	return nil
}

// keys gives what is typed.
func (s *screen) keys() <-chan byte {
	keys := make(chan byte)
	go func() {
		buf := make([]byte, 64)
		for {
			n, err := s.tty.Read(buf)
			if err != nil || n == 0 {
				// The terminal has gone: SIGHUP tells.
				return
			}
			for _, key := range plainKeys(buf[:n]) {
				keys <- key
			}
		}
	}()
	return keys
}

// plainKeys leaves out the sequences that arrows and the like send, which are none of ours (ECMA-48 5.4: ESC [, parameters, a
// final byte; or ESC and one byte).
func plainKeys(typed []byte) []byte {
	var keys []byte
	for i := 0; i < len(typed); i++ {
		if typed[i] != '\x1b' {
			keys = append(keys, typed[i])
			continue
		}
		if i++; i < len(typed) && (typed[i] == '[' || typed[i] == 'O') {
			for i++; i < len(typed) && (typed[i] < '@' || typed[i] > '~'); i++ {
			}
		}
	}
	return keys
}

// resized gives a value when the terminal has another size.
func (s *screen) resized() <-chan byte {
	resized := make(chan byte)
	go func() {
		for range s.winch {
			resized <- 0
		}
	}()
	return resized
}
