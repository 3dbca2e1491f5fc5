package oci

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// needed is for the machine on which CRIU works.
var needed = flag.Bool("criu", false, "CRIU has to work on this machine")

func TestCRIU(t *testing.T) {
	out, err := exec.Command("criu", "check").CombinedOutput()
	t.Logf("%s", out)
	if err != nil && *needed {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T){
		"counter": testCounter,
	} {
		t.Run(name, test)
	}
}

func testCounter(t *testing.T) {
	h := newHarness(t)
	s := spec("i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.05; done")
	bundle := h.bundle(s)
	images := filepath.Join(h.dir, "images")
	h.prints("", "run", "--detach", "--bundle", bundle, "c")
	time.Sleep(time.Second)
	r := h.run("checkpoint", "--image-path", images, "c")
	if r.code != 0 {
		log, _ := os.ReadFile(filepath.Join(images, "dump.log"))
		t.Fatalf("%v\n%s", r, log)
	}
	h.fails(1, []string{"does not exist"}, "state", "c")
	pid := filepath.Join(h.dir, "pid")
	r = h.run("restore", "--detach", "--bundle", bundle, "--image-path", images, "--pid-file", pid, "d")
	if r.code != 0 {
		log, _ := os.ReadFile(filepath.Join(images, "restore.log"))
		t.Fatalf("%v\n%s", r, log)
	}
	if p := h.is("d", "running").Pid; strconv.Itoa(p) != content(pid) {
		t.Error(p, content(pid))
	}
	t.Log(content("/proc/"+content(pid)+"/root/tmp/count"), content("/proc/"+content(pid)+"/cgroup"))
	t.Log(h.ok("exec", "d", "cat", "/tmp/count", "/proc/self/cgroup", "/proc/self/mountinfo"))
	h.prints("", "kill", "d", "KILL")
	h.ended(h.state("d").Pid)
	h.prints("", "delete", "d")
}
