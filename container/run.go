package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"minict/container/attach"
	"minict/container/embed"
	"minict/internal/atomicfile"
	"minict/internal/caught"
	"minict/internal/flock"
	"minict/network/resolver"
	"minict/runtime"
	"minict/runtime/plan"
)

// Run creates a container and starts it: the quick way. With streams it
// returns when the container has ended or the user has detached; without,
// when its program runs. If it fails, there is no container any more.
//
// Until the program runs, the end of ctx ends everything; after that it means
// nothing. Signals that this process gets then go to the container.
func (m *Manager) Run(ctx context.Context, o *Options, find Find, r RunOptions) (Ended, error) {
	if err := m.layOut(); err != nil {
		return Ended{}, err
	}
	// The monitor gets ready while the image is looked up.
	with := m.getReady(r.stays(o.TTY, o.Security.Seccomp), o.Init, o.kind())
	defer with.close()
	d, err := m.draft(ctx, o, find, with.network)
	if err != nil {
		return Ended{}, err
	}
	defer d.close()
	l := launch{m: m, claim: d.claim, config: d.config, draft: d, with: with, options: r, fresh: true}
	session, err := l.create(ctx, d)
	if err != nil {
		return Ended{}, d.abandon(err)
	}
	return l.attend(ctx, session)
}

// Start starts a container that does not run: ErrRunning if it does. With
// streams it returns as Run does.
func (m *Manager) Start(ctx context.Context, ref string, r RunOptions) (Ended, error) {
	m.sweep(ctx)
	id, err := m.Lookup(ref)
	if err != nil {
		return Ended{}, err
	}
	claim, err := m.claim(ctx, id)
	if errors.Is(err, flock.ErrLocked) {
		return Ended{}, failf(ErrRunning, "container %s is running", ref)
	}
	if err != nil {
		return Ended{}, fmt.Errorf("start %s: %w", ref, err)
	}
	c, err := readConfig(m.durableConfig(id))
	if errors.Is(err, os.ErrNotExist) {
		err = notFound(ref) // it was removed in the meantime
	}
	if err == nil {
		err = m.readWishes(c)
	}
	if err != nil {
		return Ended{}, errors.Join(err, claim.release())
	}
	session, l, err := m.restart(ctx, claim, c, r)
	if err != nil {
		m.noteFailure(id, err)
		// The cgroup is there if the monitor was killed meanwhile.
		if left := m.removeCgroup(context.WithoutCancel(ctx), id); left != nil {
			claim.pass() // the next sweep tries again
			return Ended{}, errors.Join(err, left)
		}
		err = errors.Join(err, claim.release())
		if c.bridged() {
			err = errors.Join(err, m.sweepNetworks(context.WithoutCancel(ctx), true))
		}
		return Ended{}, err
	}
	return l.attend(ctx, session)
}

func (m *Manager) restart(ctx context.Context, claim *claim, c *Config, r RunOptions) (*attach.Session, *launch, error) {
	with := m.getReady(r.stays(c.TTY, c.Seccomp), c.Init, c.kind())
	d := &draft{m: m, claim: claim, config: c, namespace: with.network}
	defer d.close()
	d.connect(ctx)
	err := d.checkRootfs()
	if err == nil {
		err = m.makeVolumes(c, d.openRoot)
	}
	l := &launch{m: m, claim: claim, config: c, draft: d, with: with, options: r}
	defer l.with.close()
	if err != nil {
		return nil, nil, err
	}
	session, err := l.start(ctx, d)
	return session, l, err
}

// stays says whether the command that starts a container stays with it to its
// end, and can be its monitor. It can leave one with a terminal, by the keys
// that detach; signals that are not passed on end the command alone; and a
// filter of the user's may not let the airlock do its work.
func (r RunOptions) stays(tty bool, seccomp string) bool {
	return r.Streams != nil && r.Streams.Signals != nil && !tty && seccomp != SeccompFile
}

// surroundings are what any container is started with.
type surroundings struct {
	monitor *attach.Monitor   // nil if this process is to be it
	init    *os.File          // the program of the init, if it is wanted
	airlock *os.File          // nil if a monitor starts the container, or the init does
	network *runtime.Network  // nil for the host's, or another container's
	names   *resolver.Sockets // of its name server, whole when the network is; nil for none
	host    runtime.Host
	err     error
}

// getReady starts a monitor, if this process does not stay, and looks at the
// machine. The monitor gets ready on another processor while this one goes on; a
// goroutine for that would only begin when there is something to wait for.
func (m *Manager) getReady(stays, init bool, kind networkKind) (s surroundings) {
	switch {
	case kind.own && kind.named:
		names := &resolver.Sockets{Packets: -1, Streams: -1}
		s.names = names
		s.network = runtime.NewNetwork(func() error {
			sockets, err := resolver.Open()
			if err == nil {
				*names = sockets
			}
			return err
		})
	case kind.own:
		s.network = runtime.NewNetwork()
	}
	switch {
	case !stays:
		if s.monitor, s.err = attach.Spawn(m.State); s.err == nil {
			s.init = s.monitor.Program
		}
	case init:
		s.init, s.err = attach.OpenProgram(m.State, embed.Monitor())
	default:
		s.airlock, s.err = runtime.NewAirlock()
	}
	if s.err == nil {
		s.host, s.err = runtime.Probe()
	}
	return s
}

// closeNetwork lets go of what belongs to the container when it runs: ports,
// addresses and names are free again when it has ended, and not later.
func (s surroundings) closeNetwork() {
	if s.network != nil {
		s.network.Close()
	}
	if s.names != nil {
		s.names.Close()
		*s.names = resolver.Sockets{Packets: -1, Streams: -1}
	}
}

func (s surroundings) close() {
	s.closeNetwork()
	switch {
	case s.monitor != nil:
		s.monitor.Close()
	case s.init != nil:
		s.init.Close()
	case s.airlock != nil:
		s.airlock.Close()
	}
}

// noteFailure keeps why a start failed, for inspect.
func (m *Manager) noteFailure(id string, err error) {
	e := ending{Status: 128, Finished: time.Now().UTC(), Error: err.Error()}
	switch {
	case errors.Is(err, ErrNoCommand):
		e.Status = 127
	case errors.Is(err, ErrNotRunnable):
		e.Status = 126
	}
	// That it can't be kept does not change that it failed.
	if raw, err := json.Marshal(e); err == nil {
		_ = atomicfile.WriteVolatile(m.exitPath(id), raw)
	}
}

// launch is a container that is being started, by who holds its claim.
type launch struct {
	m       *Manager
	claim   *claim
	config  *Config
	draft   *draft
	with    surroundings
	options RunOptions
	fresh   bool // it is made by the same command, and goes if it fails
	net     connection
	signals *caught.Signals
}

// create makes a drafted container exist, and starts it.
func (l *launch) create(ctx context.Context, d *draft) (*attach.Session, error) {
	if !l.config.AutoRemove {
		if err := l.m.writeDurableConfig(l.config); err != nil {
			return nil, fmt.Errorf("create container: %w", err)
		}
	}
	if l.options.Created != nil {
		if err := l.options.Created(l.config.ID); err != nil {
			return nil, err
		}
	}
	return l.start(ctx, d)
}

// start hands everything to the monitor, and waits until the program runs.
func (l *launch) start(ctx context.Context, d *draft) (*attach.Session, error) {
	if l.with.err != nil {
		return nil, failf(ErrSetup, "%w", l.with.err)
	}
	root, err := d.openRoot()
	var p *plan.Plan
	if err == nil {
		l.net, err = d.openNetwork()
	}
	if err == nil {
		p, err = l.m.compile(l.config, l.with, l.net, root, l.options.console(l.config.TTY))
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && !l.config.AutoRemove {
		err = l.m.markStarted(l.config.ID)
	}
	if err != nil {
		return nil, err
	}
	if l.signals, err = l.options.Streams.signals(l.config.TTY); err != nil {
		return nil, err
	}
	k, err := l.container(p, root)
	if err != nil {
		return nil, err
	}
	session, err := l.handOver(k)
	if err != nil {
		return nil, startError(p, err)
	}
	l.claim.pass()
	d.closeNetwork()
	// A namespace in which nothing of the host's is reserved can as well be freed
	// when this process has ended, and nobody waits any more.
	if l.with.monitor != nil || l.config.bridged() {
		l.with.closeNetwork()
	}
	if l.options.Timed && l.options.Explained != nil {
		l.options.Explained(Explanation{Plan: p, Clocks: session.Clocks, Attached: l.net.attached, Attaching: d.net.time()})
	}
	return session, nil
}

// handOver gives everything to the monitor. If it fails, all is undone.
func (l *launch) handOver(c attach.Container) (*attach.Session, error) {
	if l.with.monitor == nil {
		return attach.StartHere(c)
	}
	session, err := l.with.monitor.Start(c)
	if err != nil {
		if f := (*attach.Failure)(nil); !errors.As(err, &f) {
			l.with.monitor.Kill() // whether it goes on it won't tell any more
		}
		// It has undone everything when it has ended.
		l.with.monitor.Wait()
	}
	return session, err
}

// startError turns what a monitor says of a failure into what a user reads.
func startError(p *plan.Plan, err error) error {
	var f *attach.Failure
	if !errors.As(err, &f) || f.Step < 0 {
		return failf(ErrSetup, "start container: %w", err)
	}
	step := runtime.Failed(p, f.Step, f.Errno, f.Exec)
	kind := ErrSetup
	switch step.ExitCode() {
	case 127:
		kind = ErrNoCommand
	case 126:
		kind = ErrNotRunnable
	}
	return failf(kind, "%w", step)
}

// compile makes the plan of a container whose root file system is open.
func (m *Manager) compile(c *Config, with surroundings, net connection, root *os.File, size *consoleSize) (*plan.Plan, error) {
	if err := c.checkSources(); err != nil {
		return nil, err
	}
	f, err := m.facts(c, root)
	if err != nil {
		return nil, err
	}
	files, err := c.etc(net)
	if err != nil {
		return nil, failf(ErrSetup, "%w", err)
	}
	filter, err := m.filter(c)
	if err != nil {
		return nil, err
	}
	spec := specification(c, f)
	spec.Process.ConsoleSize = size.box()
	if m.Log != nil && runtime.LoopbackStaysDown(spec, with.host) {
		m.Log.Warn("without CAP_NET_ADMIN the container's loopback stays down: it does not reach itself by 127.0.0.1", "container", shortID(c.ID))
	}
	p, err := runtime.Compile(spec, with.host, runtime.Options{
		Root: true, Anchor: m.anchor(), Network: c.Network != NetworkHost, Airlock: with.airlock != nil, Files: files, Filter: filter, Init: c.Init, Optional: c.Resources.optional(), SharedDevices: !c.Privileged,
	})
	if err != nil {
		return nil, failf(ErrSetup, "%w", err)
	}
	return p, nil
}

// checkSources looks whether the sources of bind mounts are there, and makes
// those that are to be made.
func (c *Config) checkSources() error {
	for _, mount := range c.Mounts {
		if mount.Type != MountBind {
			continue
		}
		_, err := os.Stat(mount.Source)
		if errors.Is(err, os.ErrNotExist) && mount.MakeSource {
			err = os.MkdirAll(mount.Source, 0o755)
		}
		if err != nil {
			return failf(ErrInvalid, "mount %s: %w", mount.Target, err)
		}
	}
	return nil
}

// container says what the monitor needs to know.
func (l *launch) container(p *plan.Plan, root *os.File) (attach.Container, error) {
	c, m := l.config, l.m
	oomFile, oomKey := l.with.host.Cgroup.OOMFile(c.cgroupPath())
	k := attach.Container{
		Process: attach.Process{
			Plan: p,
			Inputs: map[string]*os.File{
				runtime.InputRoot: root, runtime.InputInit: l.with.init, runtime.InputAirlock: l.with.airlock,
			},
			Terminal: c.TTY, Stdin: c.OpenStdin, StdinOnce: c.OpenStdin && !c.TTY && l.options.Streams != nil,
			Output: l.options.Streams != nil, Timed: l.options.Timed,
		},
		Lock:   l.claim.lock,
		RunDir: m.runDir(c.ID),
		LogDir: m.durableDir(c.ID), LogMax: uint64(c.LogMaxSize),
		OOMFile: oomFile, OOMKey: oomKey,
		StopSignal: unix.Signal(c.StopSignal), StopTimeout: milliseconds(c.StopTimeout),
		RemoveOnFailure: l.fresh, RemoveAtEnd: c.AutoRemove, SpareDir: m.spareDir(),
	}
	if !c.AutoRemove {
		k.ExitDir = m.durableDir(c.ID)
	}
	if l.fresh || c.AutoRemove {
		k.Remove = m.remains(c)
	}
	if l.net.namespace != nil {
		k.Inputs[runtime.InputNetwork] = l.net.namespace
	}
	for name, f := range l.net.files {
		k.Inputs[runtime.InputFile+name] = f
	}
	if l.net.attached != nil {
		k.Held, k.Resolver = l.net.attached.Held, l.with.names
	}
	return k, nil
}

// remains are the paths of a container, in the order in which they have to go.
func (m *Manager) remains(c *Config) []string {
	paths := []string{m.durableConfig(c.ID)}
	for _, mount := range c.Mounts {
		if mount.Type == MountVolume && mount.Anonymous {
			paths = append(paths, filepath.Join(m.volumes(), mount.Source))
		}
	}
	return append(paths, m.namePath(c.Name, c.AutoRemove), m.durableDir(c.ID))
}

// milliseconds is a time-out as the monitor takes it; negative is for ever.
func milliseconds(d time.Duration) uint32 {
	const most = 1<<32 - 1
	if d < 0 || d.Milliseconds() > most {
		return most
	}
	return uint32(d.Milliseconds())
}

// attend stays with a container that runs until it has ended, if somebody is
// attached. What others left to be swept is swept meanwhile.
func (l *launch) attend(ctx context.Context, session *attach.Session) (Ended, error) {
	ended := Ended{ID: l.config.ID}
	if l.options.Streams == nil {
		session.Close()
		if l.fresh {
			l.m.sweepAfter(ctx)
		}
		return ended, nil
	}
	// The mount of the program is of no use any more. The kernel takes its time
	// with the end of a mount; now there is some.
	if l.with.init != nil {
		go l.with.init.Close()
	}
	if l.fresh {
		l.m.sweepMeanwhile(context.WithoutCancel(ctx), l.config.ID)
	}
	if l.with.monitor == nil {
		l.draft.close()
	}
	exit, err := relay(ctx, session, *l.options.Streams, l.signals)
	if err != nil {
		return ended, fmt.Errorf("container %s: %w", shortID(ended.ID), err)
	}
	ended.Exit, ended.Detached = exit.Code, exit.Detached
	if !exit.Detached && l.with.monitor != nil {
		// The last to close the root file system unmounts it: that takes as
		// long as the end of a process.
		unmounted := make(chan struct{})
		go func() {
			l.draft.close()
			close(unmounted)
		}()
		err = l.with.monitor.Wait()
		<-unmounted
	}
	return ended, err
}

// Explain makes the plan of a container that is not made: nothing stays.
func (m *Manager) Explain(ctx context.Context, o *Options, find Find) (Explanation, error) {
	d, err := m.draft(ctx, o, find, nil)
	if err != nil {
		return Explanation{}, err
	}
	defer d.close()
	var p *plan.Plan
	host, err := runtime.Probe()
	if err != nil {
		err = failf(ErrSetup, "%w", err)
	}
	var root *os.File
	if err == nil {
		root, err = d.openRoot()
	}
	if err == nil {
		p, err = m.compile(d.config, surroundings{host: host}, connection{}, root, nil)
	}
	d.close()
	return Explanation{Plan: p}, errors.Join(err, d.discard())
}
