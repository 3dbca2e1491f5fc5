package seccomp

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// An attempt is a system call that a process under a filter makes.
type attempt struct {
	Name   string // of a call in the tables, or else Number counts
	Number uint32
	Args   [4]uint64
	Int80  bool // as a program of i386 does
	Want   unix.Errno
}

// An errand is what the test's own program does when it is started with
// insideEnv: it installs a filter, tries the calls and answers with their errnos.
type errand struct {
	Program  []byte
	Flags    uint32
	Attempts []attempt
}

type answer struct {
	Listener bool
	Status   string // the line about seccomp in the thread's status
	Errnos   []unix.Errno
}

const insideEnv = "MINICT_TEST_INSIDE_FILTER"

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) == "" {
		os.Exit(m.Run())
	}
	if err := inside(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func inside() error {
	var e errand
	if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
		return err
	}
	var a answer
	failed := make(chan error)
	go func() {
		// The filter is this thread's alone; the thread ends with the goroutine.
		runtime.LockOSThread()
		failed <- e.run(&a)
	}()
	if err := <-failed; err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(a)
}

func (e errand) run(a *answer) error {
	filters := unsafe.Slice((*unix.SockFilter)(unsafe.Pointer(&e.Program[0])), len(e.Program)/unix.SizeofSockFilter)
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	const setModeFilter = 1 // SECCOMP_SET_MODE_FILTER
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, setModeFilter, uintptr(e.Flags), uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	a.Listener = fd > 0
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Seccomp:") {
			a.Status = strings.TrimSpace(line)
		}
	}
	for _, try := range e.Attempts {
		a.Errnos = append(a.Errnos, try.make())
	}
	return nil
}

func (a attempt) make() unix.Errno {
	if a.Int80 {
		return int80(a.Number, uint32(a.Args[0]), uint32(a.Args[1]), uint32(a.Args[2]))
	}
	r, _, errno := unix.RawSyscall6(uintptr(a.Number), uintptr(a.Args[0]), uintptr(a.Args[1]), uintptr(a.Args[2]), uintptr(a.Args[3]), 0, 0)
	if errno == 0 && (a.Name == "socket" || a.Name == "openat") {
		unix.Close(int(r))
	}
	return errno
}

// under runs the attempts in a child under the profile's filter.
func under(t *testing.T, p *specs.LinuxSeccomp, attempts []attempt) answer {
	t.Helper()
	prog, flags, err := Compile(p, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	all, native := family(runtime.GOARCH)
	for i, try := range attempts {
		for _, a := range all {
			if at := call(try.Name); a.arch == native && at >= 0 {
				attempts[i].Number, _ = a.number(at)
			}
		}
	}
	in, err := json.Marshal(errand{Bytes(prog), flags, attempts})
	if err != nil {
		t.Fatal(err)
	}
	// A filter that is wrong can leave the child waiting for ever.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin = strings.NewReader(string(in))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child: %v", err)
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatal(err)
	}
	if a.Status != "Seccomp:\t2" || len(a.Errnos) != len(attempts) {
		t.Fatalf("status %q, %d answers to %d attempts", a.Status, len(a.Errnos), len(attempts))
	}
	for i, try := range attempts {
		if a.Errnos[i] != try.Want {
			t.Errorf("%s %#x%x: got %v, want %v", try.Name, try.Number, try.Args, a.Errnos[i], try.Want)
		}
	}
	return a
}

// The kernel takes Docker's default filter and does what it says. Most of the
// calls would fail otherwise without it.
func TestInstallDefault(t *testing.T) {
	p, err := Default(dockerCaps, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	under(t, p, append(nativeAttempts, []attempt{
		{Name: "getppid"},
		{Name: "clone3", Want: unix.ENOSYS}, // EINVAL without the filter
		{Name: "mount", Want: unix.EPERM},   // EFAULT
		{Name: "umount2", Want: unix.EPERM}, // EFAULT
		{Name: "pivot_root", Want: unix.EPERM},
		{Name: "unshare", Args: [4]uint64{unix.CLONE_NEWUSER}, Want: unix.EPERM},
		{Name: "clone", Args: [4]uint64{unix.CLONE_NEWUSER}, Want: unix.EPERM},
		{Name: "io_uring_setup", Want: unix.EPERM},
		{Name: "keyctl", Want: unix.EPERM},
		{Name: "bpf", Want: unix.EPERM},
		{Name: "open_by_handle_at", Want: unix.EPERM},
		{Name: "kexec_load", Want: unix.EPERM},
		{Name: "userfaultfd", Want: unix.EPERM},
		{Number: 9999, Want: unix.ENOSYS},
		{Name: "open_tree_attr", Want: unix.ENOSYS}, // EINVAL
		{Name: "file_getattr", Want: unix.ENOSYS},   // EINVAL
		{Name: "socket", Args: [4]uint64{unix.AF_UNIX, unix.SOCK_STREAM}},
		{Name: "socket", Args: [4]uint64{unix.AF_INET, unix.SOCK_DGRAM}},
		{Name: "socket", Args: [4]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, Want: unix.EPERM},
		{Name: "socket", Args: [4]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, Want: unix.EPERM},
		{Name: "socket", Args: [4]uint64{1<<32 | unix.AF_ALG, unix.SOCK_SEQPACKET}, Want: unix.EPERM},
		{Name: "personality", Args: [4]uint64{0xffffffff}},
		{Name: "personality", Args: [4]uint64{0}},
		{Name: "personality", Args: [4]uint64{0x0040000}, Want: unix.EPERM},
		{Name: "personality", Args: [4]uint64{1<<32 | 0xffffffff}, Want: unix.EPERM},
	}...))
}

// The kernel takes what the property test takes.
func TestInstallAllOperators(t *testing.T) {
	errno := func(n unix.Errno) *uint { u := uint(n); return &u }
	var attempts []attempt
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog}}
	const v = 0x1_00000005
	for i, op := range testOperators {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
			Names: []string{"getppid"}, Action: specs.ActErrno, ErrnoRet: errno(unix.Errno(100 + i)),
			Args: []specs.LinuxSeccompArg{
				{Index: 1, Op: op, Value: v, ValueTwo: v},
				{Index: 0, Op: specs.OpEqualTo, Value: uint64(i)},
			},
		})
		for _, arg := range []uint64{0, 5, v - 1, v, v + 1, 0x2_00000000, ^uint64(0)} {
			s := sample{args: [maxArgs]uint64{uint64(i), arg}}
			try := attempt{Name: "getppid", Args: [4]uint64{uint64(i), arg}}
			if naiveArgs(p.Syscalls[i].Args, s, false) {
				try.Want = unix.Errno(100 + i)
			}
			attempts = append(attempts, try)
		}
	}
	under(t, p, attempts)
}

func TestInstallNotify(t *testing.T) {
	a := under(t, &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: "/agent",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActNotify}},
	}, nil)
	if !a.Listener {
		t.Error("no listener")
	}
}
