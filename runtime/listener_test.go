package runtime

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
)

// notification and response are struct seccomp_notif and seccomp_notif_resp,
// seccomp_unotify(2).
type notification struct {
	ID         uint64
	Pid, Flags uint32
	Nr         int32
	Arch       uint32
	IP         uint64
	Args       [6]uint64
}

type response struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

// agent takes one container's listener at a socket, and answers all of its
// calls with an error.
func agent(t *testing.T, path string, answer unix.Errno) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		oob := make([]byte, 64)
		_, space, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
		if err != nil {
			return
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:space])
		if len(messages) != 1 {
			return
		}
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			answerAll(fds[0], answer)
		}
	}()
}

// handListener sends a listener to the agent.
func handListener(path string, fd int) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, _, err = conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
	return err
}

func answerAll(listener int, errno unix.Errno) {
	const receive, send = 0xc0502100, 0xc0182101 // SECCOMP_IOCTL_NOTIF_RECV, …_SEND
	defer unix.Close(listener)
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR || fds[0].Revents&unix.POLLHUP != 0 {
			return
		}
		var n notification
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), receive, uintptr(unsafe.Pointer(&n))); e != 0 {
			continue
		}
		r := response{ID: n.ID, Error: -int32(errno)}
		unix.Syscall(unix.SYS_IOCTL, uintptr(listener), send, uintptr(unsafe.Pointer(&r)))
	}
}

// System calls that a profile notifies of are decided about by whoever listens
// at listenerPath, from the first on.
func TestSeccompListener(t *testing.T) {
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	for _, nnp := range []bool{false, true} {
		spec := ordinary(bundle(t), "mkdir /tmp/x; ls /proc/self/fd | wc -l")
		path := filepath.Join(t.TempDir(), "agent")
		spec.Process.NoNewPrivileges = nnp
		spec.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
			ListenerPath: path,
			Syscalls:     []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}},
		}
		agent(t, path, unix.EDQUOT)
		p, err := Compile(spec, host, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := launchPaused(t, p, nil, func(pause uint32, c *launch.Child) error {
			if pause != PauseSeccomp || c.Sent < 0 {
				return fmt.Errorf("pause %d with descriptor %d", pause, c.Sent)
			}
			return handListener(path, c.Sent)
		})
		if want := "mkdir: can't create directory '/tmp/x': Disk quota exceeded\n"; err != nil || r.stderr != want || r.stdout != "4\n" {
			t.Errorf("no_new_privs %v: got %q %q, %v, want %q", nnp, r.stdout, r.stderr, err, want)
		}
	}
}

// Without a notification the path is not looked at, as the specification wants
// it; and there are notifications that can't be.
func TestListenerUnused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nobody")
	if out := must(t, "echo fine", func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: path}
	}); out != "fine\n" {
		t.Errorf("got %q", out)
	}
	spec := ordinary("/rootfs", "true")
	spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: path,
		Syscalls: []specs.LinuxSyscall{{Names: []string{"sendmsg"}, Action: specs.ActNotify}}}
	kept := &Filter{Program: make([]byte, 8), Flags: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER}
	for _, opt := range []Options{{}, {Filter: kept}} {
		if _, err := Compile(spec, Host{LastCap: 40}, opt); !errors.Is(err, ErrSpec) {
			t.Errorf("sendmsg: got %v", err)
		}
	}
}
