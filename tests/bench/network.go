package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// bridged is minict with its default network.
func (s *site) bridged() contender {
	c := s.minict()
	c.name = "minict, bridge"
	c.args = func(int) []string { return []string{s.binary, "run", "--rm", s.ref, "true"} }
	return c
}

// engine is a command line that runs containers on a network.
type engine struct {
	name, image string
	env         []string
	argv        []string // how each command begins
}

func (s *site) engine() engine {
	return engine{name: "minict", image: s.ref, env: s.minictEnv(), argv: []string{s.binary}}
}

// withNetwork measures a run with each engine's default network.
func (s *site) withNetwork(peers []contender, rounds int) error {
	all := []contender{s.bridged()}
	for _, p := range peers {
		if p.engine == nil {
			continue
		}
		e := *p.engine
		p.args = func(int) []string { return e.command("run", "--rm", e.image, "true") }
		all = append(all, p)
	}
	results, err := measure(all, rounds)
	if err != nil {
		return err
	}
	results.table("run --rm IMAGE true, on the default network", "docker")
	return nil
}

func (e engine) command(args ...string) []string { return slices.Concat(e.argv, args) }

func (e engine) quietly(args ...string) error {
	c := e.command(args...)
	return quietly(e.env, c[0], c[1:]...)
}

func (e engine) output(args ...string) (string, error) {
	c := e.command(args...)
	cmd := exec.Command(c[0], c[1:]...)
	cmd.Env = e.env
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// throughputRounds is how often each engine's bridge is measured, in turn.
const throughputRounds = 5

// throughput measures what goes from one container to another over each
// engine's bridge: TCP, one stream.
func (s *site) throughput(peers []contender) error {
	if _, err := exec.LookPath(iperf); err != nil {
		fmt.Printf("left out: throughput: %v\n", err)
		return nil
	}
	engines := []engine{s.engine()}
	for _, p := range peers {
		if p.engine != nil {
			engines = append(engines, *p.engine)
		}
	}
	rates := make([][]float64, len(engines))
	addresses := make([]string, len(engines))
	for i, e := range engines {
		defer e.quietly("rm", "-f", "iperf")
		if err := e.quietly(e.iperf("-d", "--name", "iperf")("-s")...); err != nil {
			return err
		}
		var err error
		if addresses[i], err = e.output("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "iperf"); err != nil {
			return err
		}
	}
	for range throughputRounds {
		for i, e := range engines {
			rate, err := e.stream(addresses[i])
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	fmt.Printf("\nthroughput from container to container, iperf3, one stream, %d runs each\n", throughputRounds)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tmedian Gbit/s\tleast\tmost\t")
	for i, e := range engines {
		slices.Sort(rates[i])
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t\n", e.name, rates[i][throughputRounds/2], rates[i][0], rates[i][throughputRounds-1])
	}
	return w.Flush()
}

// iperf is the host's program, and runs in containers with the host's libraries.
const iperf = "/usr/bin/iperf3"

func (e engine) iperf(flags ...string) func(args ...string) []string {
	return func(args ...string) []string {
		run := append([]string{"run"}, flags...)
		for _, dir := range []string{"/usr", "/lib", "/lib64"} {
			run = append(run, "-v", dir+":"+dir+":ro")
		}
		return append(append(run, e.image, filepath.Clean(iperf)), args...)
	}
}

// stream gives the rate of one stream, in Gbit/s. The server may still be
// starting.
func (e engine) stream(address string) (float64, error) {
	var out string
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(settle) {
		if out, err = e.output(e.iperf("--rm")("-c", address, "-t", "2", "-J")...); err == nil {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	var said struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		return 0, fmt.Errorf("read what iperf3 says: %w", err)
	}
	return said.End.Received.Rate / 1e9, nil
}
