package pull

import (
	"archive/tar"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"minict/store"
)

// TestMain lets the test program be another process that pulls.
func TestMain(m *testing.M) {
	if ref := os.Getenv("IMAGE_TEST_PULL"); ref != "" {
		os.Exit(pullInChild(ref))
	}
	os.Exit(m.Run())
}

func pullInChild(ref string) int {
	s, err := store.Open(os.Getenv("IMAGE_TEST_STORE"))
	if err == nil {
		c := &Client{Store: s, Config: Registries{AuthFile: os.Getenv("IMAGE_TEST_AUTH")}}
		_, err = c.Pull(context.Background(), ref, PullOptions{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestPullKilled kills a process in the middle of a pull while another waits
// for it: the other goes on at once, and nothing of the first stays.
func TestPullKilled(t *testing.T) {
	watchdog(t)
	h, c := newHub(t), newClient(t)
	_, m := h.push("thing", "latest", made{layers: [][]tar.Header{base, top}})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), "IMAGE_TEST_PULL="+h.host()+"/thing",
		"IMAGE_TEST_STORE="+c.Store.Root(), "IMAGE_TEST_AUTH="+c.Config.AuthFile)
	child.Stderr = os.Stderr

	stuck := make(chan bool)
	h.on = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, string(m.Layers[1].Digest)) && h.count(r.URL.Path) == 1 {
			w.(http.Flusher).Flush()
			close(stuck)
			<-r.Context().Done()
			return true
		}
		return false
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	<-stuck
	waits := &waiting{reached: make(chan bool)}
	c.Progress = waits
	done := make(chan error, 1)
	go func() {
		_, err := c.Pull(t.Context(), h.host()+"/thing", PullOptions{})
		done <- err
	}()
	<-waits.reached
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Store.Collect(t.Context(), nil); err != nil {
		t.Error(err)
	}
	checkStore(t, c.Store, 4, 2)
}

// waiting tells when a pull has come to where it waits for its turn.
type waiting struct {
	silent
	once    sync.Once
	reached chan bool
}

func (w *waiting) Layer(_ store.Digest, s State) {
	if s == Waiting {
		w.once.Do(func() { close(w.reached) })
	}
}
