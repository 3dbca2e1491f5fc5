package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"minict/tests/host"

	"golang.org/x/sys/unix"
)

func environment(more ...string) []string {
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, more...)
}

var versionNumber = regexp.MustCompile(`\d+\.\d+[^\s,]*`)

// version is the first number in what PROGRAM --version prints.
func version(program string) (string, error) {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return "", err
	}
	return versionNumber.FindString(string(out)), nil
}

func (s *site) state() string { return filepath.Join("/run", filepath.Base(s.dir)) }

func (s *site) minictEnv() []string {
	return environment("MINICT_ROOT="+filepath.Join(s.dir, "minict"), "MINICT_STATE="+s.state())
}

func (s *site) minict() contender {
	return contender{name: "minict", env: s.minictEnv(), args: func(int) []string {
		return []string{s.binary, "run", "--rm", "--network", "none", s.ref, "true"}
	}}
}

// minictExec is exec in a container that sleeps.
func (s *site) minictExec() (contender, func(), error) {
	env := s.minictEnv()
	stop := func() { quietly(env, s.binary, "rm", "-f", "bench") }
	if err := quietly(env, s.binary, "run", "-d", "--name", "bench", "--network", "none", s.ref, "sleep", "100000"); err != nil {
		return contender{}, stop, err
	}
	args := []string{s.binary, "exec", "bench", "true"}
	return contender{name: "minict", env: env, args: func(int) []string { return args }}, stop, nil
}

func (s *site) minictRootfs() contender {
	return contender{name: "minict --rootfs", env: s.minictEnv(), args: func(int) []string {
		return []string{s.binary, "run", "--rm", "--network", "none", "--rootfs", s.rootfs, "true"}
	}}
}

func (s *site) podman() (contender, func(), error) {
	number, err := version("podman")
	if err != nil {
		return contender{}, nil, err
	}
	graph, run := filepath.Join(s.dir, "podman"), filepath.Join("/run", filepath.Base(s.dir)+"-podman")
	global := []string{"podman", "--root", graph, "--runroot", run, "--tmpdir", filepath.Join(run, "tmp"),
		"--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
		"--runtime", "runc"} // crun refuses the hybrid layout
	stop := func() {
		unix.Unmount(filepath.Join(graph, "overlay"), unix.MNT_DETACH)
		os.RemoveAll(run)
		removeCgroups("libpod_parent")
	}
	if err := quietly(environment(), global[0], append(global[1:], "import", s.tar, "bench:1")...); err != nil {
		return contender{}, stop, err
	}
	args := append(global, "run", "--rm", "--network", "none", "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", "bench:1", "true")
	return contender{name: "podman", version: number, env: environment(), args: func(int) []string { return args }}, stop, nil
}

// docker starts a daemon of our own, with its usual network: a bridge, and rules
// of iptables.
func (s *site) docker() (contender, func(), error) {
	number, err := version("dockerd")
	if err != nil {
		return contender{}, nil, err
	}
	run := filepath.Join("/run", filepath.Base(s.dir)+"-docker")
	socket := "unix://" + filepath.Join(run, "docker.sock")
	daemon := exec.Command("dockerd", "--data-root", filepath.Join(s.dir, "docker"), "--exec-root", filepath.Join(run, "exec"),
		"--pidfile", filepath.Join(run, "pid"), "--host", socket, "--storage-driver", "overlay2")
	if err := os.MkdirAll(run, 0o700); err != nil {
		return contender{}, nil, err
	}
	daemon.Env = environment()
	log, err := daemon.StderrPipe()
	if err != nil {
		return contender{}, nil, err
	}
	if err := daemon.Start(); err != nil {
		return contender{}, nil, err
	}
	said, listens := waitFor(log, "API listen on")
	go io.Copy(io.Discard, log)
	stop := func() {
		daemon.Process.Signal(unix.SIGTERM)
		giveUp := time.AfterFunc(20*time.Second, func() { daemon.Process.Kill() })
		daemon.Wait()
		giveUp.Stop()
		os.RemoveAll(run)
		removeCgroups("docker")
	}
	if !listens {
		return contender{}, stop, fmt.Errorf("dockerd ended: %s", said)
	}
	env := environment("DOCKER_HOST=" + socket)
	if err := quietly(env, "docker", "import", s.tar, "bench:1"); err != nil {
		return contender{}, stop, err
	}
	args := []string{"docker", "run", "--rm", "--network", "none", "bench:1", "true"}
	return contender{name: "docker", version: number, env: env, args: func(int) []string { return args },
		engine: &engine{name: "docker", image: "bench:1", env: env, argv: []string{"docker"}}}, stop, nil
}

// removeCgroups removes the empty groups of this name that a peer leaves.
func removeCgroups(name string) {
	mounts, err := host.Cgroups()
	if err != nil {
		return
	}
	for _, mount := range mounts {
		var dirs []string
		filepath.WalkDir(filepath.Join(mount.Dir, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			unix.Rmdir(dir)
		}
	}
}

// waitFor reads a log up to a line with the text, and returns what it read.
func waitFor(log io.Reader, text string) (said string, found bool) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), text) {
			return said, true
		}
	}
	return said, false
}
