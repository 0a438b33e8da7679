// Command emit writes a program of package argsgen to standard output.
//
//	emit SEED FUNCTIONS
package main

import (
	"fmt"
	"os"
	"strconv"

	"nopal/test/argsgen"
)

func main() {
	if err := emit(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "emit:", err)
		os.Exit(1)
	}
}

func emit(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: emit SEED FUNCTIONS")
	}
	seed, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(argsgen.Generate(seed, n).Source)
	return err
}
