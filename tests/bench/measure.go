package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// contender is a command that is measured.
type contender struct {
	name    string
	version string
	env     []string
	args    func(round int) []string // the command of each round
	then    func(round int) []string // a second one, measured with it, or nil
	engine  *engine                  // if it has a network of its own to measure
	// What comes before and after each round, and is not measured, or nil.
	before, after func(round int) error
}

// result is how long a contender's rounds took, sorted.
type result struct {
	contender
	times []time.Duration
}

type results []result

const warmUp = 5 // rounds that do not count

// settle is a pause before each run: what a command leaves to be freed, network
// namespaces above all, the kernel frees later, at the cost of whoever comes
// next.
const settle = 30 * time.Millisecond

// measure runs the contenders in turn, from the start of each command to its
// end. Who comes first, and who comes after whom, is another in each round: a
// command that follows a slow one is slower.
func measure(contenders []contender, rounds int) (results, error) {
	all := make(results, len(contenders))
	for i, c := range contenders {
		all[i].contender = c
	}
	order := rand.New(rand.NewPCG(1, 2)) // the same each time
	for round := range warmUp + rounds {
		for _, i := range order.Perm(len(contenders)) {
			time.Sleep(settle)
			took, err := contenders[i].once(round)
			if err != nil {
				return nil, err
			}
			if round >= warmUp {
				all[i].times = append(all[i].times, took)
			}
		}
	}
	for i := range all {
		slices.Sort(all[i].times)
	}
	return all, nil
}

func (c contender) once(round int) (time.Duration, error) {
	if c.before != nil {
		if err := c.before(round); err != nil {
			return 0, err
		}
	}
	took, err := c.run(c.args(round))
	if err == nil && c.then != nil {
		var more time.Duration
		more, err = c.run(c.then(round))
		took += more
	}
	if err == nil && c.after != nil {
		err = c.after(round)
	}
	return took, err
}

// run runs a command. What it says goes to a file: a container that stays may
// keep it open.
func (c contender) run(args []string) (time.Duration, error) {
	out, err := os.CreateTemp("", "minict-bench-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stderr = c.env, out
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if err != nil {
		said, _ := os.ReadFile(out.Name())
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, said)
	}
	return took, nil
}

func (r result) at(share float64) time.Duration {
	return r.times[min(int(share*float64(len(r.times))), len(r.times)-1)]
}

// table prints medians, and their ratio to that of the named contender.
func (rs results) table(title, reference string) {
	var base float64
	for _, r := range rs {
		if r.name == reference {
			base = float64(r.at(0.5))
		}
	}
	fmt.Printf("\n%s, %d runs each\n", title, len(rs[0].times))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\tmedian ms\tp10\tp90\t× %s\t\n", reference)
	for _, r := range rs {
		ratio := "-"
		if base > 0 {
			ratio = fmt.Sprintf("%.3f", float64(r.at(0.5))/base)
		}
		fmt.Fprintf(w, "%s %s\t%.2f\t%.2f\t%.2f\t%s\t\n", r.name, r.version,
			milliseconds(r.at(0.5)), milliseconds(r.at(0.1)), milliseconds(r.at(0.9)), ratio)
	}
	w.Flush()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
