// Package args knows which arguments and results of functions are wanted, and where they are.
//
// It exists so that what a user writes (`write@arg1/i32,arg2/s`, `arg1==2 && ret<0`) and what DWARF says end in the same two
// things: a program that the target runs at the function's entry or exit (internal/probe), and a layout by which a reader
// understands what the program has recorded (trace.Probe).
package args

import (
	"fmt"
	"strings"
)

// SyntaxError is an argument list or condition that cannot be understood; its message shows the place.
type SyntaxError struct {
	What    string // what was read: "condition", "-A"
	Text    string
	Offset  int // in bytes, into Text
	Problem string
}

func (e *SyntaxError) Error() string {
	// The caret stands under a terminal's column, so it is moved by runes, not bytes.
	column := len([]rune(e.Text[:min(e.Offset, len(e.Text))]))
	return fmt.Sprintf("read %s: %s\n    %s\n    %s^", e.What, e.Problem, e.Text, strings.Repeat(" ", column))
}

// Split divides `glob@rest` at the last @ that is not inside of quotes. Without one rest is empty and found is false.
func Split(text string) (glob, rest string, found bool) {
	at, quote := -1, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case at >= 0 && (c == '\'' || c == '"'):
			quote = c // only a condition has quotes; a name may have one of them
		case c == '@':
			at = i
		}
	}
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+1:], true
}
