package oci

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestHome(t *testing.T) {
	const passwd = "root:x:0:0::/root:/bin/sh\nbad line\n\n+::::::\nu:x:1000:1000::/home/u:/bin/sh\nagain:x:1000:1:::\nrel:x:7:7::home:/bin/sh\nbig:x:4294967296:0::/big:\n"
	for uid, want := range map[uint32]string{0: "/root", 1000: "/home/u", 7: "/", 8: "/"} {
		p := &specs.Process{User: specs.User{UID: uid}, Env: []string{"A=1"}}
		withHome(p, func() ([]byte, error) { return []byte(passwd), nil })
		if got := p.Env; !reflect.DeepEqual(got, []string{"A=1", "HOME=" + want}) {
			t.Errorf("%d: got %q, want %s", uid, got, want)
		}
	}
	given := []string{"HOME=/given", "B=2"}
	p := &specs.Process{Env: given}
	withHome(p, func() ([]byte, error) { t.Error("it was read without need"); return nil, nil })
	if !reflect.DeepEqual(p.Env, given) {
		t.Errorf("got %q", p.Env)
	}
	p.Env = []string{"HOME=", "B=2"}
	withHome(p, func() ([]byte, error) { return nil, errors.New("none") })
	if !reflect.DeepEqual(p.Env, []string{"B=2", "HOME=/"}) {
		t.Errorf("got %q", p.Env)
	}
}

// CVE-2024-9676: an image's /etc/passwd that would be waited for, drained, or
// read on the host.
func TestHostilePasswd(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(canary, []byte("root:x:0:0::/stolen:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(p string) error{
		"a fifo":             func(p string) error { return unix.Mkfifo(p, 0o644) },
		"a device":           func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) },
		"huge":               func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o644), os.Truncate(p, 2<<30)) },
		"a directory":        func(p string) error { return os.Mkdir(p, 0o755) },
		"a link to the host": func(p string) error { return os.Symlink(canary, p) },
		"a link upwards":     func(p string) error { return os.Symlink("../../../../../../../.."+canary, p) },
		"a link to a device": func(p string) error { return os.Symlink("/dev/zero", p) },
		"missing":            func(string) error { return nil },
	} {
		root := t.TempDir()
		if err := errors.Join(os.Mkdir(root+"/etc", 0o755), make(root+"/etc/passwd")); err != nil {
			t.Fatal(err)
		}
		c := &Container{record: &record{Rootfs: root}}
		spec := &specs.Spec{Process: new(specs.Process)}
		withHome(spec.Process, func() ([]byte, error) { return c.passwd(spec) })
		if got := strings.Join(spec.Process.Env, " "); got != "HOME=/" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// What is mounted over /etc/passwd is what the container sees.
func TestMountedPasswd(t *testing.T) {
	bundle := t.TempDir()
	if err := os.WriteFile(bundle+"/mine", []byte("root:x:0:0::/mounted:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &Container{record: &record{Rootfs: bundle, Bundle: bundle}}
	text, err := c.passwd(&specs.Spec{Mounts: []specs.Mount{{Destination: "etc/passwd", Source: "mine"}}})
	if err != nil || homeOf(string(text), 0) != "/mounted" {
		t.Errorf("got %q, %v", text, err)
	}
}
