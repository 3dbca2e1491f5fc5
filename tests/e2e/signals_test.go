package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"minict/tests/fixture"
)

// Without a terminal, signals are for the container. PID 1 does not get those
// that it has no handler for: the container ends all the same, as if it had.
func TestSignalsWithoutATerminal(t *testing.T) {
	h := newHarness(t)
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	// cat has no handlers, and what it gives back it has given back itself. A
	// shell that is about to become a program without handlers still has its own.
	cat := []string{"cat"}
	for _, c := range []struct {
		signal  syscall.Signal
		command []string
		flags   []string
		code    int
	}{
		{syscall.SIGINT, cat, nil, 130},
		{syscall.SIGTERM, cat, nil, 143},
		{syscall.SIGHUP, cat, nil, 129},
		{syscall.SIGINT, cat, []string{"--init"}, 130},
		{syscall.SIGTERM, cat, []string{"--config", h.file("minict.yaml", "init: true\n")}, 143},
		{syscall.SIGTERM, sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"), nil, 7},
		{syscall.SIGUSR1, sh("trap 'exit 8' USR1; echo up; while :; do sleep 0.1; done"), nil, 8},
	} {
		args := append([]string{"run", "--rm", "-i", "--rootfs", h.rootfs()}, c.flags...)
		s := h.start(append(append(args, "--"), c.command...)...)
		s.send("up\n")
		s.expect("up\n")
		s.signal(c.signal)
		if r := s.wait(); r.code != c.code || r.stderr != "" {
			t.Errorf("after %v, want exit code %d and no word: %v", c.signal, c.code, r)
		}
	}
	if out := h.ok("ps", "-aq"); out != "" {
		t.Errorf("left: %q", out)
	}
}

func TestWithoutSigProxyTheContainerGoesOn(t *testing.T) {
	h := newHarness(t)
	s := h.start("run", "--sig-proxy=false", "--name", "web", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "echo up; exec sleep 1000")
	s.expect("up\n")
	s.signal(syscall.SIGINT)
	if r := s.wait(); r.code != 130 {
		t.Error(r)
	}
	if !h.inspect("web").State.Running {
		t.Error("the container has ended")
	}
	h.prints("web\n", "rm", "-f", "web")
}

// slowRegistry has an image whose layers don't come as long as nobody gives
// up, or opens it.
func slowRegistry(t *testing.T, h *harness) (ref string, open func()) {
	t.Helper()
	gate := make(chan struct{})
	var serving sync.Map // not while the image is pushed
	r := fixture.StartRegistry(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if _, on := serving.Load("on"); on && q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
				select {
				case <-gate:
				case <-q.Context().Done():
					return
				}
			}
			next.ServeHTTP(w, q)
		})
	})
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(r.Close)
	t.Cleanup(open)
	h.must(r.Push(imageName, shared.image))
	serving.Store("on", true)
	return r.Ref(imageName), open
}

func TestInterruptedPull(t *testing.T) {
	h := newHarness(t)
	ref, _ := slowRegistry(t, h)
	for _, c := range []struct {
		args   []string
		signal syscall.Signal
	}{
		{[]string{"pull", ref}, syscall.SIGINT},
		{[]string{"pull", ref}, syscall.SIGTERM},
		{[]string{"run", "--rm", ref, "true"}, syscall.SIGINT},
		{[]string{"create", ref, "true"}, syscall.SIGINT},
	} {
		s := h.terminal(80, 24, c.args...)
		s.expect("Pulling from busybox")
		s.signal(c.signal)
		r := s.wait()
		if r.code != 130 || strings.Count(r.stdout, "minict: interrupted\r\n") != 1 {
			t.Errorf("want exit code 130 and one word: %v", r)
		}
	}
	for _, args := range [][]string{{"images", "-q"}, {"ps", "-aq"}} {
		h.prints("", args...)
	}
	for _, dir := range []string{"ingest", "containers"} {
		entries, err := os.ReadDir(filepath.Join(h.Root, dir))
		h.must(err)
		for _, e := range entries {
			if e.Name() != "lock" {
				t.Errorf("left: %s/%s", dir, e.Name())
			}
		}
	}
}

func TestPullOnATerminal(t *testing.T) {
	h := newHarness(t)
	ref, open := slowRegistry(t, h)
	s := h.terminal(80, 24, "pull", ref)
	s.expect("1: Pulling from busybox\r\n")
	s.expect("[")
	open()
	s.expect("Pull complete")
	s.expect("Digest: sha256:")
	s.expect("Status: Downloaded newer image for " + ref + "\r\n")
	if r := s.wait(); r.code != 0 || !strings.HasSuffix(r.stdout, "\r\n"+ref+"\r\n") {
		t.Error(r)
	}
	h.ok("rmi", ref)
}

// What -i and -t say is held to, on a terminal and off it.
func TestInteractiveAsAsked(t *testing.T) {
	h := newHarness(t)
	run := func(flags ...string) []string {
		return append(append([]string{"run", "--rm", "--rootfs", h.rootfs()}, flags...), "--", "/bin/sh", "-c", "tty; stty size; cat")
	}
	for _, c := range []struct {
		flag, want string
	}{
		{"-t", "/dev/pts/0\r\n17 91\r\n"}, // the container has no standard input
		{"-i", "not a tty\r\n"},
		{"-i=false", "not a tty\r\n"},
	} {
		s := h.terminal(91, 17, run(c.flag)...)
		if c.flag == "-i" {
			s.expect("not a tty\r\n")
			s.send("\x04")
		}
		if c.flag == "-t" {
			s.expect("17 91")
			s.signal(syscall.SIGHUP)
		}
		r := s.wait()
		if got := strings.ReplaceAll(r.stdout, "\r\r\n", "\r\n"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.flag, got, c.want)
		}
	}
	h.fails(1, []string{"-it", "not a terminal"}, run("-it")...)
}
