package overlay

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoContext says that this kernel's overlayfs does not take its layers one
// by one (they are documented from Linux 6.8).
var errNoContext = errors.New("overlayfs without lowerdir+")

// option is a mount option; one without a value is a flag.
type option struct{ key, value string }

// options are those besides the directories, the safe value of everything
// that a kernel may have been built or loaded with another default for: a
// layer that says "my data is over there" must not be believed.
func (s Stack) options() []option {
	o := []option{
		{"redirect_dir", "nofollow"},
		{"metacopy", "off"},
		{"index", "off"},
		{"nfs_export", "off"},
	}
	if s.Volatile {
		o = append(o, option{"volatile", ""})
	}
	return o
}

// maxString is the longest string that fsconfig(2) takes, without its NUL.
const maxString = 255

// mountByContext builds the mount step by step: fsopen(2), fsconfig(2),
// fsmount(2).
func mountByContext(s Stack) (*os.File, error) {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return nil, errors.New("this kernel has no overlayfs")
	}
	if err != nil {
		return nil, fmt.Errorf("fsopen: %w", err)
	}
	c := &fsContext{fd: fd}
	defer c.close()
	// A file system without code of its own for this interface swallows any
	// option until the end; one that has it knows that this is no flag.
	if err := unix.FsconfigSetFlag(fd, "lowerdir+"); err == nil {
		return nil, errNoContext
	}
	c.message()
	for i, dir := range s.Lower {
		err := c.setDir("lowerdir+", dir)
		if err != nil && i == 0 && c.unknown {
			return nil, errNoContext
		}
		if err != nil {
			return nil, err
		}
	}
	if s.Upper != "" {
		if err := errors.Join(c.setDir("upperdir", s.Upper), c.setDir("workdir", s.Work)); err != nil {
			return nil, err
		}
	}
	for _, o := range s.options() {
		if err := c.set(o.key, o.value); err != nil && !c.unknown {
			return nil, err
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, c.explain("create", err)
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, s.attributes())
	if err != nil {
		return nil, c.explain("fsmount", err)
	}
	return os.NewFile(uintptr(m), "overlay"), nil
}

// fsContext is a file system that is being configured.
type fsContext struct {
	fd      int
	dirs    []*os.File // named by /proc/self/fd/N until the mount is made
	unknown bool       // the last error was about an option that the kernel does not know
}

func (c *fsContext) close() {
	unix.Close(c.fd)
	for _, dir := range c.dirs {
		dir.Close()
	}
}

func (c *fsContext) set(key, value string) error {
	var err error
	if value == "" {
		err = unix.FsconfigSetFlag(c.fd, key)
	} else {
		err = unix.FsconfigSetString(c.fd, key, value)
	}
	if err != nil {
		return c.explain(strings.TrimSuffix(key+"="+value, "="), err)
	}
	return nil
}

// setDir hands a directory over by its name, or by its descriptor's when the
// name is too long, or has what overlayfs takes for its own syntax.
func (c *fsContext) setDir(key, dir string) error {
	if len(dir) <= maxString && !strings.ContainsAny(dir, `\:,`) {
		return c.set(key, dir)
	}
	f, err := openDir(dir)
	if err != nil {
		return err
	}
	c.dirs = append(c.dirs, f)
	return c.set(key, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())))
}

// explain adds what the kernel has to say to an errno.
func (c *fsContext) explain(what string, err error) error {
	line := c.message()
	c.unknown = strings.Contains(line, "Unknown parameter")
	if line == "" {
		line = "dmesg may say why"
	}
	return fmt.Errorf("%s: %w (%s)", what, err, line)
}

// message takes all messages out of the context and returns the last. Each
// read(2) gives one, such as "e overlay: Bad value for 'index'".
func (c *fsContext) message() string {
	line := ""
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(c.fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 2 {
			return line
		}
		line = strings.Join(strings.Fields(string(buf[2:n])), " ")
	}
}

func openDir(dir string) (*os.File, error) {
	return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
