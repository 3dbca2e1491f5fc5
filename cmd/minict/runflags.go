package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"minict/container"
)

// Usage of flags that several verbs have. What stands in backquotes is the
// name of the value in the table of flags.
const (
	detachKeysUsage = "`keys` that leave it running (default ctrl-p,ctrl-q)"
	envUsage        = "`NAME=value`, or NAME for the value from here"
	envFileUsage    = "read variables from a `file`, one a line"
	sigProxyUsage   = "pass signals on to the container"
	platformUsage   = "`os/arch[/variant]` of the image (default: this machine's)"
	mirrorUsage     = "`registry=URL`: pull from there first"
)

// runFlags are the flags of run and create, and what a runFile says in their
// place.
type runFlags struct {
	set *pflag.FlagSet

	file, rootfs                                                        string
	name, hostname, domainname, user, workDir, ip, ip6, mac             string
	entrypoint, stopSignal, cidfile, pull, platform                     string
	memory, memorySwap, memoryReservation, cpus, cpusetCpus, cpusetMems string
	cpuShares, pids                                                     int64
	stopTimeout, oomScoreAdj                                            int
	remove, detach, interactive, tty, readOnly, init, privileged, quiet bool
	publishAll                                                          bool
	env, envFile, labels, addHost, volumes, mounts, tmpfs, ulimits      []string
	networks, aliases, dns, dnsSearch, dnsOptions, publish, expose      []string
	capAdd, capDrop, security, mirrors                                  []string

	// Set by a runFile.
	fileImage                   string
	fileStdio, stopTimeoutSet   bool
	fileEntrypoint, fileCommand []string
}

func (r *runFlags) register(f *pflag.FlagSet) {
	r.set = f
	f.SetInterspersed(false) // what stands behind the image is the command's
	f.StringVar(&r.file, "config", "", "read options from a YAML `file`; flags override it")
	f.StringVar(&r.rootfs, "rootfs", "", "run in this `directory` instead of an image")
	f.StringVar(&r.name, "name", "", "`name` of the container (default: a random one)")
	f.BoolVarP(&r.interactive, "interactive", "i", false, "keep stdin open")
	f.BoolVarP(&r.tty, "tty", "t", false, "give it a terminal")
	f.StringVar(&r.entrypoint, "entrypoint", "", "`program` in place of the image's entrypoint")
	f.VarP((*values)(&r.env), "env", "e", envUsage)
	f.Var((*values)(&r.envFile), "env-file", envFileUsage)
	f.StringVarP(&r.workDir, "workdir", "w", "", "`directory` in which the command begins")
	f.StringVarP(&r.user, "user", "u", "", "`user[:group]`, names or numbers")
	f.BoolVar(&r.init, "init", false, "run a small init as PID 1, which reaps and passes on signals")
	f.VarP((*values)(&r.labels), "label", "l", "`key=value` to find it by")
	f.StringVar(&r.cidfile, "cidfile", "", "write the container's id to this `file`")
	f.StringVar(&r.stopSignal, "stop-signal", "", "`signal` that asks it to end (default: the image's, or TERM)")
	f.IntVar(&r.stopTimeout, "stop-timeout", 10, "`seconds` that it gets to end before it is killed, -1 for ever")
	r.registerImage(f)
	r.registerNetwork(f)
	r.registerFiles(f)
	r.registerLimits(f)
	r.registerRights(f)
	f.Bool("help", false, "print this text") // without -h, which is the host name
}

// registerRun registers what create has no use for.
func (r *runFlags) registerRun(f *pflag.FlagSet) {
	f.BoolVarP(&r.detach, "detach", "d", false, "run in the background and print the id")
	f.BoolVar(&r.remove, "rm", false, "remove the container when it has ended")
}

func (r *runFlags) registerImage(f *pflag.FlagSet) {
	f.StringVar(&r.pull, "pull", "missing", "`when` to pull the image: missing, always, never")
	f.BoolVarP(&r.quiet, "quiet", "q", false, "don't tell of the pull")
	f.StringVar(&r.platform, "platform", "", platformUsage)
	f.Var((*values)(&r.mirrors), "mirror", mirrorUsage)
}

func (r *runFlags) registerFiles(f *pflag.FlagSet) {
	f.VarP((*values)(&r.volumes), "volume", "v", "`[source:]target[:ro]`: a directory, or a named volume")
	f.Var((*values)(&r.mounts), "mount", "a `mount` in full: type=bind,source=/a,target=/b or type=tmpfs,target=/t")
	f.Var((*values)(&r.tmpfs), "tmpfs", "`target[:options]`: an empty file system in memory")
	f.BoolVar(&r.readOnly, "read-only", false, "make its root file system read-only")
}

func (r *runFlags) registerLimits(f *pflag.FlagSet) {
	f.StringVarP(&r.memory, "memory", "m", "", "most memory, as a `size`: 128m, 1g")
	f.StringVar(&r.memorySwap, "memory-swap", "", "most memory and swap together, as a `size`; -1 for no limit")
	f.StringVar(&r.memoryReservation, "memory-reservation", "", "memory that it keeps when memory is short, as a `size`")
	f.StringVar(&r.cpus, "cpus", "", "`number` of CPUs: 1.5")
	f.Int64VarP(&r.cpuShares, "cpu-shares", "c", 0, "`weight` among others, 1024 is usual")
	f.StringVar(&r.cpusetCpus, "cpuset-cpus", "", "`CPUs` that it may run on: 0-2,4")
	f.StringVar(&r.cpusetMems, "cpuset-mems", "", "memory `nodes` that it may use: 0,1")
	f.Int64Var(&r.pids, "pids-limit", 0, "most processes and threads, a `number`; -1 for no limit (default 2048)")
	f.Var((*values)(&r.ulimits), "ulimit", "`name=soft[:hard]`: nofile=1024")
	f.IntVar(&r.oomScoreAdj, "oom-score-adj", 0, "`number` from -1000 to 1000: who is killed first when memory is out")
}

func (r *runFlags) registerRights(f *pflag.FlagSet) {
	f.Var((*values)(&r.capAdd), "cap-add", "`capability` to add, or ALL")
	f.Var((*values)(&r.capDrop), "cap-drop", "`capability` to drop, or ALL")
	f.Var((*values)(&r.security), "security-opt", "`option`: seccomp=FILE|unconfined, no-new-privileges")
	f.BoolVar(&r.privileged, "privileged", false, "all capabilities and devices, no filter: the host is open to it")
}

// given says whether a flag was on the command line.
func (r *runFlags) given(name string) bool {
	f := r.set.Lookup(name)
	return f != nil && f.Changed
}

// options reads the values of the flags. Args are what stands behind them:
// with --rootfs the command, else image and command.
func (r *runFlags) options(args []string) (*container.Options, error) {
	if err := r.readFile(); err != nil {
		return nil, err
	}
	o := &container.Options{
		Name: r.name, Rootfs: r.rootfs, Hostname: r.hostname, User: r.user, WorkDir: r.workDir,
		TTY: r.tty, OpenStdin: r.interactive, Detach: r.detach, AutoRemove: r.remove, Init: r.init,
		ReadOnly: r.readOnly, Privileged: r.privileged, CapAdd: r.capAdd, CapDrop: r.capDrop,
		StopSignal: r.stopSignal, Platform: r.platform, Domainname: r.domainname, OOMScoreAdj: r.oomScoreAdj,
	}
	if err := r.subject(o, args); err != nil {
		return nil, err
	}
	for _, read := range []func(*container.Options) error{r.readNetwork, r.readEnv, r.readMounts, r.readLimits, r.readRest} {
		if err := read(o); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// subject finds out what is to run: arguments, or the file's image and command.
// --rootfs overrides the file's image. Only without either is the first
// argument an image.
func (r *runFlags) subject(o *container.Options, args []string) error {
	o.Image = r.fileImage
	switch {
	case o.Rootfs != "" || o.Image != "":
		o.Args = args
	case len(args) == 0:
		return errors.New("no image is given, and no --rootfs (see 'minict run --help')")
	case r.file != "" && r.set.ArgsLenAtDash() == 0:
		return fmt.Errorf("%s: neither rootfs nor image is given", r.file)
	default:
		o.Image, o.Args = args[0], withoutDashes(args[1:])
	}
	if len(o.Args) == 0 {
		o.Args = r.fileCommand
	}
	return nil
}

// withoutDashes takes away the "--" that may stand between image and command.
func withoutDashes(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

func (r *runFlags) readEnv(o *container.Options) error {
	for _, path := range r.envFile {
		list, err := container.ReadEnvFile(path, nil)
		if err != nil {
			return fmt.Errorf("--env-file: %w", err)
		}
		o.Env = append(o.Env, list...)
	}
	o.Env = append(o.Env, r.env...)
	return nil
}

func (r *runFlags) readMounts(o *container.Options) error {
	for _, kind := range []struct {
		flag  string
		texts []string
		parse func(string) (container.Mount, error)
	}{
		{"volume", r.volumes, container.ParseVolume},
		{"mount", r.mounts, container.ParseMount},
		{"tmpfs", r.tmpfs, container.ParseTmpfs},
	} {
		for _, text := range kind.texts {
			m, err := kind.parse(text)
			if err != nil {
				return fmt.Errorf("--%s: %w", kind.flag, err)
			}
			o.Mounts = append(o.Mounts, m)
		}
	}
	return nil
}

func (r *runFlags) readLimits(o *container.Options) (err error) {
	l := &o.Resources
	l.CPUShares, l.PidsLimit, l.CpusetCpus, l.CpusetMems = r.cpuShares, r.pids, r.cpusetCpus, r.cpusetMems
	if r.memory != "" {
		if l.Memory, err = container.ParseBytes("memory limit", r.memory); err != nil {
			return err
		}
		if l.Memory != 0 && l.Memory < container.MinMemory {
			return fmt.Errorf("invalid memory limit %q: the least is %s", r.memory, units.BytesSize(container.MinMemory))
		}
	}
	if r.memorySwap != "" {
		if l.MemorySwap, err = container.ParseSwap(r.memorySwap); err != nil {
			return err
		}
	}
	if r.memoryReservation != "" {
		if l.MemoryReservation, err = container.ParseBytes("memory reservation", r.memoryReservation); err != nil {
			return err
		}
	}
	if r.cpus != "" {
		if l.NanoCPUs, err = container.ParseCPUs(r.cpus); err != nil {
			return err
		}
	}
	for _, text := range r.ulimits {
		u, err := container.ParseUlimit(text)
		if err != nil {
			return err
		}
		o.Ulimits = append(o.Ulimits, u)
	}
	return nil
}

func (r *runFlags) readRest(o *container.Options) (err error) {
	switch {
	case r.given("entrypoint"):
		o.Entrypoint = []string{r.entrypoint}
	case r.fileEntrypoint != nil:
		o.Entrypoint = r.fileEntrypoint
	}
	if o.Labels, err = container.ParseLabels(r.labels); err != nil {
		return err
	}
	if r.given("stop-timeout") || r.stopTimeoutSet {
		d := time.Duration(r.stopTimeout) * time.Second
		o.StopTimeout = &d
	}
	o.Security, err = container.ParseSecurity(r.security)
	return err
}
