package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	docker "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Default returns Docker's default profile for a container with the
// capabilities in its bounding set, under the running kernel. arch is the
// kernel's architecture by Go's name.
func Default(caps []string, arch string) (*specs.LinuxSeccomp, error) {
	h, err := thisHost(caps, arch)
	if err != nil {
		return nil, fmt.Errorf("default seccomp profile: %w", err)
	}
	d := docker.DefaultProfile()
	p, err := h.resolve(&d.LinuxSeccomp, d.ArchMap, d.Syscalls)
	if err != nil {
		return nil, fmt.Errorf("default seccomp profile: %w", err)
	}
	return p, nil
}

// Load reads a profile in Docker's form, or in the OCI's, which is a part of
// it, and returns what of it holds for a container with the capabilities under
// the running kernel. The whole file is checked, with the rules that do not
// apply. Unlike Docker, it takes an empty profile for an error and not for the
// wish to have none, and refuses what it doesn't know. Podman's two additions,
// errno and defaultErrno, which give an error's name, are understood.
func Load(data []byte, caps []string, arch string) (*specs.LinuxSeccomp, error) {
	p, err := load(data, caps, arch)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return p, nil
}

// A file is a profile as it is written down.
type file struct {
	docker.Seccomp
	DefaultErrno string        `json:"defaultErrno,omitempty"`
	Syscalls     []fileSyscall `json:"syscalls"`
}

type fileSyscall struct {
	docker.Syscall
	Errno string `json:"errno,omitempty"`
}

func load(data []byte, caps []string, arch string) (*specs.LinuxSeccomp, error) {
	var f file
	if err := decode(data, &f); err != nil {
		return nil, err
	}
	calls, err := f.calls()
	if err != nil {
		return nil, err
	}
	h, err := thisHost(caps, arch)
	if err != nil {
		return nil, err
	}
	p, err := h.resolve(&f.LinuxSeccomp, f.ArchMap, calls)
	if err != nil {
		return nil, err
	}
	// What applies must make a filter, and what doesn't must make sense.
	for _, s := range calls {
		if err := new(compiler).readRule(s.LinuxSyscall); err != nil {
			return nil, fmt.Errorf("rule for %s: %w", strings.Join(s.Names, ", "), err)
		}
	}
	if _, err := wantedABIs(p.Architectures, arch); err != nil {
		return nil, err
	}
	c := compiler{}
	if err := c.read(p); err != nil {
		return nil, err
	}
	_, err = parseFlags(p, c.notify)
	return p, err
}

// decode reads JSON that has one value and no unknown names.
func decode(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(to)
	if err == nil {
		if _, err := d.Token(); err != io.EOF {
			return errors.New("there is more after the end of the profile")
		}
		return nil
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		return fmt.Errorf("line %d: %w", line, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// calls returns the rules with names and errors in their newest form.
func (f *file) calls() ([]*docker.Syscall, error) {
	if f.DefaultErrno != "" {
		n, err := errnoByName(f.DefaultErrno)
		if err != nil {
			return nil, err
		}
		f.DefaultErrnoRet = &n
	}
	calls := make([]*docker.Syscall, len(f.Syscalls))
	for i := range f.Syscalls {
		s := &f.Syscalls[i]
		if s.Name != "" && len(s.Names) > 0 {
			return nil, fmt.Errorf("rule %d has both a name and names", i+1)
		}
		if s.Name != "" {
			s.Names = []string{s.Name}
		}
		if s.Errno != "" {
			n, err := errnoByName(s.Errno)
			if err != nil {
				return nil, fmt.Errorf("rule %d: %w", i+1, err)
			}
			s.ErrnoRet = &n
		}
		calls[i] = &s.Syscall
	}
	return calls, nil
}

func errnoByName(name string) (uint, error) {
	for n := range unix.Errno(maxErrno) {
		if unix.ErrnoName(n) == name {
			return uint(n), nil
		}
	}
	return 0, fmt.Errorf("unknown errno %q", name)
}

// A host is what the conditions of rules are about.
type host struct {
	caps   []string
	arch   specs.Arch
	name   string // of the architecture in conditions
	kernel docker.KernelVersion
}

func thisHost(caps []string, arch string) (host, error) {
	_, own := family(arch)
	if own == "" {
		return host{}, fmt.Errorf("no filters for the architecture %s", arch)
	}
	h := host{caps: caps, arch: own, name: arch}
	if arch == "386" {
		h.name = "x86" // libseccomp's name; the others are the same as Go's
	}
	release, err := kernelRelease()
	if err != nil {
		return host{}, err
	}
	h.kernel, err = parseRelease(release)
	return h, err
}

// kernelRelease returns the running kernel's release, such as "6.1.0-13-amd64".
func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// parseRelease returns the first two numbers of a kernel's release.
func parseRelease(release string) (docker.KernelVersion, error) {
	var v docker.KernelVersion
	rest := release
	for i, to := range []*uint64{&v.Kernel, &v.Major} {
		if i > 0 {
			if rest == "" || rest[0] != '.' {
				return v, fmt.Errorf("kernel release %q is no version", release)
			}
			rest = rest[1:]
		}
		n := 0
		for ; n < len(rest) && n < 6 && '0' <= rest[n] && rest[n] <= '9'; n++ {
			*to = *to*10 + uint64(rest[n]-'0')
		}
		if n == 0 {
			return v, fmt.Errorf("kernel release %q is no version", release)
		}
		rest = rest[n:]
	}
	return v, nil
}

// resolve returns what of a profile holds on the host.
func (h host) resolve(common *specs.LinuxSeccomp, archMap []docker.Architecture, calls []*docker.Syscall) (*specs.LinuxSeccomp, error) {
	p := *common // without rules: calls has them
	if len(p.Architectures) > 0 && len(archMap) > 0 {
		return nil, errors.New("it has both architectures and an archMap")
	}
	for _, a := range archMap {
		if a.Arch == h.arch {
			p.Architectures = append([]specs.Arch{a.Arch}, a.SubArches...)
			break
		}
	}
	for _, s := range calls {
		if (s.Excludes == nil || !h.excluded(s.Excludes)) && (s.Includes == nil || h.included(s.Includes)) {
			p.Syscalls = append(p.Syscalls, s.LinuxSyscall)
		}
	}
	return &p, nil
}

// excluded tells whether any of the conditions is met.
func (h host) excluded(f *docker.Filter) bool {
	return slices.Contains(f.Arches, h.name) ||
		slices.ContainsFunc(f.Caps, h.has) ||
		f.MinKernel != nil && h.atLeast(*f.MinKernel)
}

// included tells whether all conditions are met, of architectures one.
func (h host) included(f *docker.Filter) bool {
	return (len(f.Arches) == 0 || slices.Contains(f.Arches, h.name)) &&
		!slices.ContainsFunc(f.Caps, func(c string) bool { return !h.has(c) }) &&
		(f.MinKernel == nil || h.atLeast(*f.MinKernel))
}

func (h host) has(capability string) bool { return slices.Contains(h.caps, capability) }

func (h host) atLeast(v docker.KernelVersion) bool {
	return h.kernel.Kernel > v.Kernel || h.kernel.Kernel == v.Kernel && h.kernel.Major >= v.Major
}
