package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"minict/internal/atomicfile"
	"minict/internal/flock"
	"minict/internal/randomid"
)

// Create makes a network. Its bridge comes into being when a container first
// needs it. Errors: ErrInvalid, ErrExists (the name, or another network's
// subnet).
func (m *Manager) Create(ctx context.Context, o Options) (*Network, error) {
	n, err := o.network()
	if err != nil {
		return nil, err
	}
	lock, err := m.lock(ctx, flock.Exclusive)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	all, err := m.definitions()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(all, func(other *Network) bool { return other.Name == n.Name }) {
		return nil, failf(ErrExists, "network %s exists already", n.Name)
	}
	for slices.ContainsFunc(all, func(other *Network) bool { return other.Bridge == n.Bridge }) {
		if o.bridge() != "" {
			return nil, failf(ErrExists, "the bridge %s is another network's", n.Bridge)
		}
		n.newID()
	}
	if err := m.choose(n, all); err != nil {
		return nil, err
	}
	return n, m.define(n)
}

// network is what Options ask for, before subnets are chosen and anybody else
// is looked at.
func (o *Options) network() (*Network, error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	if predefined(o.Name) != nil {
		return nil, invalidf("network %s is predefined: take another name", o.Name)
	}
	if o.Driver != "" && o.Driver != DriverBridge {
		return nil, invalidf("network driver %q: there is only %s", o.Driver, DriverBridge)
	}
	mtu, err := o.mtu()
	if err != nil {
		return nil, err
	}
	n := &Network{
		Name: o.Name, Created: time.Now().UTC(), Driver: DriverBridge, Internal: o.Internal, IPv6: o.IPv6,
		MTU: mtu, Labels: o.Labels, Options: o.Options,
	}
	if n.Subnets, err = checkSubnets(o.Subnets); err != nil {
		return nil, err
	}
	if !n.IPv6 && slices.ContainsFunc(n.Subnets, Subnet.v6) {
		return nil, invalidf("an IPv6 subnet needs --ipv6")
	}
	n.newID()
	if bridge := o.bridge(); bridge != "" {
		n.Bridge = bridge
		err = checkInterface(bridge)
	}
	return n, err
}

// newID gives a network an id, and its bridge the name that follows from it.
func (n *Network) newID() {
	n.ID = randomid.New()
	n.Bridge = bridgePrefix + n.ID[:9]
}

// bridgePrefix is what names of bridges begin with that nobody has chosen: the
// accept rule in the rules of others is for this prefix. With nine digits it
// fills the 15 bytes that a name can have.
const (
	bridgePrefix  = "minict"
	defaultBridge = "minict0"
)

func (o *Options) bridge() string { return o.Options["com.docker.network.bridge.name"] }

// Bounds of an MTU: what IPv4 wants at least (RFC 791), or IPv6 (RFC 8200), and
// the most that a bridge takes.
const (
	minMTU4 = 68
	minMTU6 = 1280
	maxMTU  = 65535
)

func (o *Options) mtu() (int, error) {
	for _, key := range []string{"com.docker.network.driver.mtu", "mtu"} {
		text, there := o.Options[key]
		if !there {
			continue
		}
		least := minMTU4
		if o.IPv6 {
			least = minMTU6
		}
		mtu, err := strconv.Atoi(text)
		if err != nil || mtu < least || mtu > maxMTU {
			return 0, invalidf("option %s=%s: an MTU is a number from %d to %d", key, text, least, maxMTU)
		}
		return mtu, nil
	}
	return 0, nil
}

// CheckName says whether a network may be named so: ErrInvalid if not. What
// it allows can be the name of a file, and is no id.
func CheckName(name string) error {
	if !isName(name) {
		return invalidf("network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, up to %d characters", name, maxName)
	}
	if len(name) == 64 && isHex(name) {
		return invalidf("network name %s: it looks like an id", name)
	}
	return nil
}

// maxName is less than what a file system takes, for what is put around it.
const maxName = 200

func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// checkInterface is dev_valid_name of the kernel.
func checkInterface(name string) error {
	if len(name) > 15 || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00%") {
		return invalidf("interface name %q: it has at most 15 bytes, and neither blanks nor any of /:%%", name)
	}
	return nil
}

// predefined gives a network that is always there, or nil. Their ids follow
// from their names.
func predefined(name string) *Network {
	n := &Network{Name: name}
	switch name {
	case "default":
		n.Name, n.Driver, n.Bridge = Default, DriverBridge, defaultBridge
	case Default:
		n.Driver, n.Bridge = DriverBridge, defaultBridge
	case Host:
		n.Driver = DriverHost
	case None:
		n.Driver = DriverNull
	default:
		return nil
	}
	id := sha256.Sum256([]byte("minict network " + n.Name))
	n.ID = hex.EncodeToString(id[:])
	return n
}

// Predefined says whether a network is always there.
func (n *Network) Predefined() bool { return predefined(n.Name) != nil }

func (m *Manager) definition(name string) string { return filepath.Join(m.Root, name) }
func (m *Manager) stateDir(name string) string   { return filepath.Join(m.State, name) }

// define writes a definition, for longer than a power loss.
func (m *Manager) define(n *Network) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.Root, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(m.definition(n.Name), raw)
}

// dropUnfinished removes definitions that somebody was killed over. With the
// exclusive lock nobody else writes one.
func (m *Manager) dropUnfinished() error {
	paths, err := filepath.Glob(m.definition(".*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// read reads a definition: fs.ErrNotExist if it is not there.
func (m *Manager) read(name string) (*Network, error) {
	raw, err := os.ReadFile(m.definition(name))
	if err != nil {
		return nil, err
	}
	n := &Network{}
	if err := json.Unmarshal(raw, n); err != nil {
		return nil, fmt.Errorf("read network %s: %w", name, err)
	}
	return n, nil
}

// definitions reads all that were written.
func (m *Manager) definitions() ([]*Network, error) {
	names, err := readNames(m.Root)
	if err != nil {
		return nil, err
	}
	var all []*Network
	for _, name := range names {
		n, err := m.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in the meantime
		}
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// Get gives a network, the predefined ones too ("default" is the default
// network). If there is none, the error is ErrNotFound; ErrInvalid if ref is
// the beginning of several ids.
func (m *Manager) Get(ref string) (*Network, error) {
	if n := predefined(ref); n != nil {
		ref = n.Name
	}
	if isName(ref) {
		n, err := m.read(ref)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if n := predefined(ref); n != nil {
			return n, nil
		}
	}
	if !isHex(ref) {
		return nil, notFound(ref)
	}
	all, err := m.List()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(n *Network) bool { return !strings.HasPrefix(n.ID, ref) })
	switch len(all) {
	case 0:
		return nil, notFound(ref)
	case 1:
		return all[0], nil
	}
	return nil, invalidf("%s is the beginning of several networks' ids: give more of it", ref)
}

func notFound(ref string) error { return failf(ErrNotFound, "no such network: %s", ref) }

// List gives all networks by name, the predefined ones too.
func (m *Manager) List() ([]*Network, error) {
	all, err := m.definitions()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{Default, Host, None} {
		if !slices.ContainsFunc(all, func(n *Network) bool { return n.Name == name }) {
			all = append(all, predefined(name))
		}
	}
	slices.SortFunc(all, func(a, b *Network) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
