package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ociRuntime is an OCI runtime's command line.
type ociRuntime struct {
	name, version string
	argv          []string // how each command begins
	state         string
}

// runtimes are minict, as the runtime that others use, and its peers.
func (s *site) runtimes() (list []ociRuntime, err error) {
	self := filepath.Join(filepath.Dir(s.binary), "minict-oci")
	if err := os.Symlink(s.binary, self); err != nil {
		return nil, err
	}
	programs := []string{self}
	for _, name := range []string{"crun", "runc"} {
		path, err := exec.LookPath(name)
		if err != nil {
			fmt.Printf("left out: %v\n", err)
			continue
		}
		if path, err = s.install(path, name); err != nil {
			return nil, err
		}
		programs = append(programs, path)
	}
	for _, program := range programs {
		number, err := version(program)
		if err != nil {
			return nil, err
		}
		r := ociRuntime{name: filepath.Base(program), version: number}
		r.state = s.state() + "-" + r.name
		r.argv = []string{program, "--root", r.state}
		list = append(list, r)
	}
	return list, nil
}

func (r ociRuntime) command(args ...string) []string {
	return append(r.argv[:len(r.argv):len(r.argv)], args...)
}

func (r ociRuntime) quietly(args ...string) error {
	return quietly(environment(), r.argv[0], r.command(args...)[1:]...)
}

// onPlainCgroup2 measures where crun runs.
func (s *site) onPlainCgroup2(rounds int) error {
	if err := plainCgroup2(); err != nil {
		return err
	}
	runtimes, err := s.runtimes()
	if err != nil {
		return err
	}
	defer func() {
		for _, r := range runtimes {
			os.RemoveAll(r.state)
		}
	}()
	ends, err := s.bundle("true")
	if err != nil {
		return err
	}
	stays, err := s.bundle("sleep", "100000")
	if err != nil {
		return err
	}
	exec, stop, err := s.minictExec()
	defer stop()
	if err != nil {
		return err
	}
	for _, m := range []struct {
		title string
		also  []contender
		each  func(ociRuntime) contender
	}{
		{"run of the same root filesystem", []contender{s.minict(), s.minictRootfs(), s.bridged()}, func(r ociRuntime) contender { return r.run(ends) }},
		{"create and start", nil, func(r ociRuntime) contender { return r.createAndStart(ends) }},
		{"exec true in a running container", []contender{exec}, func(r ociRuntime) contender { return r.exec(stays) }},
		{"delete", nil, func(r ociRuntime) contender { return r.delete(ends) }},
	} {
		all := m.also
		for _, r := range runtimes {
			all = append(all, m.each(r))
		}
		results, err := measure(all, rounds)
		if err != nil {
			return err
		}
		results.table(m.title+", on plain cgroup2", "crun")
	}
	return s.monitorMemory()
}

func (r ociRuntime) contender() contender {
	return contender{name: r.name, version: r.version, env: environment()}
}

func (r ociRuntime) run(bundle string) contender {
	c := r.contender()
	c.args = func(round int) []string { return r.command("run", "--bundle", bundle, id(round)) }
	return c
}

// createAndStart measures both together; the container ends by itself.
func (r ociRuntime) createAndStart(bundle string) contender {
	c := r.contender()
	c.args = func(round int) []string { return r.command("create", "--bundle", bundle, id(round)) }
	c.then = func(round int) []string { return r.command("start", id(round)) }
	c.after = func(round int) error { return r.quietly("delete", "--force", id(round)) }
	return c
}

func (r ociRuntime) delete(bundle string) contender {
	c := r.contender()
	c.before = func(round int) error {
		if err := r.quietly("run", "--detach", "--bundle", bundle, id(round)); err != nil {
			return err
		}
		return r.stopped(id(round))
	}
	c.args = func(round int) []string { return r.command("delete", id(round)) }
	return c
}

// stopped asks until the container has stopped.
func (r ociRuntime) stopped(id string) error {
	for {
		args := r.command("state", id)
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
		var state struct{ Status string }
		if err := json.Unmarshal(out, &state); err != nil {
			return err
		}
		if state.Status == "stopped" {
			return nil
		}
	}
}

// exec is measured in a container of its own for each round.
func (r ociRuntime) exec(bundle string) contender {
	c := r.contender()
	c.before = func(round int) error { return r.quietly("run", "--detach", "--bundle", bundle, id(round)) }
	c.args = func(round int) []string { return r.command("exec", id(round), "true") }
	c.after = func(round int) error { return r.quietly("delete", "--force", id(round)) }
	return c
}

func id(round int) string { return fmt.Sprintf("bench-%d", round) }

// bundle makes a bundle of our root with the configuration that crun proposes:
// all namespaces, no filter, no limits.
func (s *site) bundle(args ...string) (string, error) {
	bundle, err := os.MkdirTemp(s.dir, "oci-bundle")
	if err != nil {
		return "", err
	}
	spec := exec.Command("crun", "spec")
	spec.Dir = bundle
	if out, err := spec.CombinedOutput(); err != nil {
		return "", fmt.Errorf("crun spec: %w: %s", err, out)
	}
	return bundle, s.editSpec(filepath.Join(bundle, "config.json"), args)
}

// editSpec changes the proposed configuration to our command and root.
func (s *site) editSpec(path string, args []string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	process := spec["process"].(map[string]any)
	process["terminal"] = false
	process["args"] = args
	// The device filter needs a limit raised that a guest's root may not raise.
	delete(spec["linux"].(map[string]any), "resources")
	spec["root"] = map[string]any{"path": s.rootfs, "readonly": false}
	if text, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
