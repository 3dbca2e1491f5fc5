package container

import (
	"cmp"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"minict/store"
)

// Resolve completes the options by what the image says (nil with Rootfs), as
// Docker does, and checks the result. What is left empty is the id, the time,
// and the name and hostname if the user gave none.
func (o *Options) Resolve(img *store.Execution) (*Config, error) {
	c, err := o.begin()
	if err != nil {
		return nil, err
	}
	return c, c.complete(o, img)
}

// begin is the part of Resolve that needs no image.
func (o *Options) begin() (*Config, error) {
	c := &Config{
		Image: o.Image, AutoRemove: o.AutoRemove, Init: o.Init, Detach: o.Detach,
		Hostname: o.Hostname, Domainname: o.Domainname, TTY: o.TTY, OpenStdin: o.OpenStdin,
		ReadOnlyRootfs: o.ReadOnly, Resources: o.Resources, Ulimits: o.Ulimits, OOMScoreAdj: o.OOMScoreAdj,
		Privileged: o.Privileged, NoNewPrivileges: o.Security.NoNewPrivileges,
		Seccomp: cmp.Or(o.Security.Seccomp, SeccompDefault), SeccompProfile: o.Security.SeccompProfile,
		StopTimeout: DefaultStopTimeout, LogMaxSize: cmp.Or(o.LogMaxSize, DefaultLogMaxSize),
	}
	if o.StopTimeout != nil {
		c.StopTimeout = *o.StopTimeout
	}
	for _, step := range []func(*Options) error{c.setName, c.setRootfs, c.setHosts, c.setNetworks, c.setPublished, c.setDNS, c.setLimits, c.setRights} {
		if err := step(o); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// complete is the rest of it.
func (c *Config) complete(o *Options, img *store.Execution) error {
	if img == nil {
		img = &store.Execution{}
	}
	for _, step := range []func(*Options, *store.Execution) error{
		c.setArgs, c.setEnv, c.setWorkDir, c.setUser, c.setExposed, c.setMounts, c.setLabels, c.setStopSignal,
	} {
		if err := step(o, img); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) setName(o *Options) error {
	c.Name = strings.TrimPrefix(o.Name, "/")
	if o.Name != "" && !isName(c.Name) {
		return invalidf("invalid container name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to 128 of them", o.Name)
	}
	return nil
}

func (c *Config) setRootfs(o *Options) (err error) {
	switch {
	case o.Rootfs != "" && o.Image != "":
		return invalidf("a container has an image or a root directory, not both: %s, %s", o.Image, o.Rootfs)
	case o.Rootfs == "" && o.Image == "":
		return invalidf("no image given, and no root directory")
	case o.Rootfs == "":
		return nil
	}
	c.Rootfs, err = filepath.Abs(o.Rootfs)
	return err
}

// setArgs is Docker's rule: an entrypoint of the user's drops the image's
// command; a command of the user's replaces the image's command alone.
func (c *Config) setArgs(o *Options, img *store.Execution) error {
	entrypoint, cmd := o.Entrypoint, o.Args
	if entrypoint == nil {
		entrypoint = img.Entrypoint
		if len(cmd) == 0 {
			cmd = img.Cmd
		}
	}
	if len(entrypoint) == 1 && entrypoint[0] == "" {
		entrypoint = nil
	}
	c.Args, c.Entrypoint = slices.Concat(entrypoint, cmd), len(entrypoint)
	if len(c.Args) == 0 {
		return invalidf("no command given, and %s has none", cmp.Or(o.Image, "a root directory"))
	}
	for _, arg := range c.Args {
		if strings.IndexByte(arg, 0) >= 0 {
			return invalidf("invalid command: %q has a zero byte", arg)
		}
	}
	if c.Args[0] == "" {
		return invalidf("invalid command: its name is empty")
	}
	return nil
}

func (c *Config) setEnv(o *Options, img *store.Execution) error {
	for _, entry := range img.Env {
		if err := checkEnv(entry); err != nil {
			return err
		}
	}
	env, err := mergeEnv(img.Env, o.Env, o.Getenv)
	c.Env = env
	return err
}

// mergeEnv puts the user's variables over the given ones. A name without a
// value takes the caller's, and removes the variable if the caller has none.
func mergeEnv(base, user []string, getenv func(string) (string, bool)) ([]string, error) {
	if getenv == nil {
		getenv = os.LookupEnv
	}
	env := slices.DeleteFunc(slices.Clone(base), func(s string) bool { return !strings.Contains(s, "=") })
	for _, entry := range user {
		if err := checkEnv(entry); err != nil {
			return nil, err
		}
		name, _, assigned := strings.Cut(entry, "=")
		if !assigned {
			value, ok := getenv(name)
			if !ok {
				env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
				continue
			}
			entry = name + "=" + value
			if err := checkEnv(entry); err != nil {
				return nil, err
			}
		}
		env = setVariable(env, entry)
	}
	return env, nil
}

// setVariable replaces a variable where it stands, or appends it.
func setVariable(env []string, entry string) []string {
	name, _, _ := strings.Cut(entry, "=")
	i := slices.IndexFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	if i < 0 {
		return append(env, entry)
	}
	env[i] = entry
	return env
}

func (c *Config) setWorkDir(o *Options, img *store.Execution) error {
	if o.WorkDir == "" {
		if img.WorkingDir != "" {
			c.WorkDir = path.Clean("/" + img.WorkingDir)
		}
		return nil
	}
	var err error
	c.WorkDir, err = cleanWorkDir(o.WorkDir)
	return err
}

func cleanWorkDir(dir string) (string, error) {
	if dir[0] != '/' || strings.IndexByte(dir, 0) >= 0 {
		return "", invalidf("invalid working directory %q: want an absolute path", dir)
	}
	return path.Clean(dir), nil
}

func (c *Config) setUser(o *Options, img *store.Execution) error {
	c.User = cmp.Or(o.User, img.User)
	if c.User == "" {
		return nil
	}
	_, _, err := parseUser(c.User)
	return err
}

func (c *Config) setHosts(o *Options) error {
	for _, name := range []string{o.Hostname, o.Domainname} {
		if name != "" && !isHostname(name) {
			return invalidf("invalid hostname %q: want at most 64 letters, digits, '-', '_' and '.'", name)
		}
	}
	for _, host := range o.AddHosts {
		entry, err := ParseHost(host)
		if err != nil {
			return err
		}
		c.ExtraHosts = append(c.ExtraHosts, entry)
	}
	return nil
}

// setMounts gathers the user's mounts and an anonymous volume for each of the
// image's that the user did not mount something at, parents before what is
// below them.
func (c *Config) setMounts(o *Options, img *store.Execution) error {
	taken := map[string]bool{}
	for _, m := range o.Mounts {
		if err := m.check(); err != nil {
			return err
		}
		if taken[m.Target] {
			return invalidf("duplicate mount point: %s", m.Target)
		}
		taken[m.Target] = true
		c.Mounts = append(c.Mounts, m)
	}
	for _, target := range slices.Sorted(maps.Keys(img.Volumes)) {
		m := Mount{Type: MountVolume, Target: path.Clean("/" + target), Anonymous: true}
		if taken[m.Target] {
			continue
		}
		if err := m.check(); err != nil {
			return err
		}
		taken[m.Target] = true
		c.Mounts = append(c.Mounts, m)
	}
	slices.SortStableFunc(c.Mounts, func(a, b Mount) int {
		return strings.Count(a.Target, "/") - strings.Count(b.Target, "/")
	})
	return nil
}

func (c *Config) setLimits(o *Options) error {
	for _, u := range o.Ulimits {
		if err := u.check(); err != nil {
			return err
		}
	}
	if o.OOMScoreAdj < -1000 || o.OOMScoreAdj > 1000 {
		return invalidf("invalid oom-score-adj %d: want -1000 to 1000", o.OOMScoreAdj)
	}
	if o.LogMaxSize < 0 {
		return invalidf("invalid log size %d: negative", o.LogMaxSize)
	}
	if err := o.Resources.check(runtime.NumCPU()); err != nil {
		return err
	}
	if c.Resources.Memory > 0 && c.Resources.MemorySwap == 0 {
		c.Resources.MemorySwap = 2 * c.Resources.Memory // as much swap as memory
	}
	return nil
}

func (c *Config) setRights(o *Options) error {
	for _, list := range []struct {
		from []string
		to   *[]string
	}{{o.CapAdd, &c.CapAdd}, {o.CapDrop, &c.CapDrop}} {
		for _, name := range list.from {
			known, err := checkCapability(name)
			if err != nil {
				return err
			}
			*list.to = append(*list.to, known)
		}
	}
	switch c.Seccomp {
	case SeccompDefault, SeccompUnconfined, SeccompFile:
		return nil
	}
	return invalidf("invalid seccomp profile %q", c.Seccomp)
}

// setLabels puts the user's labels over the image's. They are data for people
// and never steer minict: an image could write them (CVE-2026-53488).
func (c *Config) setLabels(o *Options, img *store.Execution) error {
	if len(img.Labels)+len(o.Labels) > 0 {
		c.Labels = map[string]string{}
		maps.Copy(c.Labels, img.Labels)
		maps.Copy(c.Labels, o.Labels)
	}
	return nil
}

func (c *Config) setStopSignal(o *Options, img *store.Execution) (err error) {
	c.StopSignal = int(unix.SIGTERM)
	if name := cmp.Or(o.StopSignal, img.StopSignal); name != "" {
		c.StopSignal, err = ParseSignal(name)
	}
	return err
}
