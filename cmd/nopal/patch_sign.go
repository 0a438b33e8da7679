package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nopal/internal/livepatch"
)

func newPatchSign(a *app) *cobra.Command {
	var key, output string
	c := &cobra.Command{
		Use:   "sign [FLAGS] --key SECRET FILE.npz",
		Short: "Sign a patch",
		Long: `sign makes a signature of a patch with a secret key of minisign, and writes it to a file beside the patch, with .minisig
appended to its name. patch apply --require-signature KEY checks it; so does minisign -V, which can make it as well.

If the key is protected by a password, it is asked for on the terminal.`,
		Example: `  minisign -G -s patch.key -p patch.pub
  nopal patch sign --key patch.key fix.npz
  nopal patch apply -p 1234 --require-signature patch.pub fix.npz`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usageErrorf(c, "sign what? give one patch")
			case key == "":
				return usageErrorf(c, "sign with what? give the file of a secret key with --key")
			}
			if output == "" {
				output = livepatch.SignatureFile(args[0])
			}
			signature, err := livepatch.Sign(args[0], key, a.askPassword)
			if err != nil {
				return err
			}
			if err := writeWhole(output, signature); err != nil {
				return fmt.Errorf("write signature: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&key, "key", "s", "", "the secret key, a `file` made by minisign -G")
	c.Flags().StringVarP(&output, "output", "o", "", "write the signature to this `file` (default: FILE.npz.minisig)")
	return c
}

// askPassword reads a password from the terminal, or, without one, from a line
// of standard input.
func (a *app) askPassword() (string, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		fmt.Fprint(a.stderr, "Password of the secret key: ")
		word, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(a.stderr)
		return string(word), err
	}
	var line [1024]byte
	n, err := os.Stdin.Read(line[:])
	if n == 0 {
		return "", errors.Join(livepatch.ErrPassword, err)
	}
	word, _, _ := bytes.Cut(line[:n], []byte("\n"))
	return string(word), nil
}
