package runtime

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"minict/runtime/plan"
)

// Explain writes a plan for people to read: a line for each step, in the
// order in which they are carried out. With clocks (launch.Program.Clocks) it
// also writes how long each step took.
func Explain(w io.Writer, p *plan.Plan, clocks []uint64) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, phase := range []plan.Phase{plan.Host, plan.Child, plan.Undo} {
		begun := false
		for i, s := range p.Steps {
			if s.Phase != phase {
				continue
			}
			if !begun {
				fmt.Fprintln(t, phaseTitle(phase))
				begun = true
			}
			took := ""
			if clocks != nil {
				took = stepTime(p, clocks, i) + "\t"
			}
			what := strings.TrimSpace(s.Verb + " " + s.Object)
			fmt.Fprintf(t, "  %s%s\t%s\t%s\n", took, visible(what), shorten(visible(s.Detail)), s.Why)
		}
	}
	return t.Flush()
}

func phaseTitle(p plan.Phase) string {
	switch p {
	case plan.Host:
		return "before the container's first process exists:"
	case plan.Child:
		return "in the process that becomes the container:"
	default:
		return "when the container has ended:"
	}
}

// stepTime is the time from the begin of a step to the begin of the next one
// that was carried out in the same phase; the last, exec, has none.
func stepTime(p *plan.Plan, clocks []uint64, i int) string {
	if i >= len(clocks) || clocks[i] == 0 {
		return "-"
	}
	for j := i + 1; j < len(clocks); j++ {
		if p.Steps[j].Phase == p.Steps[i].Phase && clocks[j] != 0 {
			return fmt.Sprintf("%dµs", (clocks[j]-clocks[i])/uint64(time.Microsecond))
		}
	}
	return "-"
}

// visible leaves out what would command the reader's terminal: an image can say
// anything.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// shorten keeps lists of many names readable.
func shorten(s string) string {
	const most = 72
	if len(s) <= most {
		return s
	}
	return s[:most-1] + "…"
}
