// Command nopal traces the functions of running programs: ftrace for user space.
//
// The package is the command line and nothing else: it reads flags, calls internal/session for recording and internal/analyze
// for reading, and turns what they return into text and exit codes. There is one file for each subcommand; root.go has what
// they share. What is a report goes to stdout, everything else to stderr.
package main

import (
	"os"
)

func main() {
	code, signal := run(os.Args[1:], os.Stdout, os.Stderr)
	if signal != 0 {
		dieBySignal(signal)
	}
	os.Exit(code)
}
