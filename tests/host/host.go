// Package host gives a program a host of its own: new PID, mount, network, IPC
// and UTS namespaces in which nobody else starts a process, mounts a thing or
// takes a port. What a test leaves behind there is its own, ports can be fixed
// numbers, and all of it ends with the program, however that ends.
//
// Cgroups are not part of it: they are the machine's, so that what is tested
// is the machine's hierarchies.
package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Name is the name of the private host.
const Name = "testhost"

// role is the environment variable by which a program that was started again
// knows what it is there for.
const role = "MINICT_TEST_HOST"

// Run calls body on a private host and returns its exit code. For that it
// starts the program again, with the same arguments, so it has to be called
// first thing in main or TestMain, and its result handed to os.Exit.
func Run(body func() int) int {
	var code int
	var err error
	switch os.Getenv(role) {
	case "body":
		os.Unsetenv(role)
		return body()
	case "init":
		code, err = initMain()
	default:
		code, err = outside()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "private host:", err)
		return 1
	}
	return code
}

// outside starts the first process of the private host and waits for it.
func outside() (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("the tests set up containers: run them as root")
	}
	runtime.LockOSThread() // the parent-death signal follows the thread
	init := again("init")
	init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
	}
	if err := init.Run(); err != nil && init.ProcessState == nil {
		return 0, err
	}
	return exitCode(init.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// initMain is PID 1 of the private host: it sets it up, starts the body and
// reaps what becomes its child until the body has ended.
func initMain() (int, error) {
	if err := furnish(); err != nil {
		return 0, err
	}
	body := again("body")
	if err := body.Start(); err != nil {
		return 0, err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait: %w", err)
		}
		if pid == body.Process.Pid {
			return exitCode(syscall.WaitStatus(status)), nil
		}
	}
}

func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Sethostname([]byte(Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func again(as string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// CgroupMount is a cgroup hierarchy of the host.
type CgroupMount struct {
	Dir     string
	Unified bool     // version 2
	Options []string // of version 1: the controllers and the name
}

// Cgroups lists the mounted hierarchies.
func Cgroups() ([]CgroupMount, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []CgroupMount
	for _, line := range strings.Split(string(mounts), "\n") {
		place, file, split := strings.Cut(line, " - ")
		if !split || !strings.HasPrefix(file, "cgroup") {
			continue
		}
		fields := strings.Fields(file)
		found = append(found, CgroupMount{
			Dir:     strings.Fields(place)[4],
			Unified: fields[0] == "cgroup2",
			Options: strings.Split(fields[len(fields)-1], ","),
		})
	}
	return found, nil
}
