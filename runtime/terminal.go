package runtime

import (
	"encoding/binary"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// terminal makes the container's pseudo-terminal in its own devpts, keeps the
// slave side as its standard streams and /dev/console, and sends the master
// to the launcher.
func (c *compiler) terminal() error {
	if !c.spec.Process.Terminal {
		return nil
	}
	if c.devpts == plan.NoSlot && !c.boundPts() {
		return specError("a terminal needs a devpts mount at /dev/pts")
	}
	c.step("open", "a terminal", "", "its own, never the caller's")
	if c.devpts == plan.NoSlot {
		c.devpts = c.walk("/dev/pts", plan.WalkExisting)
		c.isDevpts(c.devpts)
	}
	slave := c.pty(c.devpts, c.spec.Process)
	c.b.Call(unix.SYS_IOCTL, slave.Value(), plan.Int(unix.TIOCSCTTY), plan.Int(0))
	c.step("bind", "/dev/console", "the terminal", "")
	tree := c.b.Slot()
	c.b.Call(unix.SYS_OPEN_TREE, slave.Value(), c.b.Str(""), plan.Int(cloneTree|emptyPath)).Into(tree)
	if !c.foreignDev() {
		c.attach(tree, c.walk("/dev/console", plan.WalkFile|plan.WalkPlain))
		return nil
	}
	at := c.b.Len() // where nothing is to be made
	c.attach(tree, c.walk("/dev/console", plan.WalkExisting|plan.WalkPlain))
	c.b.SkipFrom(at, int(unix.ENOENT))
	return nil
}

// boundPts says whether /dev/pts comes with a bind mount: who binds the host's
// /dev wants its terminals too.
func (c *compiler) boundPts() bool {
	return slices.ContainsFunc(c.mounted, func(m mount) bool {
		return m.options.bind && (m.Destination == "/dev" || m.Destination == "/dev/pts")
	})
}

// isDevpts fails with ENOTTY unless a descriptor is of a devpts.
func (c *compiler) isDevpts(dir plan.Slot) {
	stat := c.b.Data(make([]byte, 128)) // struct statfs begins with the type
	c.b.Call(unix.SYS_FSTATFS, dir.Value(), stat)
	c.b.Call(plan.Expect32, stat, plan.Int(unix.DEVPTS_SUPER_MAGIC), plan.Int(^uint32(0)), plan.Int(uint(unix.ENOTTY)))
}

// pty opens a new terminal in a devpts. The slave side comes from the master by
// descriptor and not by name (CVE-2025-52565): TIOCGPTPEER, ioctl_tty(2).
func (c *compiler) pty(dir plan.Slot, p *specs.Process) (slave plan.Slot) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	master, slave := c.b.Slot(), c.b.Slot()
	message, fdAt := c.rights(0)
	c.b.Call(unix.SYS_OPENAT, dir.Value(), c.b.Str("ptmx"), plan.Int(flags)).Into(master).StoreAt(fdAt)
	c.b.Call(unix.SYS_IOCTL, master.Value(), plan.Int(unix.TIOCSPTLCK), c.b.Data(make([]byte, 4)))
	c.b.Call(unix.SYS_IOCTL, master.Value(), plan.Int(unix.TIOCGPTPEER), plan.Int(flags)).Into(slave)
	if size := p.ConsoleSize; size != nil {
		var winsize [8]byte // struct winsize: rows, columns
		binary.NativeEndian.PutUint16(winsize[0:], uint16(size.Height))
		binary.NativeEndian.PutUint16(winsize[2:], uint16(size.Width))
		c.b.Call(unix.SYS_IOCTL, master.Value(), plan.Int(unix.TIOCSWINSZ), c.b.Data(winsize[:]))
	}
	c.b.Call(unix.SYS_SENDMSG, c.socket.Value(), message, plan.Int(unix.MSG_NOSIGNAL))
	c.b.Call(unix.SYS_CLOSE, master.Value())
	for i := range c.std {
		c.std[i] = slave
	}
	return slave
}

// rights builds the message of one byte that carries one descriptor (unix(7),
// SCM_RIGHTS), and tells where in it the descriptor has to be written.
func (c *compiler) rights(payload byte) (msghdr, fdAt plan.Arg) {
	one := c.b.Data([]byte{payload})
	iovec := c.b.Words(one, plan.Int(1))
	control := make([]byte, unix.CmsgSpace(4))
	binary.NativeEndian.PutUint64(control[0:], uint64(unix.CmsgLen(4)))
	binary.NativeEndian.PutUint32(control[8:], unix.SOL_SOCKET)
	binary.NativeEndian.PutUint32(control[12:], unix.SCM_RIGHTS)
	cmsg := c.b.Data(control)
	msghdr = c.b.Words(plan.Int(0), plan.Int(0), iovec, plan.Int(1), cmsg, plan.Int(len(control)), plan.Int(0))
	return msghdr, cmsg.At(unix.CmsgLen(0))
}
