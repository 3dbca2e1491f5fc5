package container

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"minict/store"
)

// Inspection is everything about a container, under the names that docker
// inspect has for it.
type Inspection struct {
	ID              string          `json:"Id"`
	Created         time.Time       `json:"Created"`
	Path            string          `json:"Path"`
	Args            []string        `json:"Args"`
	State           InspectedState  `json:"State"`
	Image           store.Digest    `json:"Image"`
	ResolvConfPath  string          `json:"ResolvConfPath"`
	HostnamePath    string          `json:"HostnamePath"`
	HostsPath       string          `json:"HostsPath"`
	LogPath         string          `json:"LogPath"`
	Name            string          `json:"Name"` // with a slash before it
	RestartCount    int             `json:"RestartCount"`
	Driver          string          `json:"Driver"`
	Platform        string          `json:"Platform"`
	HostConfig      HostConfig      `json:"HostConfig"`
	GraphDriver     GraphDriver     `json:"GraphDriver"`
	Mounts          []MountPoint    `json:"Mounts"`
	Config          InspectedConfig `json:"Config"`
	NetworkSettings NetworkSettings `json:"NetworkSettings"`
}

// InspectedState is Docker's State.
type InspectedState struct {
	Status     State     `json:"Status"`
	Running    bool      `json:"Running"` // also while paused
	Paused     bool      `json:"Paused"`
	Restarting bool      `json:"Restarting"`
	OOMKilled  bool      `json:"OOMKilled"`
	Dead       bool      `json:"Dead"`
	Pid        int       `json:"Pid"`
	ExitCode   int       `json:"ExitCode"`
	Error      string    `json:"Error"`
	StartedAt  time.Time `json:"StartedAt"`
	FinishedAt time.Time `json:"FinishedAt"`
}

// HostConfig is Docker's: what depends on the host.
type HostConfig struct {
	Binds             []string                 `json:"Binds"`
	Rootfs            string                   `json:"Rootfs,omitempty"` // minict's own: the directory instead of an image
	NetworkMode       string                   `json:"NetworkMode"`
	PortBindings      map[string][]PortBinding `json:"PortBindings"` // 80/tcp; as they were asked for
	PublishAllPorts   bool                     `json:"PublishAllPorts"`
	DNS               []string                 `json:"Dns"`
	DNSOptions        []string                 `json:"DnsOptions"`
	DNSSearch         []string                 `json:"DnsSearch"`
	AutoRemove        bool                     `json:"AutoRemove"`
	CapAdd            []string                 `json:"CapAdd"`
	CapDrop           []string                 `json:"CapDrop"`
	CgroupnsMode      string                   `json:"CgroupnsMode"`
	ExtraHosts        []string                 `json:"ExtraHosts"`
	IpcMode           string                   `json:"IpcMode"`
	OomScoreAdj       int                      `json:"OomScoreAdj"`
	PidMode           string                   `json:"PidMode"`
	Privileged        bool                     `json:"Privileged"`
	ReadonlyRootfs    bool                     `json:"ReadonlyRootfs"`
	SecurityOpt       []string                 `json:"SecurityOpt"`
	ShmSize           int64                    `json:"ShmSize"`
	CPUShares         int64                    `json:"CpuShares"`
	Memory            int64                    `json:"Memory"`
	NanoCPUs          int64                    `json:"NanoCpus"`
	CgroupParent      string                   `json:"CgroupParent"`
	CpusetCpus        string                   `json:"CpusetCpus"`
	CpusetMems        string                   `json:"CpusetMems"`
	MemoryReservation int64                    `json:"MemoryReservation"`
	MemorySwap        int64                    `json:"MemorySwap"`
	PidsLimit         int64                    `json:"PidsLimit"`
	Ulimits           []InspectedUlimit        `json:"Ulimits"`
	Init              bool                     `json:"Init"`
	Tmpfs             map[string]string        `json:"Tmpfs,omitempty"`
	MaskedPaths       []string                 `json:"MaskedPaths"`
	ReadonlyPaths     []string                 `json:"ReadonlyPaths"`
}

// InspectedUlimit is a Ulimit with Docker's names.
type InspectedUlimit struct {
	Name string `json:"Name"`
	Hard int64  `json:"Hard"`
	Soft int64  `json:"Soft"`
}

// GraphDriver says where the root file system is.
type GraphDriver struct {
	Name string            `json:"Name"`
	Data map[string]string `json:"Data"`
}

// MountPoint is one of Docker's Mounts.
type MountPoint struct {
	Type        string `json:"Type"`
	Name        string `json:"Name,omitempty"`
	Source      string `json:"Source"`
	Destination string `json:"Destination"`
	Driver      string `json:"Driver,omitempty"`
	Mode        string `json:"Mode"`
	RW          bool   `json:"RW"`
	Propagation string `json:"Propagation"`
}

// InspectedConfig is Docker's Config: what does not depend on the host.
type InspectedConfig struct {
	Hostname     string              `json:"Hostname"`
	Domainname   string              `json:"Domainname"`
	User         string              `json:"User"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	AttachStdin  bool                `json:"AttachStdin"`
	AttachStdout bool                `json:"AttachStdout"`
	AttachStderr bool                `json:"AttachStderr"`
	Tty          bool                `json:"Tty"`
	OpenStdin    bool                `json:"OpenStdin"`
	StdinOnce    bool                `json:"StdinOnce"`
	Env          []string            `json:"Env"`
	Cmd          []string            `json:"Cmd"`
	Image        string              `json:"Image"`
	Volumes      map[string]struct{} `json:"Volumes"`
	WorkingDir   string              `json:"WorkingDir"`
	Entrypoint   []string            `json:"Entrypoint"`
	Labels       map[string]string   `json:"Labels"`
	StopSignal   string              `json:"StopSignal"`
	StopTimeout  int                 `json:"StopTimeout"` // seconds
}

// Inspect gives everything about a container.
func (m *Manager) Inspect(ctx context.Context, ref string) (*Inspection, error) {
	m.sweep(ctx)
	id, err := m.Lookup(ref)
	if err != nil {
		return nil, err
	}
	c, err := m.config(id)
	if err != nil {
		return nil, err
	}
	now, err := m.condition(id)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", ref, err)
	}
	settings, err := m.networkSettings(c, now)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", ref, err)
	}
	return &Inspection{
		ID: c.ID, Created: c.Created, Path: c.Args[0], Args: listed(c.Args[1:]), Image: c.ImageID,
		State:          inspectedState(now),
		ResolvConfPath: now.path(resolvFile), HostnamePath: now.path(hostnameFile), HostsPath: now.path(hostsFile),
		LogPath: filepath.Join(m.durableDir(id), "log"),
		Name:    "/" + c.Name, Driver: "overlayfs", Platform: "linux",
		HostConfig: c.hostConfig(), GraphDriver: m.graphDriver(c), Mounts: m.mountPoints(c), Config: c.inspected(),
		NetworkSettings: settings,
	}, nil
}

// path is where the host finds a file of a container that runs; what is made
// for it is in memory, and nowhere when it doesn't.
func (c condition) path(file string) string {
	if c.state != Running && c.state != Paused {
		return ""
	}
	return fmt.Sprintf("/proc/%d/root%s", c.living.Pid, file)
}

// listed makes an empty list of none: programs that read JSON want [].
func listed(list []string) []string { return append([]string{}, list...) }

func inspectedState(now condition) InspectedState {
	s := InspectedState{
		Status: now.state, Running: now.state == Running || now.state == Paused, Paused: now.state == Paused,
		Pid: now.living.Pid, ExitCode: now.ending.Status, Error: now.ending.Error, OOMKilled: now.ending.OOMKilled,
		StartedAt: now.started.UTC(), FinishedAt: now.ending.Finished,
	}
	return s
}

func (c *Config) hostConfig() HostConfig {
	h := HostConfig{
		Binds: []string{}, Rootfs: c.Rootfs, NetworkMode: c.Network,
		PublishAllPorts: c.PublishAll,
		DNS:             []string{}, DNSOptions: listed(c.DNSOptions), DNSSearch: listed(c.DNSSearch), AutoRemove: c.AutoRemove,
		CapAdd: c.CapAdd, CapDrop: c.CapDrop, CgroupnsMode: "private", ExtraHosts: c.ExtraHosts, IpcMode: "private",
		OomScoreAdj: c.OOMScoreAdj, Privileged: c.Privileged, ReadonlyRootfs: c.ReadOnlyRootfs,
		SecurityOpt: c.securityOpt(), ShmSize: shmSize, CPUShares: c.Resources.CPUShares, Memory: c.Resources.Memory,
		NanoCPUs: c.Resources.NanoCPUs, CgroupParent: "/minict", CpusetCpus: c.Resources.CpusetCpus,
		CpusetMems: c.Resources.CpusetMems, MemoryReservation: c.Resources.MemoryReservation,
		MemorySwap: c.Resources.MemorySwap, PidsLimit: cmp.Or(c.Resources.PidsLimit, DefaultPidsLimit),
		Ulimits: []InspectedUlimit{}, Init: c.Init, MaskedPaths: []string{}, ReadonlyPaths: []string{},
	}
	if !c.Privileged {
		h.MaskedPaths, h.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	for _, server := range c.DNS {
		h.DNS = append(h.DNS, server.String())
	}
	h.PortBindings = bindings(c.Ports)
	for _, u := range c.Ulimits {
		h.Ulimits = append(h.Ulimits, InspectedUlimit{Name: u.Name, Hard: u.Hard, Soft: u.Soft})
	}
	for _, mount := range c.Mounts {
		switch {
		case mount.Type == MountTmpfs:
			if h.Tmpfs == nil {
				h.Tmpfs = map[string]string{}
			}
			h.Tmpfs[mount.Target] = strings.Join(mount.Options, ",")
		case !mount.Anonymous:
			h.Binds = append(h.Binds, mount.Source+":"+mount.Target+":"+mount.mode())
		}
	}
	return h
}

func (c *Config) securityOpt() []string {
	opts := []string{}
	if c.NoNewPrivileges {
		opts = append(opts, "no-new-privileges")
	}
	if c.Seccomp != SeccompDefault {
		value := c.Seccomp
		if value == SeccompFile {
			value = c.SeccompProfile
		}
		opts = append(opts, "seccomp="+value)
	}
	return opts
}

func (m Mount) mode() string {
	if m.ReadOnly {
		return "ro"
	}
	return "rw"
}

func (m *Manager) graphDriver(c *Config) GraphDriver {
	data := map[string]string{}
	if c.Rootfs == "" {
		var lower []string
		for _, key := range slices.Backward(c.Layers) {
			lower = append(lower, m.Store.LayerDir(key))
		}
		data["LowerDir"] = strings.Join(lower, ":")
		data["UpperDir"] = filepath.Join(m.durableDir(c.ID), "upper")
		data["WorkDir"] = filepath.Join(m.durableDir(c.ID), "work")
	}
	return GraphDriver{Name: "overlayfs", Data: data}
}

func (m *Manager) mountPoints(c *Config) []MountPoint {
	points := []MountPoint{}
	for _, mount := range c.Mounts {
		p := MountPoint{
			Type: mount.Type, Source: mount.Source, Destination: mount.Target,
			Mode: mount.mode(), RW: !mount.ReadOnly, Propagation: mount.Propagation,
		}
		switch mount.Type {
		case MountVolume:
			p.Name, p.Driver = mount.Source, "local"
			p.Source = filepath.Join(m.volumes(), mount.Source, "_data")
		case MountBind:
			p.Propagation = cmp.Or(p.Propagation, "rprivate")
		case MountTmpfs:
			p.Mode = strings.Join(mount.Options, ",")
		}
		points = append(points, p)
	}
	return points
}

func (c *Config) inspected() InspectedConfig {
	volumes := map[string]struct{}{}
	for _, mount := range c.Mounts {
		if mount.Type == MountVolume && mount.Anonymous {
			volumes[mount.Target] = struct{}{}
		}
	}
	exposed := map[string]struct{}{}
	for _, p := range c.Exposed {
		exposed[p.String()] = struct{}{}
	}
	labels := c.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return InspectedConfig{
		Hostname: c.Hostname, Domainname: c.Domainname, User: c.User, ExposedPorts: exposed,
		AttachStdin: c.OpenStdin && !c.Detach, AttachStdout: !c.Detach, AttachStderr: !c.Detach,
		Tty: c.TTY, OpenStdin: c.OpenStdin, StdinOnce: c.OpenStdin && !c.Detach,
		Env: listed(c.Env), Cmd: listed(c.Args[c.Entrypoint:]), Image: c.Image, Volumes: volumes,
		WorkingDir: c.WorkDir, Entrypoint: listed(c.Args[:c.Entrypoint]), Labels: labels,
		StopSignal: signalName(c.StopSignal), StopTimeout: int(c.StopTimeout / time.Second),
	}
}

// signalName is what ParseSignal reads.
func signalName(n int) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	if n < minRealtime {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("SIGRTMIN+%d", n-minRealtime)
}
