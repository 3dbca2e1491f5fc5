package etc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// container is a process with a root and a file in it that are mounted as the
// runtime does it. Commands for its shell are run inside.
type container struct {
	t    *testing.T
	root string // as the host sees it, but for what is mounted in it
	proc *os.File
	in   *os.File
	out  *bufio.Reader
}

const setUp = `set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t tmpfs -o mode=755 minict "$FILES"
echo first >"$FILES/0"
mount --bind "$FILES/0" "$ROOT/etc/resolv.conf"
if [ "$READONLY" ]; then mount -o remount,bind,ro "$ROOT/etc/resolv.conf"; fi
mount --bind "$VICTIM" "$ROOT/data/resolv.conf"
umount -l "$FILES"
mount -t proc proc "$ROOT/proc"
exec chroot "$ROOT" /bin/sh
`

func newContainer(t *testing.T, readonly string) *container {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	c := &container{t: t, root: filepath.Join(top, "root")}
	for _, dir := range []string{"files", "root/bin", "root/etc", "root/data", "root/proc"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"root/etc/resolv.conf": "image", "root/data/resolv.conf": "", "victim": "victim", "root/bin/busybox": string(program)} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sh", "cat", "mv", "mkdir", "ln", "mkfifo", "umount"} {
		if err := os.Symlink("busybox", filepath.Join(c.root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", setUp)
	cmd.Env = append(os.Environ(), "ROOT="+c.root, "FILES="+top+"/files", "VICTIM="+top+"/victim", "READONLY="+readonly)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inR.Close()
	outW.Close()
	c.in, c.out = inW, bufio.NewReader(outR)
	t.Cleanup(func() {
		inW.Close()
		cmd.Wait()
		outR.Close()
	})
	c.run("true") // it is set up
	if c.proc, err = os.Open(fmt.Sprintf("/proc/%d", cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.proc.Close() })
	return c
}

// run runs a command in the container and gives what it prints.
func (c *container) run(command string) string {
	c.t.Helper()
	if _, err := c.in.WriteString("export PATH=/bin; { " + command + "; } 2>&1; echo; echo end\n"); err != nil {
		c.t.Fatal(err)
	}
	var out strings.Builder
	for {
		line, err := c.out.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%s: %v", command, err)
		}
		if line == "end\n" {
			return strings.TrimSpace(out.String())
		}
		out.WriteString(line)
	}
}

func TestChange(t *testing.T) {
	for _, readonly := range []string{"", "yes"} {
		c := newContainer(t, readonly)
		before, err := os.Readlink("/proc/self/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"second, and longer\n", "3\n"} {
			var old string
			if err := Change(c.proc, "/etc/resolv.conf", func(content string) string { old = content; return text }); err != nil {
				t.Fatal(err)
			}
			if old != "first\n" && old != "second, and longer\n" {
				t.Errorf("it was %q", old)
			}
			if got := c.run("cat /etc/resolv.conf"); got+"\n" != text {
				t.Errorf("read-only %q: got %q, want %q", readonly, got, text)
			}
		}
		if readonly != "" && c.run("echo mine >/etc/resolv.conf || echo no") == "" {
			t.Error("it can be written to now")
		}
		if err := Change(c.proc, "/etc/resolv.conf", func(content string) string { return content }); err != nil {
			t.Error(err)
		}
		if after, err := os.Readlink("/proc/self/ns/mnt"); err != nil || after != before {
			t.Errorf("the process is in %s, not %s: %v", after, before, err)
		}
	}
}

// Whatever the container puts in the file's place is left alone.
func TestChangeIsNotLedAway(t *testing.T) {
	for name, attack := range map[string]string{
		"link":           "mv /etc /old; mkdir /etc; ln -s /victim /etc/resolv.conf; echo victim >/victim",
		"link to a bind": "mv /etc /old; mkdir /etc; ln -s /data/resolv.conf /etc/resolv.conf",
		"own file":       "mv /etc /old; mkdir /etc; echo victim >/etc/resolv.conf",
		"fifo":           "mv /etc /old; mkdir /etc; mkfifo /etc/resolv.conf",
		"directory":      "mv /etc /old; mkdir -p /etc/resolv.conf",
		"link of proc":   "mv /etc /old; mkdir /etc; ln -s /proc/self/fd/0 /etc/resolv.conf",
		"sysctl":         "mv /etc /old; mkdir /etc; ln -s /proc/sys/kernel/core_pattern /etc/resolv.conf",
		"bind mount":     "mv /etc /old; mv /data /etc",
		"unmounted":      "umount /etc/resolv.conf",
		"nothing":        "mv /etc /old",
	} {
		c := newContainer(t, "")
		if out := c.run(attack); out != "" {
			t.Fatalf("%s: %s", name, out)
		}
		err := Change(c.proc, "/etc/resolv.conf", func(string) string { return "led away" })
		if !errors.Is(err, ErrForeign) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: got %v", name, err)
		}
		victim, err := os.ReadFile(filepath.Join(c.root, "../victim"))
		if err != nil || string(victim) != "victim" {
			t.Errorf("%s: the host's file is %q, %v", name, victim, err)
		}
	}
}

// There is nothing to change of a container that has ended.
func TestChangeOfAnEndedContainer(t *testing.T) {
	c := newContainer(t, "")
	c.in.Close()
	c.out.ReadString(0)
	if err := Change(c.proc, "/etc/resolv.conf", func(string) string { return "late" }); err == nil {
		t.Error("no error")
	}
}
