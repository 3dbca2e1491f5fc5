package self

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The test program is a runtime too: called so, it tells how it is protected.
func TestMain(m *testing.M) {
	if !called(os.Args[0]) {
		os.Exit(m.Run())
	}
	if err := Protect(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	name, _ := os.ReadFile("/proc/self/comm")
	_, written := os.OpenFile("/proc/self/exe", os.O_WRONLY, 0)
	fmt.Printf("%s %s %v %q\n", exe, strings.TrimSpace(string(name)), errors.Is(written, syscall.ETXTBSY) || errors.Is(written, syscall.EROFS) || errors.Is(written, syscall.EACCES), os.Args[1:])
	os.Exit(0)
}

func runtime(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, Name)
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// With the right to mount, and without it.
func TestProtect(t *testing.T) {
	path := runtime(t)
	for name, user := range map[string]*syscall.Credential{"root": nil, "user": {Uid: 1000, Gid: 1000}} {
		for _, args := range [][]string{{"exec", "a b", ""}, {"state"}} { // before all else is initialized, and later
			cmd := exec.Command(path, args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v: %s", name, err, out)
			}
			exe := "/" // of its own mount
			if user != nil {
				exe = "/memfd:" + Name + " (deleted)"
			}
			if want := fmt.Sprintf("%s %s true %q\n", exe, Name, args); string(out) != want {
				t.Errorf("%s %q: %q, want %q", name, args, out, want)
			}
		}
	}
}

func TestCalled(t *testing.T) {
	for path, want := range map[string]bool{"minict-oci": true, "/a/minict-oci": true, "./minict-oci": true, "minict": false, "/minict-oci/minict": false, "": false, "xminict-oci": false} {
		if called(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
}
