package seccomp

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxErrno is the largest error number a system call can return.
// Source: MAX_ERRNO in include/linux/err.h.
const maxErrno = 4095

// An action is a filter's return value: what is to be done in the upper half,
// a datum for it in the lower one.
type action = uint32

const enosys = action(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))

// parseAction returns the return value for an action of a profile. The
// specification demands an error where an action takes no errno and one is
// given.
func parseAction(name specs.LinuxSeccompAction, errno *uint) (action, error) {
	var ret action
	limit := uint(0)
	switch name {
	case specs.ActKill, specs.ActKillThread:
		ret = unix.SECCOMP_RET_KILL_THREAD
	case specs.ActKillProcess:
		ret = unix.SECCOMP_RET_KILL_PROCESS
	case specs.ActTrap:
		ret = unix.SECCOMP_RET_TRAP
	case specs.ActErrno:
		ret, limit = unix.SECCOMP_RET_ERRNO, maxErrno
	case specs.ActTrace:
		ret, limit = unix.SECCOMP_RET_TRACE, unix.SECCOMP_RET_DATA
	case specs.ActAllow:
		ret = unix.SECCOMP_RET_ALLOW
	case specs.ActLog:
		ret = unix.SECCOMP_RET_LOG
	case specs.ActNotify:
		ret = unix.SECCOMP_RET_USER_NOTIF
	case "":
		return 0, errors.New("action is missing")
	default:
		return 0, fmt.Errorf("unknown action %q", name)
	}
	switch {
	case errno == nil && limit > 0:
		return ret | uint32(unix.EPERM), nil
	case errno == nil:
		return ret, nil
	case limit == 0:
		return 0, fmt.Errorf("action %s takes no errno", name)
	case *errno > limit:
		return 0, fmt.Errorf("errno %d of %s is above %d", *errno, name, limit)
	}
	return ret | uint32(*errno), nil
}

// refuses tells whether an action makes a call fail in a way that its caller
// can't handle, or not as "no such call", so that ENOSYS is a better answer to
// calls which the profile's author can't have known. A tracer, a log or
// permission are meant for these calls too.
func refuses(a action) bool {
	switch a & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
		return false
	}
	return true
}

// permits ranks actions as the kernel does when several filters disagree; a
// larger number lets more happen. Source: seccomp(2), the order of the actions.
func permits(a action) int32 {
	return int32(a & unix.SECCOMP_RET_ACTION_FULL)
}

// parseFlags returns the flags for seccomp(2). A profile that does not mention
// flags gets SPEC_ALLOW, as from runc: without it kernels before 5.16 slow the
// whole container down against a speculation attack that the filter has nothing
// to do with. An empty list means none.
func parseFlags(p *specs.LinuxSeccomp, notify bool) (uint32, error) {
	if p.Flags == nil {
		p = &specs.LinuxSeccomp{Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow}}
	}
	var flags uint32
	if notify {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	for _, f := range p.Flags {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC":
			flags |= unix.SECCOMP_FILTER_FLAG_TSYNC
			if notify { // The kernel can't return a listener and a thread's id at once.
				flags |= unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
			}
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			if notify { // It is about notifications, and refused without.
				flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
			}
		default:
			return 0, fmt.Errorf("unknown flag %q", f)
		}
	}
	return flags, nil
}
