package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/criu"
)

// CRIUOptions are what checkpoint and restore have in common.
type CRIUOptions struct {
	Program    string // CRIU
	Images     string // directory, absolute
	Work       string // directory of CRIU's log, absolute; "": the images'
	CgroupMode criu.CgroupMode

	TCPEstablished, ExtUnixSk, ShellJob, FileLocks, AutoDedup, LazyPages, EmptyNetwork bool
}

// Names of files beside CRIU's images, and of its logs: runc has the same, and
// engines look for them.
const (
	descriptorsFile = "descriptors.json"
	dumpLog         = "dump.log"
	restoreLog      = "restore.log"
)

// Where CRIU's own options are read from. It is runc's file: who has set up
// CRIU for containers has done it there.
const (
	criuConfig     = "/etc/criu/runc.conf"
	criuAnnotation = "org.criu.config"
)

// command is CRIU with these options.
func (o *CRIUOptions) command(annotations map[string]string, log string, in *os.File) (*criu.Command, error) {
	if o.Work == "" {
		o.Work = o.Images
	}
	if err := os.MkdirAll(o.Work, 0o700); err != nil {
		return nil, err
	}
	config, named := annotations[criuAnnotation]
	if _, err := os.Stat(criuConfig); !named && err == nil {
		config = criuConfig
	}
	return &criu.Command{
		Program: o.Program, Images: o.Images, Work: o.Work, Stdin: in,
		Options: criu.Options{
			Log: log, ConfigFile: config, CgroupMode: o.CgroupMode, Notify: true, OrphanPtsMaster: true, NFT: o.withoutIptables(),
			TCPEstablished: o.TCPEstablished, ExtUnixSk: o.ExtUnixSk, ShellJob: o.ShellJob, FileLocks: o.FileLocks,
			AutoDedup: o.AutoDedup, LazyPages: o.LazyPages, EmptyNetwork: o.EmptyNetwork,
		},
	}, nil
}

// withoutIptables says whether CRIU holds the network up, while it dumps, with
// its own nftables in place of the programs of iptables, which then need not be
// there. With connections it does not: before CRIU 4.1 they would stay held up
// when they are restored.
func (o *CRIUOptions) withoutIptables() bool {
	_, err := exec.LookPath("iptables-restore")
	return err != nil && !o.TCPEstablished
}

// externalKind says whether CRIU leaves a namespace that the container has joined
// to whoever made it, and what CRIU calls it.
func externalKind(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.NetworkNamespace:
		return "net"
	case specs.PIDNamespace:
		return "pid"
	}
	return ""
}

// joinedKind is for the others that it can join: what is in them it dumps, and
// restores what it dumped into what it joins.
func joinedKind(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.IPCNamespace, specs.UTSNamespace, specs.UserNamespace, specs.TimeNamespace:
		return string(t) // CRIU's words are the same
	}
	return ""
}

// namespaceKey is by what name CRIU knows an external namespace: runc's, so that
// each can restore what the other has dumped.
func namespaceKey(kind string) string { return "extRoot" + strings.ToUpper(kind[:1]) + kind[1:] + "NS" }

// checkMounts refuses a container in somebody else's mount namespace.
func checkMounts(spec *specs.Spec) error {
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.MountNamespace && ns.Path == "" {
			return nil
		}
	}
	return errors.New("a container without a mount namespace of its own can't be checkpointed: its mounts are not its own")
}

// streams name the standard streams of a process, as CRIU knows what comes from
// outside: a pipe by its link, a file that is in none of the container's mounts
// by its mount and inode.
func streams(pid int, mounts []mountEntry, job bool) ([]string, error) {
	var names []string
	for fd := range 3 {
		name, err := streamName(pid, fd, mounts)
		closed, terminal := errors.Is(err, fs.ErrNotExist), errors.Is(err, errTerminal)
		if err != nil && !closed && !(terminal && job) {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

var errTerminal = errors.New("the container has streams on a terminal of the host's (--shell-job)")

func streamName(pid, fd int, mounts []mountEntry) (string, error) {
	path := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
	link, err := os.Readlink(path)
	if err != nil || !filepath.IsAbs(link) {
		return link, err
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	if err != nil {
		return "", err
	}
	mount := -1
	for line := range strings.Lines(string(info)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			mount, err = strconv.Atoi(strings.TrimSpace(id))
		}
	}
	if err != nil || mount < 0 {
		return "", fmt.Errorf("/proc/%d/fdinfo/%d is not as it was", pid, fd)
	}
	for _, m := range mounts {
		if m.id == mount {
			return link, nil
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && isTerminal(unix.Major(st.Rdev)) {
		return fmt.Sprintf("tty[%x:%x]", st.Rdev, st.Dev), errTerminal
	}
	return fmt.Sprintf("file[%x:%x]", mount, st.Ino), nil
}

// isTerminal knows devices by their major number: consoles, and the slave sides
// of pseudo-terminals (admin-guide/devices.txt of the kernel).
func isTerminal(major uint32) bool { return major == 4 || major == 5 || major >= 136 && major <= 143 }

// outside says whether a stream is to be given by whoever restores.
func outside(name string) bool {
	kind, _, _ := strings.Cut(name, "[")
	return kind == "pipe:" || kind == "file" || kind == "tty"
}

func writeStreams(dir string, names []string) error {
	data, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, descriptorsFile), data, 0o600)
}

func readStreams(dir string) (names []string, err error) {
	const most = 1 << 16
	path := filepath.Join(dir, descriptorsFile)
	data, err := ReadBounded(path, most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // dumped by somebody who does not write it
	}
	if err == nil {
		err = json.Unmarshal(data, &names)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return names, nil
}
