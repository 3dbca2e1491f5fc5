package oci

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// flags are a command's flags: long names with two dashes, short ones with
// one, as package flag takes both.
type flags struct {
	set  *flag.FlagSet
	list []option
}

// option is a flag as help shows it.
type option struct{ long, short, value, usage string }

var errHelp = errors.New("help is wanted")

func newFlags(name string) *flags {
	f := &flags{set: flag.NewFlagSet(name, flag.ContinueOnError)}
	f.set.SetOutput(io.Discard)
	f.set.Usage = func() {}
	return f
}

// parse reads the flags and gives the other arguments. With program, what
// comes behind the first of those is not looked at.
func (f *flags) parse(args []string, program bool) ([]string, error) {
	var rest []string
	for {
		err := f.set.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, errHelp
		}
		if err != nil {
			return nil, err
		}
		left := f.set.Args()
		ended := len(args) > len(left) && args[len(args)-len(left)-1] == "--"
		if program || ended || len(left) == 0 {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// add registers a flag under both of its names. In usage, the `word` in
// backquotes stands for the value.
func (f *flags) add(v flag.Value, long, short, usage string) {
	f.set.Var(v, long, usage)
	if short != "" {
		f.set.Var(v, short, usage)
	}
	value, usage := flag.UnquoteUsage(f.set.Lookup(long))
	f.list = append(f.list, option{long, short, value, usage})
}

func (f *flags) text(p *string, long, short, otherwise, usage string) {
	*p = otherwise
	f.add((*text)(p), long, short, usage)
}

func (f *flags) bool(p *bool, long, short, usage string) { f.add((*boolean)(p), long, short, usage) }

func (f *flags) number(p *int, long, short, usage string) { f.add((*number)(p), long, short, usage) }

func (f *flags) texts(p *[]string, long, short, usage string) { f.add((*texts)(p), long, short, usage) }

// given says whether a flag is on the command line, under whichever name.
func (f *flags) given(long string) bool {
	found := false
	f.set.Visit(func(seen *flag.Flag) {
		found = found || seen.Value == f.set.Lookup(long).Value
	})
	return found
}

type text string

func (t *text) String() string     { return string(*t) }
func (t *text) Set(s string) error { *t = text(s); return nil }

type texts []string

func (t *texts) String() string     { return strings.Join(*t, ",") }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

type number int

func (n *number) String() string { return strconv.Itoa(int(*n)) }

func (n *number) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%q is not a number", s)
	}
	*n = number(v)
	return nil
}

type boolean bool

func (b *boolean) String() string   { return strconv.FormatBool(bool(*b)) }
func (b *boolean) IsBoolFlag() bool { return true }

func (b *boolean) Set(s string) error {
	v, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", s)
	}
	*b = boolean(v)
	return nil
}
