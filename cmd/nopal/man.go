package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newMan(*app) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageErrorf(c, "name the directory to write the manual pages into")
			}
			return writeManPages(args[0], c.Root())
		},
	}
}

// writeManPages writes one page for each command. The text is the commands' own, so it cannot fall behind them.
func writeManPages(dir string, c *cobra.Command) error {
	if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create directory for manual pages: %w", err)
	}
	path := filepath.Join(dir, manName(c)+".1")
	if err := os.WriteFile(path, []byte(manPage(c)), 0o644); err != nil {
		return fmt.Errorf("write manual page: %w", err)
	}
	for _, sub := range c.Commands() {
		if err := writeManPages(dir, sub); err != nil {
			return err
		}
	}
	return nil
}

func manName(c *cobra.Command) string {
	return strings.ReplaceAll(c.CommandPath(), " ", "-")
}

// manPage renders a command in the macros of man(7).
func manPage(c *cobra.Command) string {
	var b strings.Builder
	// No date: the pages of one source are to be the same bytes whenever they are made.
	fmt.Fprintf(&b, ".TH %s 1 \"\" nopal \"nopal manual\"\n", roffQuote(strings.ToUpper(manName(c))))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(c)), roff(c.Short))
	b.WriteString(".SH SYNOPSIS\n")
	for _, line := range strings.Split(synopsis(c), "\n") {
		fmt.Fprintf(&b, ".PP\n.nf\n\\fB%s\\fR\n.fi\n", roff(strings.TrimSpace(line)))
	}
	b.WriteString(".SH DESCRIPTION\n")
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	roffText(&b, text)
	if c.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
				fmt.Fprintf(&b, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(manName(sub)), roff(sub.Short))
			}
		}
	}
	flags := false
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !flags {
			b.WriteString(".SH OPTIONS\n")
			flags = true
		}
		roffFlag(&b, f)
	})
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n")
		roffText(&b, c.Example)
	}
	b.WriteString(".SH SEE ALSO\n")
	var others []string
	for _, other := range append([]*cobra.Command{c.Root()}, c.Root().Commands()...) {
		if other != c && !other.Hidden && other.Name() != "help" && other.Name() != "completion" {
			others = append(others, `\fB`+roff(manName(other))+`\fR(1)`)
		}
	}
	b.WriteString(strings.Join(others, ",\n") + "\n")
	return b.String()
}

func synopsis(c *cobra.Command) string {
	if c.HasParent() {
		return c.Parent().CommandPath() + " " + c.Use
	}
	return c.CommandPath() + " COMMAND [ARGUMENTS]"
}

func roffFlag(b *strings.Builder, f *pflag.Flag) {
	name, usage := pflag.UnquoteUsage(f)
	b.WriteString(".TP\n")
	if f.Shorthand != "" {
		fmt.Fprintf(b, "\\fB\\-%s\\fR, ", f.Shorthand)
	}
	fmt.Fprintf(b, "\\fB\\-\\-%s\\fR", roff(f.Name))
	if name != "" {
		fmt.Fprintf(b, " \\fI%s\\fR", roff(name))
	}
	b.WriteString("\n" + roff(usage))
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
		b.WriteString(" (default " + roff(f.DefValue) + ")")
	}
	b.WriteString("\n")
}

// roffText writes paragraphs; lines that begin with a blank are kept as they are.
func roffText(b *strings.Builder, text string) {
	verbatim := false
	set := func(v bool) {
		if v != verbatim {
			b.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n"}[v])
			verbatim = v
		}
	}
	b.WriteString(".PP\n")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			set(false)
			b.WriteString(".PP\n")
			continue
		}
		set(strings.HasPrefix(line, " "))
		b.WriteString(roff(line) + "\n")
	}
	set(false)
}

// roff escapes what troff would take as a command or as typography.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func roffQuote(s string) string { return `"` + roff(s) + `"` }
