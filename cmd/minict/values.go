package main

import "strings"

// values is a flag that may be given several times. pflag has such a flag, but
// it formats the default of each as CSV, with buffers, whenever it is made.
type values []string

func (v *values) String() string { return strings.Join(*v, ",") }
func (v *values) Type() string   { return "value" }

func (v *values) Set(s string) error {
	*v = append(*v, s)
	return nil
}
