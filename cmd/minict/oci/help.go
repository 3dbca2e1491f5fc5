package oci

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func find(name string) *command {
	for _, c := range table() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

func (a *app) printVersion() {
	fmt.Fprintf(a.Out, "%s version %s\nspec: %s\ngo: %s\n", Name, a.version, specs.Version, runtime.Version())
}

func (a *app) help(global *flags) {
	w := bufio.NewWriter(a.Out)
	defer w.Flush()
	fmt.Fprintf(w, "%s runs containers as an OCI runtime, for engines and by hand.\n\n", Name)
	fmt.Fprintf(w, "Usage: %s [GLOBAL FLAG...] COMMAND [FLAG...] [ARGUMENT...]\n\nCommands:\n", Name)
	for _, c := range table() {
		fmt.Fprintf(w, "  %-12s%s\n", c.name, c.short)
	}
	fmt.Fprintf(w, "  %-12s%s\n\nGlobal flags:\n", "help", "explain a command")
	global.print(w)
}

func (a *app) helpFor(args []string, global *flags) error {
	if len(args) == 0 {
		a.help(global)
		return nil
	}
	c := find(args[0])
	if c == nil {
		return failure{fmt.Errorf("unknown command %q: see %s --help", args[0], Name), 3}
	}
	f := newFlags(c.name)
	c.prepare(a, f)
	a.commandHelp(c, f)
	return nil
}

func (a *app) commandHelp(c *command, f *flags) {
	w := bufio.NewWriter(a.Out)
	defer w.Flush()
	usage := strings.TrimSpace(strings.Join([]string{Name, c.name, "[FLAG...]", c.args}, " "))
	fmt.Fprintf(w, "%s: %s.\n\nUsage: %s\n", c.name, c.short, usage)
	if len(f.list) > 0 {
		fmt.Fprint(w, "\nFlags:\n")
		f.print(w)
	}
}

func (f *flags) print(w io.Writer) {
	for _, o := range f.list {
		names := "    --" + o.long
		if o.short != "" {
			names = "-" + o.short + ", --" + o.long
		}
		if o.value != "" && o.value != "value" {
			names += " " + o.value
		}
		fmt.Fprintf(w, "  %-34s%s\n", names, o.usage)
	}
}
