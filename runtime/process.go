package runtime

import (
	"encoding/binary"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// process gives up what the program must not have, step by step, and becomes
// it. The order is the kernel's: each step needs rights that a later one
// takes away.
func (c *compiler) process() error {
	p := c.spec.Process
	c.streams(p)
	c.keyring()
	c.workingDirectory(p)
	// Not before: from here on nothing is opened any more.
	if err := c.rlimits(p); err != nil {
		return err
	}
	filter, err := c.filterProgram()
	if err != nil {
		return err
	}
	c.closeDescriptors()
	if c.opt.Gate {
		c.lookFor(p)
	}
	if !p.NoNewPrivileges {
		c.filter(filter) // takes CAP_SYS_ADMIN
	}
	c.credentials(p)
	if c.target != plan.NoSlot {
		if err := c.handOver(); err != nil {
			return err
		}
	}
	c.finish(p)
	if p.NoNewPrivileges {
		c.step("set", "no_new_privs", "", "no set-uid program gives it other rights")
		c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_NO_NEW_PRIVS), plan.Int(1), plan.Int(0), plan.Int(0), plan.Int(0))
	}
	early := p.NoNewPrivileges && filter.notifies() // while the launcher is there
	if early {
		c.filter(filter)
	}
	if c.opt.Gate && !c.opt.Airlock {
		c.step("wait", "at the gate", "", "created, and not yet started")
		c.b.Call(plan.Gate, c.gate[0].Value(), c.gate[1].Value())
	}
	if p.NoNewPrivileges && !early {
		c.filter(filter)
	}
	c.exec(p)
	return nil
}

func checkProcess(p *specs.Process) error {
	switch {
	case !path.IsAbs(p.Cwd):
		return specError("process.cwd %q is not absolute", p.Cwd)
	case p.OOMScoreAdj != nil && (*p.OOMScoreAdj < -1000 || *p.OOMScoreAdj > 1000):
		return specError("oomScoreAdj %d is not within -1000 and 1000", *p.OOMScoreAdj)
	case p.User.Umask != nil && *p.User.Umask > 0o777:
		return specError("process.user.umask %#o is above 0777", *p.User.Umask)
	case p.Terminal && p.ConsoleSize != nil && max(p.ConsoleSize.Height, p.ConsoleSize.Width) > math.MaxUint16:
		return specError("process.consoleSize is above %d", math.MaxUint16)
	}
	return nil
}

// rlimits are the names of limits, by their numbers.
var rlimits = []string{
	unix.RLIMIT_AS: "RLIMIT_AS", unix.RLIMIT_CORE: "RLIMIT_CORE", unix.RLIMIT_CPU: "RLIMIT_CPU",
	unix.RLIMIT_DATA: "RLIMIT_DATA", unix.RLIMIT_FSIZE: "RLIMIT_FSIZE", unix.RLIMIT_LOCKS: "RLIMIT_LOCKS",
	unix.RLIMIT_MEMLOCK: "RLIMIT_MEMLOCK", unix.RLIMIT_MSGQUEUE: "RLIMIT_MSGQUEUE", unix.RLIMIT_NICE: "RLIMIT_NICE",
	unix.RLIMIT_NOFILE: "RLIMIT_NOFILE", unix.RLIMIT_NPROC: "RLIMIT_NPROC", unix.RLIMIT_RSS: "RLIMIT_RSS",
	unix.RLIMIT_RTPRIO: "RLIMIT_RTPRIO", unix.RLIMIT_RTTIME: "RLIMIT_RTTIME",
	unix.RLIMIT_SIGPENDING: "RLIMIT_SIGPENDING", unix.RLIMIT_STACK: "RLIMIT_STACK",
}

func (c *compiler) rlimits(p *specs.Process) error {
	seen := make(map[string]bool)
	for _, r := range p.Rlimits {
		kind := slices.Index(rlimits, r.Type)
		if kind < 0 || seen[r.Type] {
			return specError("rlimit %q is unknown or given twice", r.Type)
		}
		seen[r.Type] = true
		c.step("limit", strings.ToLower(strings.TrimPrefix(r.Type, "RLIMIT_")), fmt.Sprintf("soft %d, hard %d", r.Soft, r.Hard), "of each of its processes")
		c.b.Call(unix.SYS_PRLIMIT64, plan.Int(0), plan.Int(kind), c.b.Words(plan.Int(r.Soft), plan.Int(r.Hard)), plan.Int(0))
	}
	return nil
}

// streams puts descriptors 0, 1 and 2 in place, and gives them to the user
// that the program runs as, so that it can open /dev/stdout.
func (c *compiler) streams(p *specs.Process) {
	c.step("connect", "stdin, stdout, stderr", "", "the only descriptors that it gets")
	for i, s := range c.std {
		c.stream(i, s, p.User.UID)
	}
}

// place gives a descriptor its number, by which the program knows it.
func (c *compiler) place(s plan.Slot, number int) {
	c.b.Call(unix.SYS_DUP3, s.Value(), plan.Int(number), plan.Int(0)).Ignore(int(unix.EINVAL)) // it has it already
	c.b.Call(unix.SYS_FCNTL, plan.Int(number), plan.Int(unix.F_SETFD), plan.Int(0))
}

// stream puts one descriptor in place. The container gets its own /dev/null
// and not the host's: whoever has that open can change its mode and owner, for
// the whole machine.
func (c *compiler) stream(i int, s plan.Slot, owner uint32) {
	test := c.b.Len()
	c.isDevice(s, plan.Arg{}, unix.S_IFCHR, 1, 3)
	own := c.b.Slot()
	const flags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_CLOEXEC
	ready := c.b.Len()
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str("/dev/null"), plan.Int(flags)).Into(own)
	c.isDevice(own, plan.Arg{}, unix.S_IFCHR, 1, 3)
	c.b.Call(unix.SYS_DUP3, own.Value(), plan.Int(i), plan.Int(0))
	jump := c.b.Len()
	c.b.Call(plan.Jump)
	for at := test; at < ready; at++ {
		c.b.SkipFrom(at, int(unix.EEXIST))
	}
	c.place(s, i)
	if owner != 0 {
		c.b.Call(unix.SYS_FCHOWN, plan.Int(i), plan.Int(owner), plan.Int(-1)).Flag(plan.AnyError)
	}
	c.b.JumpTo(jump)
}

// keyring takes a new session keyring: keyrings have no namespace. Without
// support in the kernel, or at the user's limit of keys, there is none to take.
func (c *compiler) keyring() {
	if c.opt.NoNewKeyring {
		return
	}
	c.step("new keyring", "session", "", "the caller's keys stay the caller's")
	c.b.Call(unix.SYS_KEYCTL, plan.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), plan.Int(0)).
		Ignore(int(unix.ENOSYS), int(unix.EDQUOT), int(unix.EPERM))
}

// workingDirectory makes and enters the working directory, and then asks the
// kernel where that is: outside the root directory it has no path, and a path
// without a leading slash is what getcwd(2) gives then (CVE-2024-21626).
func (c *compiler) workingDirectory(p *specs.Process) {
	c.step("chdir", p.Cwd, "", "where the program begins")
	slash, dir := c.b.Slot(), c.b.Slot()
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str("/"), plan.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(slash)
	c.b.Call(plan.Walk, slash.Value(), c.b.Str(path.Clean(p.Cwd)), plan.Int(plan.WalkDir), plan.Int(0o755)).Into(dir)
	c.b.Call(unix.SYS_FCHDIR, dir.Value())
	const pathMax = 4096
	buf := c.b.Data(make([]byte, pathMax))
	c.b.Call(unix.SYS_GETCWD, buf, plan.Int(pathMax))
	c.b.Call(plan.Expect, buf, plan.Int('/'), plan.Int(uint(unix.ENOENT)))
}

// credentials changes to the user and takes away capabilities(7).
func (c *compiler) credentials(p *specs.Process) {
	sets, _ := granted(c.spec, c.host)
	c.step("drop capabilities", "from the bounding set", keptNames(sets.bounding), "not even a setuid program gets them back")
	for cap := range c.host.LastCap + 1 {
		if sets.bounding&(1<<cap) == 0 {
			c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_CAPBSET_DROP), plan.Int(cap), plan.Int(0), plan.Int(0), plan.Int(0))
		}
	}
	u := p.User
	c.step("set user", fmt.Sprintf("%d:%d", u.UID, u.GID), groupsText(u.AdditionalGids), "who it is to the file system")
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_KEEPCAPS), plan.Int(1), plan.Int(0), plan.Int(0), plan.Int(0))
	c.setgroups(u.AdditionalGids)
	c.b.Call(unix.SYS_SETRESGID, plan.Int(u.GID), plan.Int(u.GID), plan.Int(u.GID))
	c.b.Call(unix.SYS_SETRESUID, plan.Int(u.UID), plan.Int(u.UID), plan.Int(u.UID))
	c.dumpable(0) // the kernel takes a new identity for a reason to forget it
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_KEEPCAPS), plan.Int(0), plan.Int(0), plan.Int(0), plan.Int(0))
	c.step("set capabilities", "", keptNames(sets.effective), "the rights of root that are left")
	c.capset(sets)
}

func groupsText(gids []uint32) string {
	if len(gids) == 0 {
		return "no further groups"
	}
	return "groups " + strings.Trim(fmt.Sprint(gids), "[]")
}

func (c *compiler) gids(gids []uint32) plan.Arg {
	raw := make([]byte, 4*len(gids))
	for i, g := range gids {
		binary.NativeEndian.PutUint32(raw[4*i:], g)
	}
	return c.b.Data(raw)
}

// closeDescriptors leaves open what the program gets, and the gate. It comes
// before the filter, which may know nothing of close_range(2): those that
// engines bring along are older.
func (c *compiler) closeDescriptors() {
	first := 3 + c.opt.PreserveFDs
	c.step("close", fmt.Sprintf("descriptors from %d on", first), "", "nothing of the host is left open (CVE-2024-21626)")
	if c.init != plan.NoSlot {
		c.b.Call(unix.SYS_CLOSE_RANGE, plan.Int(first), plan.Int(^uint32(0)), plan.Int(unix.CLOSE_RANGE_CLOEXEC))
		return
	}
	// Before execve and not by it: the program, its interpreter and its
	// loader are found by paths that are the image's, and such a path could
	// lead through /proc/self/fd (CVE-2024-21626).
	keep := [3]plan.Arg{plan.Int(-1), plan.Int(-1), plan.Int(-1)}
	if c.opt.Gate {
		keep[0], keep[1] = c.gate[0].Value(), c.gate[1].Value()
	}
	if c.opt.Airlock {
		keep[2] = c.airlock.Value()
	}
	c.b.Call(plan.CloseFrom, plan.Int(first), keep[0], keep[1], keep[2])
}

// finish sets what only lasts from here on: a change of user ids would undo
// the death signal.
func (c *compiler) finish(p *specs.Process) {
	umask := uint32(0o022)
	if p.User.Umask != nil {
		umask = *p.User.Umask
	}
	c.step("set", "umask and signals", fmt.Sprintf("%04o", umask), "as the program finds them")
	c.b.Call(unix.SYS_UMASK, plan.Int(umask))
	death := unix.SIGKILL
	if c.opt.Outlive || c.opt.Gate && !c.opt.Airlock { // the airlock does so, later
		death = 0
	}
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_PDEATHSIG), plan.Int(death))
	c.b.Call(unix.SYS_RT_SIGPROCMASK, plan.Int(unix.SIG_SETMASK), c.b.Data(make([]byte, 8)), plan.Int(0), plan.Int(8))
}

// exec becomes the program. Without a slash in its name it is looked for in
// the container's PATH. A directory where it is not, or may not be executed,
// is passed over, and only when all were tried is the second told.
func (c *compiler) exec(p *specs.Process) {
	c.step("exec", p.Args[0], strings.Join(p.Args[1:], " "), "")
	argv, envp := c.b.Strs(p.Args), c.b.Strs(p.Env)
	if c.init != plan.NoSlot {
		argv = c.b.Strs(append([]string{"minict-init", "--"}, p.Args...))
		c.b.Call(unix.SYS_EXECVEAT, c.init.Value(), c.b.Str(""), argv, envp, plan.Int(emptyPath))
		return
	}
	files := candidates(p)
	if c.opt.Airlock {
		c.throughAirlock(files, p.Args, envp)
		return
	}
	for _, also := range [][]int{{int(unix.EACCES)}, nil} {
		for i, file := range files {
			if also == nil && i == len(files)-1 {
				break
			}
			c.b.Call(unix.SYS_EXECVE, c.b.Str(file), argv, envp).
				Ignore(append(also, int(unix.ENOENT), int(unix.ENOTDIR))...)
		}
	}
	c.b.Call(unix.SYS_EXECVE, c.b.Str(files[len(files)-1]), argv, envp)
}

// throughAirlock is exec by way of an airlock, which tries the files in the
// same way, and waits at the gate before if there is one.
func (c *compiler) throughAirlock(files, args []string, envp plan.Arg) {
	if len(files) > launch.AirlockFiles {
		files = files[:launch.AirlockFiles] // nobody has so many directories in the PATH
	}
	control := c.b.Data(launch.AirlockControl(len(files)))
	words := []plan.Arg{control}
	for _, s := range append(files, args...) {
		words = append(words, c.b.Str(s))
	}
	gate := [2]plan.Arg{plan.Int(0), plan.Int(0)}
	if c.opt.Gate {
		gate = [2]plan.Arg{c.gate[0].Value(), c.gate[1].Value()}
	}
	c.b.Call(plan.Airlock, c.airlock.Value(), c.b.Words(append(words, plan.Int(0))...), envp, gate[0], gate[1])
}

// lookFor sees whether there is a program to become, as long as whoever made the
// container listens. Whether it can be executed is seen by doing so.
func (c *compiler) lookFor(p *specs.Process) {
	c.step(verbFind, p.Args[0], "", "a program that is not there is told of by create, and not by start")
	files := candidates(p)
	var found []int
	for i, file := range files {
		at := c.b.Len()
		c.b.Call(unix.SYS_FACCESSAT, plan.Int(atFDCWD), c.b.Str(file), plan.Int(0)).Ignore(int(unix.EACCES))
		if i < len(files)-1 {
			found = append(found, c.b.Len())
			c.b.Call(plan.Jump)
			c.b.SkipFrom(at, int(unix.ENOENT), int(unix.ENOTDIR))
		}
	}
	for _, jump := range found {
		c.b.JumpTo(jump)
	}
}

// candidates are the files that a command may mean.
func candidates(p *specs.Process) []string {
	name := p.Args[0]
	if strings.Contains(name, "/") || name == "" {
		return []string{name}
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range p.Env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	var files []string
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "."
		}
		files = append(files, dir+"/"+name)
	}
	return files
}
