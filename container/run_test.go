package container

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minict/store"
	"minict/tests/fixture"
)

// machine is a manager with one image in its store.
type machine struct {
	*Manager
	t    *testing.T
	find Find
}

// newMachine makes an image of busybox, in two layers, with a config.
func newMachine(t *testing.T, config store.Execution) *machine {
	t.Helper()
	m := manager(t)
	s, err := store.Open(m.Root)
	if err != nil {
		t.Fatal(err)
	}
	m.Store = s
	entries, err := fixture.Base()
	if err != nil {
		t.Fatal(err)
	}
	upper := []fixture.Entry{fixture.Dir("srv", 0o755), fixture.Dir("etc", 0o755), fixture.File("srv/hello", "hello\n", 0o644)}
	img := store.Image{Platform: store.Platform{OS: "linux", Architecture: "amd64"}, Execution: config}
	for _, layer := range [][]fixture.Entry{entries, upper} {
		packed, err := fixture.Tar(layer)
		if err != nil {
			t.Fatal(err)
		}
		id := store.DigestOf(packed)
		if err := fixture.Write(s.LayerDir(id), layer); err != nil {
			t.Fatal(err)
		}
		img.Layers = append(img.Layers, store.Layer{DiffID: id, Key: id})
	}
	raw, err := json.Marshal(store.ImageConfig{Config: config, Platform: img.Platform})
	if err != nil {
		t.Fatal(err)
	}
	img.ID = store.DigestOf(raw)
	img.Manifest = store.Descriptor{Digest: img.ID, Size: int64(len(raw))}
	if err := os.WriteFile(s.BlobPath(img.ID), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx *store.Tx) error {
		for _, l := range img.Layers {
			if err := tx.PutLayer(l); err != nil {
				return err
			}
		}
		if err := tx.PutBlob(img.Manifest); err != nil {
			return err
		}
		return tx.PutImage(img, "docker.io/library/busybox:latest")
	})
	if err != nil {
		t.Fatal(err)
	}
	find := func(tx *store.Tx) (store.Image, error) { return tx.Image(img.ID) }
	return &machine{m, t, find}
}

// run runs a container of the image in the foreground, with --rm, and gives
// what it wrote.
func (m *machine) run(o Options, stdin string) (stdout, stderr string, exit int) {
	m.t.Helper()
	dir := m.t.TempDir()
	files := map[string]*os.File{}
	for _, name := range []string{"in", "out", "err"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			m.t.Fatal(err)
		}
		defer f.Close()
		files[name] = f
	}
	if _, err := files["in"].WriteString(stdin); err != nil {
		m.t.Fatal(err)
	}
	if _, err := files["in"].Seek(0, 0); err != nil {
		m.t.Fatal(err)
	}
	o.Image, o.AutoRemove, o.OpenStdin, o.Networks = "busybox", true, stdin != "", on(NetworkNone)
	streams := Streams{In: files["in"], Out: files["out"], Err: files["err"]}
	ended, err := m.Run(m.t.Context(), &o, m.find, RunOptions{Streams: &streams})
	if err != nil {
		m.t.Fatal(err)
	}
	for name, to := range map[string]*string{"out": &stdout, "err": &stderr} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			m.t.Fatal(err)
		}
		*to = string(raw)
	}
	return stdout, stderr, ended.Exit
}

// detached starts a container in the background.
func (m *machine) detached(o Options) string {
	m.t.Helper()
	o.Image, o.Detach, o.Networks = "busybox", true, on(NetworkNone)
	ended, err := m.Run(m.t.Context(), &o, m.find, RunOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := m.Remove(context.Background(), ended.ID, true, true); err != nil && !errors.Is(err, ErrNotFound) {
			m.t.Error(err)
		}
	})
	return ended.ID
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestRun(t *testing.T) {
	m := newMachine(t, store.Execution{Env: []string{"PATH=/bin:/sbin"}, Cmd: []string{"cat", "/srv/hello"}, WorkingDir: "/srv"})
	for _, tt := range []struct {
		name   string
		o      Options
		stdin  string
		out    string
		status int
	}{
		{"the image's command", Options{}, "", "hello\n", 0},
		{"pid 1", Options{Args: sh("echo $$ $PWD")}, "", "1 /srv\n", 0},
		{"exit status", Options{Args: sh("exit 42")}, "", "", 42},
		{"killed", Options{Args: sh("(sleep 0.1; kill -9 1) & kill -9 $$; kill -TERM -1; exit 3")}, "", "", 3},
		{"input", Options{Args: []string{"cat"}}, "from outside", "from outside", 0},
		{"user", Options{User: "alice", Args: sh("id -u; id -g; id -G; echo $HOME")}, "", "1000\n1000\n1000 50\n/home/alice\n", 0},
		{"hostname", Options{Hostname: "web", Args: sh("hostname; cat /etc/hostname; echo $HOSTNAME")}, "", "web\nweb\nweb\n", 0},
		{"environment", Options{Env: []string{"A=b c"}, Args: sh(`echo "$A"`)}, "", "b c\n", 0},
		{"read-only", Options{ReadOnly: true, Args: sh("touch /x 2>/dev/null || echo no")}, "", "no\n", 0},
		{"tmpfs", Options{ReadOnly: true, Mounts: []Mount{{Type: MountTmpfs, Target: "/scratch"}}, Args: sh("touch /scratch/x && ls /scratch")}, "", "x\n", 0},
		{"volume", Options{Mounts: []Mount{{Type: MountVolume, Target: "/srv"}}, Args: sh("ls /srv; touch /srv/x")}, "", "hello\n", 0},
		{"loopback", Options{Args: sh("ip -o link | wc -l; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo up")}, "", "1\nup\n", 0},
		{"init", Options{Init: true, Args: sh("cat /proc/1/comm | grep -vc sh; exit 7")}, "", "1\n", 7},
		{"limit", Options{Ulimits: []Ulimit{{Name: "nofile", Soft: 1000, Hard: 2000}}, Args: sh("ulimit -n; ulimit -Hn")}, "", "1000\n2000\n", 0},
		{"capabilities", Options{CapDrop: []string{"all"}, Args: sh("grep -c 'Cap...:.*0000000000000000' /proc/self/status")}, "", "5\n", 0},
		{"seccomp", Options{Args: sh("grep Seccomp: /proc/self/status")}, "", "Seccomp:\t2\n", 0},
		{"unconfined", Options{Security: Security{Seccomp: SeccompUnconfined}, Args: sh("grep Seccomp: /proc/self/status")}, "", "Seccomp:\t0\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &machine{m.Manager, t, m.find}
			out, stderr, status := m.run(tt.o, tt.stdin)
			if out != tt.out || status != tt.status {
				t.Errorf("got %q, status %d, want %q, %d; standard error: %q", out, status, tt.out, tt.status, stderr)
			}
			m.checkClean()
		})
	}
}

// checkClean checks that no container left anything.
func (m *machine) checkClean() {
	m.t.Helper()
	for _, dir := range []string{m.Root + "/containers", m.State + "/containers", m.Root + "/names", m.volumes()} {
		names, err := readNames(dir)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, name := range names {
			if name[0] != '.' || isID(strings.TrimPrefix(name, ".")) {
				m.t.Errorf("left behind: %s", filepath.Join(dir, name))
			}
		}
	}
}

func TestRunFails(t *testing.T) {
	m := newMachine(t, store.Execution{})
	for _, tt := range []struct {
		name string
		o    Options
		kind error
		says string
	}{
		{"no such command", Options{Args: []string{"/bin/missing"}}, ErrNoCommand, "exec failed: /bin/missing"},
		{"not in the path", Options{Args: []string{"missing"}}, ErrNoCommand, "exec failed: missing"},
		{"not executable", Options{Args: []string{"/bin/notexecutable"}}, ErrNotRunnable, "/bin/notexecutable"},
		{"no program", Options{Args: []string{"/bin/garbage"}}, ErrNotRunnable, "/bin/garbage"},
		{"a directory", Options{Args: []string{"/bin"}}, ErrNotRunnable, "/bin"},
		{"no such user", Options{User: "bob", Args: []string{"true"}}, ErrInvalid, "unable to find user bob"},
		{"no command", Options{}, ErrInvalid, "no command"},
		{"no source", Options{Args: []string{"true"}, Mounts: []Mount{{Type: MountBind, Source: "/no/where", Target: "/x"}}}, ErrInvalid, "/no/where"},
		{"target is a file", Options{Args: []string{"true"}, Mounts: []Mount{{Type: MountTmpfs, Target: "/srv/hello"}}}, ErrSetup, "/srv/hello"},
	} {
		for _, rm := range []bool{true, false} {
			o := tt.o
			o.Image, o.AutoRemove, o.Networks = "busybox", rm, on(NetworkNone)
			_, err := m.Run(t.Context(), &o, m.find, RunOptions{Streams: &Streams{}})
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v, want %q (%v)", tt.name, err, tt.says, tt.kind)
			}
			m.checkClean()
		}
	}
}
