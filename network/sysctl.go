package network

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Settings of the kernel's are files below sysctlDir, for the network namespace
// of the thread that opens them.
const sysctlDir = "/proc/sys/net/"

// setting sets one: fs.ErrNotExist if the kernel does not have it.
func setting(name, value string) error {
	fd, err := unix.Open(sysctlDir+name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "set", Path: sysctlDir + name, Err: err}
	}
	defer unix.Close(fd)
	for {
		// The kernel restarts what would wait for links that others change.
		_, err := unix.Write(fd, []byte(value))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "set", Path: sysctlDir + name, Err: err}
		}
		return nil
	}
}

// settingIs says whether one has a value.
func settingIs(name, value string) bool { return readNote(sysctlDir+name) == value }

// without is err, unless it says that the kernel has no such setting: one that
// was built or started without IPv6.
func without(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// forward has the host pass on packets that are not for itself, and says so.
func (m *Manager) forward(n *Network) error {
	if n.Internal {
		return nil
	}
	if err := m.turnOn("ipv4/ip_forward"); err != nil || !n.IPv6 {
		return err
	}
	if settingIs("ipv6/conf/all/forwarding", "1") {
		return nil
	}
	// A router does not believe other routers, unless it is told to: the
	// host would lose the default route that it has from one.
	uplinks, err := filepath.Glob(sysctlDir + "ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, path := range uplinks {
		name := path[len(sysctlDir):]
		of := filepath.Base(filepath.Dir(path))
		if of == "all" || of == "default" || !settingIs(name, "1") {
			continue
		}
		if err := without(setting(name, "2")); err != nil {
			return fmt.Errorf("keep the host's IPv6 routes: %w", err)
		}
		m.info("net/" + name + " was 1 and is 2, so that the host keeps its routes when it forwards IPv6")
	}
	return m.turnOn("ipv6/conf/all/forwarding")
}

func (m *Manager) turnOn(name string) error {
	if settingIs(name, "1") {
		return nil
	}
	if err := setting(name, "1"); err != nil {
		return failf(ErrUnavailable, "have the host forward packets: %w", err)
	}
	m.info("net/" + name + " was off and is on: the host forwards packets, for its containers and for all others")
	return nil
}

func (m *Manager) info(text string) {
	if m.Log != nil {
		m.Log.Info(text)
	}
}

func (m *Manager) warn(text string, args ...any) {
	if m.Log != nil {
		m.Log.Warn(text, args...)
	}
}

// bridged says whether frames inside a bridge pass the rules for IP packets,
// as with the module br_netfilter they may.
func bridged() bool {
	return settingIs("bridge/bridge-nf-call-iptables", "1") || settingIs("bridge/bridge-nf-call-ip6tables", "1")
}
