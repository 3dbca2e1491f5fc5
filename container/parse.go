package container

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"minict/container/etc"
)

// ParseBytes reads a size such as 128m, 1.5GiB or 4096: bytes. What is the
// thing that has the size, for the error.
func ParseBytes(what, s string) (int64, error) {
	n, err := units.RAMInBytes(strings.TrimSpace(s))
	if err != nil || n < 0 {
		return 0, invalidf("invalid %s %q: want a number of bytes with b, k, m or g behind it", what, s)
	}
	return n, nil
}

// ParseSwap is ParseBytes that also takes -1, for no limit.
func ParseSwap(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return ParseBytes("memory-swap", s)
}

// ParseCPUs reads a number of CPUs such as 1.5: 10⁻⁹ CPUs.
func ParseCPUs(s string) (int64, error) {
	r, ok := new(big.Rat).SetString(s)
	if !ok || len(s) > 32 {
		return 0, invalidf("invalid cpus %q: want a number such as 1.5", s)
	}
	nano := r.Mul(r, big.NewRat(1e9, 1))
	if nano.Sign() < 0 || !nano.IsInt() || !nano.Num().IsInt64() {
		return 0, invalidf("invalid cpus %q: want a positive number with at most 9 decimals", s)
	}
	return nano.Num().Int64(), nil
}

// ParseUlimit reads name=soft[:hard]; -1 is unlimited.
func ParseUlimit(s string) (Ulimit, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return Ulimit{}, invalidf("invalid ulimit %q: want name=soft[:hard]", s)
	}
	soft, hard, both := strings.Cut(value, ":")
	if !both {
		hard = soft
	}
	u := Ulimit{Name: strings.ToLower(name)}
	for _, limit := range []struct {
		text string
		n    *int64
	}{{soft, &u.Soft}, {hard, &u.Hard}} {
		n, err := strconv.ParseInt(limit.text, 10, 64)
		if err != nil || n < -1 {
			return Ulimit{}, invalidf("invalid ulimit %q: %q is no limit", s, limit.text)
		}
		*limit.n = n
	}
	return u, u.check()
}

// ParseHost reads name:address or name=address, for /etc/hosts, and gives
// name:address. An IPv6 address may stand in brackets. The address may be
// etc.HostGateway.
func ParseHost(s string) (string, error) {
	name, addr, ok := strings.Cut(s, "=")
	if !ok {
		name, addr, ok = strings.Cut(s, ":")
	}
	if len(addr) > 2 && addr[0] == '[' && addr[len(addr)-1] == ']' {
		addr = addr[1 : len(addr)-1]
	}
	if ok && isHostname(name) && addr == etc.HostGateway {
		return name + ":" + addr, nil
	}
	ip, err := netip.ParseAddr(addr)
	if !ok || err != nil || !isHostname(name) || ip.Zone() != "" {
		return "", invalidf("invalid host %q: want name:address", s)
	}
	return name + ":" + ip.String(), nil
}

// ParseLabels reads key=value, or key for an empty value.
func ParseLabels(list []string) (map[string]string, error) {
	labels := make(map[string]string, len(list))
	for _, s := range list {
		key, value, _ := strings.Cut(s, "=")
		if key == "" {
			return nil, invalidf("invalid label %q: want key=value", s)
		}
		labels[key] = value
	}
	return labels, nil
}

// ParseSecurity reads the values of --security-opt: seccomp=FILE,
// seccomp=unconfined, seccomp=default, no-new-privileges[=true|false], each
// with ":" for "=" as well. It reads FILE.
func ParseSecurity(list []string) (Security, error) {
	var s Security
	for _, opt := range list {
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			key, value, ok = strings.Cut(opt, ":")
		}
		switch {
		case key == "no-new-privileges":
			if !ok {
				value = "true"
			}
			on, err := strconv.ParseBool(value)
			if err != nil {
				return s, invalidf("invalid security option %q: want true or false", opt)
			}
			s.NoNewPrivileges = on
		case key == "seccomp" && value != "":
			if err := s.seccomp(value); err != nil {
				return s, err
			}
		default:
			return s, invalidf("invalid security option %q: want seccomp=FILE, seccomp=unconfined or no-new-privileges", opt)
		}
	}
	return s, nil
}

func (s *Security) seccomp(value string) error {
	switch value {
	case SeccompUnconfined, SeccompDefault:
		s.Seccomp = value
		return nil
	case "builtin":
		s.Seccomp = SeccompDefault
		return nil
	}
	profile, err := os.ReadFile(value)
	if err != nil {
		return failf(ErrInvalid, "read seccomp profile: %w", err)
	}
	if !json.Valid(profile) {
		return invalidf("seccomp profile %s: not JSON", value)
	}
	s.Seccomp, s.SeccompProfile = SeccompFile, string(profile)
	return nil
}

// ParseSignal reads a signal's name, with or without SIG, or its number.
func ParseSignal(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > maxSignal {
			return 0, invalidf("invalid signal: %s", s)
		}
		return n, nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum(name); n != 0 {
		return int(n), nil
	}
	if n, ok := realtimeSignal(name); ok {
		return n, nil
	}
	return 0, invalidf("invalid signal: %s", s)
}

// Real-time signals as the C libraries count them, signal(7).
const (
	minRealtime = 34
	maxSignal   = 64
)

func realtimeSignal(name string) (int, bool) {
	for _, end := range []struct {
		prefix string
		base   int
	}{{"SIGRTMIN", minRealtime}, {"SIGRTMAX", maxSignal}} {
		rest, ok := strings.CutPrefix(name, end.prefix)
		if !ok {
			continue
		}
		if rest == "" {
			return end.base, true
		}
		n, err := strconv.Atoi(rest)
		n += end.base
		return n, err == nil && (rest[0] == '+' || rest[0] == '-') && n >= minRealtime && n <= maxSignal
	}
	return 0, false
}

// maxEnvFile bounds an environment file, in bytes.
const maxEnvFile = 4 << 20

// ReadEnvFile reads a file with a NAME=value in each line: without quotes,
// without expansion. Empty lines and those that begin with # don't count. A
// NAME alone takes its value from getenv (nil is os.LookupEnv), if there is
// one.
func ReadEnvFile(path string, getenv func(string) (string, bool)) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, failf(ErrInvalid, "env file: %w", err)
	}
	defer f.Close()
	if getenv == nil {
		getenv = os.LookupEnv
	}
	var env []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxEnvFile)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(lines.Text(), " \t")
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if !utf8.ValidString(line) {
			return nil, invalidf("env file %s: line %d is not UTF-8", path, n)
		}
		name, _, assigned := strings.Cut(line, "=")
		if name == "" || strings.ContainsAny(name, " \t") {
			return nil, invalidf("env file %s: line %d: %q is no name", path, n, name)
		}
		if assigned {
			env = append(env, line)
		} else if value, ok := getenv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, failf(ErrInvalid, "env file %s: %w", path, err)
	}
	return env, nil
}

// ParseVolume reads the value of -v: [SOURCE:]TARGET[:OPTIONS]. SOURCE is a
// path on the host if it begins with / or ., else the name of a volume.
func ParseVolume(s string) (Mount, error) {
	parts := strings.Split(s, ":")
	m := Mount{Type: MountVolume}
	switch len(parts) {
	case 1:
		m.Target = parts[0]
	case 2, 3:
		m.Source, m.Target = parts[0], parts[1]
	default:
		return m, invalidf("invalid volume %q: want [source:]target[:options]", s)
	}
	if len(parts) > 1 {
		if m.Source == "" {
			return m, invalidf("invalid volume %q: empty source", s)
		}
		if m.Source[0] == '/' || m.Source[0] == '.' {
			path, err := filepath.Abs(m.Source)
			if err != nil {
				return m, err
			}
			m.Type, m.Source, m.MakeSource = MountBind, path, true
		}
	}
	if len(parts) == 3 {
		if err := m.volumeOptions(parts[2]); err != nil {
			return m, fmt.Errorf("invalid volume %q: %w", s, err)
		}
	}
	return m, m.check()
}

func (m *Mount) volumeOptions(list string) error {
	for opt := range strings.SplitSeq(list, ",") {
		switch opt {
		case "ro", "readonly":
			m.ReadOnly = true
		case "rw", "z", "Z", "consistent", "cached", "delegated", "rbind":
		case "bind":
			m.NonRecursive = true
		case "nocopy":
			m.NoCopy = true
		default:
			if !propagations[opt] {
				return invalidf("unknown option %q", opt)
			}
			m.Propagation = opt
		}
	}
	return nil
}

// ParseTmpfs reads the value of --tmpfs: TARGET[:OPTIONS].
func ParseTmpfs(s string) (Mount, error) {
	target, options, _ := strings.Cut(s, ":")
	m := Mount{Type: MountTmpfs, Target: target}
	if options != "" {
		m.Options = strings.Split(options, ",")
	}
	return m, m.check()
}

// ParseMount reads the value of --mount: comma separated key=value.
func ParseMount(s string) (Mount, error) {
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return Mount{}, invalidf("invalid mount %q: %v", s, errors.Unwrap(err))
	}
	m := Mount{Type: MountVolume}
	for _, field := range fields {
		key, value, assigned := strings.Cut(strings.TrimSpace(field), "=")
		if err := m.set(strings.ToLower(key), value, assigned); err != nil {
			return m, fmt.Errorf("invalid mount %q: %w", s, err)
		}
	}
	if m.Type == MountBind {
		if m.Source == "" {
			return m, invalidf("invalid mount %q: a bind mount needs a source", s)
		}
		if m.Source, err = filepath.Abs(m.Source); err != nil {
			return m, err
		}
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("invalid mount %q: %w", s, err)
	}
	return m, nil
}

func (m *Mount) set(key, value string, assigned bool) (err error) {
	flag := func(into *bool) {
		*into = true
		if assigned {
			if *into, err = strconv.ParseBool(value); err != nil {
				err = invalidf("%s is true or false, not %q", key, value)
			}
		}
	}
	switch key {
	case "type":
		m.Type = strings.ToLower(value)
	case "source", "src":
		m.Source = value
	case "target", "dst", "destination":
		m.Target = value
	case "readonly", "ro":
		flag(&m.ReadOnly)
	case "bind-propagation", "propagation":
		m.Propagation = value
	case "bind-nonrecursive":
		flag(&m.NonRecursive)
	case "bind-create-src":
		flag(&m.MakeSource)
	case "volume-nocopy":
		flag(&m.NoCopy)
	case "tmpfs-size":
		var n int64
		if n, err = ParseBytes("tmpfs-size", value); err == nil {
			m.Options = append(m.Options, "size="+strconv.FormatInt(n, 10))
		}
	case "tmpfs-mode":
		if _, err = strconv.ParseUint(value, 8, 12); err != nil {
			return invalidf("tmpfs-mode is octal, not %q", value)
		}
		m.Options = append(m.Options, "mode="+value)
	default:
		err = invalidf("unknown key %q", key)
	}
	return err
}
