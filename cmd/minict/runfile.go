//go:build !split

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// runFile is minict.yaml: what run takes, in a file. Paths of the host are
// relative to the file's directory. Flags override it; lists of flags go
// behind the file's.
type runFile struct {
	Rootfs  string `yaml:"rootfs"`
	Image   string `yaml:"image"`
	Command list   `yaml:"command"`

	Name        string   `yaml:"name"`
	Hostname    string   `yaml:"hostname"`
	Domainname  string   `yaml:"domainname"`
	User        string   `yaml:"user"`
	WorkDir     string   `yaml:"workdir"`
	Env         pairs    `yaml:"env"`
	EnvFile     list     `yaml:"env_file"`
	Labels      pairs    `yaml:"labels"`
	AddHost     []string `yaml:"add_host"`
	Networks    list     `yaml:"network"`
	IP          string   `yaml:"ip"`
	IP6         string   `yaml:"ip6"`
	MAC         string   `yaml:"mac_address"`
	Aliases     list     `yaml:"network_alias"`
	Publish     list     `yaml:"publish"`
	PublishAll  bool     `yaml:"publish_all"`
	Expose      list     `yaml:"expose"`
	DNS         list     `yaml:"dns"`
	DNSSearch   list     `yaml:"dns_search"`
	DNSOptions  list     `yaml:"dns_option"`
	Entrypoint  list     `yaml:"entrypoint"`
	Volumes     []string `yaml:"volumes"`
	Mounts      []string `yaml:"mounts"`
	Tmpfs       []string `yaml:"tmpfs"`
	ReadOnly    bool     `yaml:"read_only"`
	Init        bool     `yaml:"init"`
	Remove      bool     `yaml:"remove"`
	Detach      bool     `yaml:"detach"`
	Interactive *bool    `yaml:"interactive"`
	TTY         *bool    `yaml:"tty"`
	Privileged  bool     `yaml:"privileged"`
	Ulimits     []string `yaml:"ulimits"`
	OOMScoreAdj int      `yaml:"oom_score_adj"`
	StopSignal  string   `yaml:"stop_signal"`
	StopTimeout *int     `yaml:"stop_timeout"`
	Pull        string   `yaml:"pull"`
	Platform    string   `yaml:"platform"`
	Mirrors     []string `yaml:"mirrors"`
	Cidfile     string   `yaml:"cidfile"`

	Capabilities struct {
		Add  []string `yaml:"add"`
		Drop []string `yaml:"drop"`
	} `yaml:"capabilities"`
	Security struct {
		Seccomp         string `yaml:"seccomp"`
		NoNewPrivileges bool   `yaml:"no_new_privileges"`
	} `yaml:"security"`
	Cgroups struct {
		Memory            string `yaml:"memory"`
		MemorySwap        string `yaml:"memory_swap"`
		MemoryReservation string `yaml:"memory_reservation"`
		CPUs              string `yaml:"cpus"`
		CPUShares         int64  `yaml:"cpu_shares"`
		CpusetCpus        string `yaml:"cpuset_cpus"`
		CpusetMems        string `yaml:"cpuset_mems"`
		Pids              int64  `yaml:"pids"`
	} `yaml:"cgroups"`
}

// list is a list of strings, or one string.
type list []string

func (l *list) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		var s string
		err := n.Decode(&s)
		*l = list{s}
		return err
	}
	return n.Decode((*[]string)(l))
}

// pairs are NAME=value strings, or a map of them.
type pairs []string

func (p *pairs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return n.Decode((*[]string)(p))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: the value of %q is not a string", value.Line, key.Value)
		}
		if value.Tag == "!!null" {
			*p = append(*p, key.Value) // as -e NAME: the value from here
			continue
		}
		*p = append(*p, key.Value+"="+value.Value)
	}
	return nil
}

// handOver is for a minict that leaves this to another program, this one: see
// whole_split.go.
func (a *app) handOver(*cobra.Command) error { return nil }

// readFile makes what minict.yaml says, if it is named, the value of the flags
// that were not given.
func (r *runFlags) readFile() error {
	if r.file == "" {
		return nil
	}
	// What was executed by its descriptor is called by that one's number.
	// Nothing depends on it.
	os.WriteFile("/proc/self/comm", []byte("minict"), 0)
	f, err := readRunFile(r.file)
	if err != nil {
		return err
	}
	if f.Image != "" && f.Rootfs != "" && !r.given("rootfs") {
		return fmt.Errorf("%s: rootfs and image exclude each other", r.file)
	}
	f.under(r)
	return nil
}

// readRunFile reads minict.yaml.
func readRunFile(path string) (*runFile, error) {
	f := new(runFile)
	if err := decodeFile(path, f); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	for _, p := range []*string{&f.Rootfs, &f.Cidfile} {
		*p = below(dir, *p)
	}
	if s := &f.Security.Seccomp; *s != "unconfined" && *s != "default" {
		*s = below(dir, *s)
	}
	for i := range f.EnvFile {
		f.EnvFile[i] = below(dir, f.EnvFile[i])
	}
	for i, v := range f.Volumes {
		f.Volumes[i] = volumeBelow(dir, v)
	}
	for i, m := range f.Mounts {
		f.Mounts[i] = mountBelow(dir, m)
	}
	return f, nil
}

func below(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// volumeBelow is below for the source of a volume: a name is none.
func volumeBelow(dir, v string) string {
	if len(v) == 0 || v[0] != '.' {
		return v
	}
	return below(dir, v)
}

// mountBelow is volumeBelow for the source in a value of --mount.
func mountBelow(dir, m string) string {
	fields := strings.Split(m, ",")
	for i, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		if key == "source" || key == "src" {
			fields[i] = key + "=" + volumeBelow(dir, value)
		}
	}
	return strings.Join(fields, ",")
}

// under makes the file's wishes those of flags that were not given.
func (f *runFile) under(r *runFlags) {
	// Other networks than the file's are no more of the same.
	if len(r.networks) > 0 {
		f.Networks, f.Aliases, f.IP, f.IP6, f.MAC = nil, nil, "", "", ""
	}
	for flag, set := range map[string]func(){
		"rootfs":             func() { r.rootfs, r.fileImage = f.Rootfs, f.Image },
		"name":               func() { r.name = f.Name },
		"hostname":           func() { r.hostname = f.Hostname },
		"domainname":         func() { r.domainname = f.Domainname },
		"oom-score-adj":      func() { r.oomScoreAdj = f.OOMScoreAdj },
		"user":               func() { r.user = f.User },
		"workdir":            func() { r.workDir = f.WorkDir },
		"ip":                 func() { r.ip = f.IP },
		"ip6":                func() { r.ip6 = f.IP6 },
		"mac-address":        func() { r.mac = f.MAC },
		"publish-all":        func() { r.publishAll = f.PublishAll },
		"read-only":          func() { r.readOnly = f.ReadOnly },
		"init":               func() { r.init = f.Init },
		"rm":                 func() { r.remove = f.Remove },
		"detach":             func() { r.detach = f.Detach },
		"privileged":         func() { r.privileged = f.Privileged },
		"stop-signal":        func() { r.stopSignal = f.StopSignal },
		"pull":               func() { r.pull = or(f.Pull, r.pull) },
		"platform":           func() { r.platform = f.Platform },
		"cidfile":            func() { r.cidfile = f.Cidfile },
		"memory":             func() { r.memory = f.Cgroups.Memory },
		"memory-swap":        func() { r.memorySwap = f.Cgroups.MemorySwap },
		"memory-reservation": func() { r.memoryReservation = f.Cgroups.MemoryReservation },
		"cpus":               func() { r.cpus = f.Cgroups.CPUs },
		"cpu-shares":         func() { r.cpuShares = f.Cgroups.CPUShares },
		"cpuset-cpus":        func() { r.cpusetCpus = f.Cgroups.CpusetCpus },
		"cpuset-mems":        func() { r.cpusetMems = f.Cgroups.CpusetMems },
		"pids-limit":         func() { r.pids = f.Cgroups.Pids },
	} {
		if !r.given(flag) {
			set()
		}
	}
	r.fileCommand = f.Command
	f.switches(r)
	f.lists(r)
}

// switches are those where "not said" differs from "no".
func (f *runFile) switches(r *runFlags) {
	if f.Interactive != nil && !r.given("interactive") {
		r.interactive, r.fileStdio = *f.Interactive, true
	}
	if f.TTY != nil && !r.given("tty") {
		r.tty, r.fileStdio = *f.TTY, true
	}
	if f.StopTimeout != nil && !r.given("stop-timeout") {
		r.stopTimeout, r.stopTimeoutSet = *f.StopTimeout, true
	}
	if f.Entrypoint != nil && !r.given("entrypoint") {
		r.fileEntrypoint = f.Entrypoint
	}
}

func (f *runFile) lists(r *runFlags) {
	for _, l := range []struct {
		flags *[]string
		file  []string
	}{
		{&r.env, f.Env}, {&r.envFile, f.EnvFile}, {&r.labels, f.Labels}, {&r.addHost, f.AddHost},
		{&r.networks, f.Networks}, {&r.aliases, f.Aliases}, {&r.publish, f.Publish}, {&r.expose, f.Expose},
		{&r.dns, f.DNS}, {&r.dnsSearch, f.DNSSearch}, {&r.dnsOptions, f.DNSOptions},
		{&r.volumes, f.Volumes}, {&r.mounts, f.Mounts}, {&r.tmpfs, f.Tmpfs}, {&r.ulimits, f.Ulimits},
		{&r.capAdd, f.Capabilities.Add}, {&r.capDrop, f.Capabilities.Drop}, {&r.security, f.securityOptions()}, {&r.mirrors, f.Mirrors},
	} {
		*l.flags = slices.Concat(l.file, *l.flags)
	}
}

func (f *runFile) securityOptions() (list []string) {
	if f.Security.Seccomp != "" {
		list = append(list, "seccomp="+f.Security.Seccomp)
	}
	if f.Security.NoNewPrivileges {
		list = append(list, "no-new-privileges")
	}
	return list
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}
