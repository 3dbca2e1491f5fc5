package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"

	"minict/container/monitor"
	"minict/internal/randomid"
	"minict/overlay"
	"minict/runtime"
	"minict/store"
)

// Create makes a container that is not started.
func (m *Manager) Create(ctx context.Context, o *Options, find Find) (id string, err error) {
	if o.AutoRemove {
		return "", invalidf("a container that is removed when it ends has to be run, not created")
	}
	m.sweep(ctx)
	d, err := m.draft(ctx, o, find, nil)
	if err != nil {
		return "", err
	}
	defer d.close()
	if err = m.resolveNetworks(d.config, true); err == nil {
		if err = m.writeDurableConfig(d.config); err != nil {
			err = fmt.Errorf("create container: %w", err)
		}
	}
	if err != nil {
		return "", d.abandon(err)
	}
	return d.config.ID, d.claim.release()
}

// draft is a container that is being made, by who holds its claim. What there
// is of it can be found from its id and the Config in its run directory, so
// that it can be removed if it never gets finished.
type draft struct {
	m      *Manager
	claim  *claim
	config *Config
	root   *os.File // its root file system as a detached mount, when opened

	namespace *runtime.Network // its network namespace; nil if it is not to be started, or has none of its own
	net       *attachment      // nil without networks
	shared    []*os.File       // of another container, when opened: its network namespace, its files
}

// draft makes everything of a container but the file that says that it exists.
// If there is a network namespace for it, it is being connected in there.
func (m *Manager) draft(ctx context.Context, o *Options, find Find, namespace *runtime.Network) (*draft, error) {
	id := randomid.New()
	claim, err := m.claim(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	d := &draft{m: m, claim: claim, namespace: namespace}
	if err := d.make(ctx, o, find); err != nil {
		return nil, d.abandon(err)
	}
	return d, nil
}

func (d *draft) make(ctx context.Context, o *Options, find Find) error {
	if err := d.begin(ctx, o); err != nil {
		return err
	}
	c := d.config
	// What its image exposes is known later.
	if !c.PublishAll {
		d.connect(ctx)
	}
	if err := d.resolve(ctx, o, find); err != nil {
		return err
	}
	if c.PublishAll {
		d.connect(ctx)
	}
	if err := d.m.makeDir(c.ID); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	return d.m.makeVolumes(c, d.openRoot)
}

// begin makes the part of the Config that needs no image. From then on the
// container has its name.
func (d *draft) begin(ctx context.Context, o *Options) error {
	c, err := o.begin()
	if err != nil {
		return err
	}
	c.ID, c.Created = d.claim.id, time.Now().UTC()
	if c.Hostname == "" {
		c.Hostname = shortID(c.ID)
		if c.Network == NetworkHost {
			if c.Hostname, err = os.Hostname(); err != nil {
				return err
			}
		}
	}
	// Those that it is started on are looked up then.
	if err := d.m.resolveNetworks(c, false); err != nil {
		return err
	}
	if err := c.checkCpuset(); err != nil {
		return err
	}
	d.config = c
	return d.name(ctx)
}

// connect begins to connect the container, if it is to be started.
func (d *draft) connect(ctx context.Context) {
	if d.namespace != nil && d.config.bridged() {
		d.net = d.m.attach(ctx, d.config, d.namespace)
	}
}

// makeDir makes a container's directory, with the two of its overlay, or takes a
// spare one.
func (m *Manager) makeDir(id string) error {
	dir := m.durableDir(id)
	for n := 0; ; n++ {
		name, ok := monitor.SpareName(n)
		if !ok {
			break
		}
		if os.Rename(filepath.Join(m.spareDir(), name), dir) == nil {
			now := time.Now()
			return os.Chtimes(filepath.Join(dir, "upper"), now, now)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"upper", "work"} {
		if err := makeWritable(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// makeWritable makes the upper or the work directory of an overlay. The mode
// of the upper one is what the container sees of its root directory.
func makeWritable(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// resolve finds the image and makes the Config. It is written down before the
// index's lock is given up: that is the container's claim on its image.
func (d *draft) resolve(ctx context.Context, o *Options, find Find) error {
	if o.Rootfs != "" {
		if err := d.complete(o, nil, nil); err != nil {
			return err
		}
		return d.checkRootfs()
	}
	if find == nil {
		return invalidf("no image given, and no rootfs")
	}
	return d.m.Store.View(ctx, func(tx *store.Tx) error {
		img, err := find(tx)
		if err != nil {
			return err
		}
		if err := checkPlatform(o, img); err != nil {
			return err
		}
		return d.complete(o, &img, &img.Execution)
	})
}

// checkPlatform refuses an image for another machine, unless it was asked for
// by its platform: then an emulator may be at hand.
func checkPlatform(o *Options, img store.Image) error {
	arch := img.Platform.Architecture
	if o.Platform != "" || arch == "" || arch == goruntime.GOARCH || goruntime.GOARCH == "amd64" && arch == "386" {
		return nil
	}
	return invalidf("image %s is for %s/%s, this machine is linux/%s", o.Image, img.Platform.OS, arch, goruntime.GOARCH)
}

func (d *draft) complete(o *Options, img *store.Image, config *store.Execution) error {
	c := d.config
	if err := c.complete(o, config); err != nil {
		return err
	}
	if img != nil {
		c.ImageID = img.ID
		for _, layer := range img.Layers {
			c.Layers = append(c.Layers, layer.Key)
		}
	}
	for i := range c.Mounts {
		if m := &c.Mounts[i]; m.Type == MountVolume && m.Source == "" {
			m.Source = randomid.New()
		}
	}
	return d.m.writeRunConfig(c)
}

// checkRootfs looks whether the directory instead of an image, if there is to
// be one, is one.
func (d *draft) checkRootfs() error {
	if d.config.Rootfs == "" {
		return nil
	}
	st, err := os.Stat(d.config.Rootfs)
	if err != nil {
		return failf(ErrInvalid, "rootfs: %w", err)
	}
	if !st.IsDir() {
		return invalidf("rootfs %s: not a directory", d.config.Rootfs)
	}
	return nil
}

// name gives the container its name, one by chance if none was chosen. What
// was killed may still have the name.
func (d *draft) name(ctx context.Context) (err error) {
	c := d.config
	if c.Name == "" {
		c.Name, err = d.m.takeRandomName(ctx, c.ID, c.AutoRemove)
		return err
	}
	err = d.m.takeName(ctx, c.Name, c.ID, c.AutoRemove)
	if errors.Is(err, ErrNameTaken) {
		d.m.sweep(ctx)
		err = d.m.takeName(ctx, c.Name, c.ID, c.AutoRemove)
	}
	return err
}

// openRoot gives the container's root file system. It stays the draft's.
func (d *draft) openRoot() (*os.File, error) {
	if d.root != nil {
		return d.root, nil
	}
	root, err := d.m.mountRoot(d.config)
	d.root = root
	return root, err
}

// mountRoot makes the root file system of a container as a detached mount,
// which nobody else can see.
func (m *Manager) mountRoot(c *Config) (*os.File, error) {
	if c.Rootfs != "" {
		root, err := overlay.Bind(c.Rootfs)
		if err != nil {
			return nil, failf(ErrSetup, "rootfs: %w", err)
		}
		return root, nil
	}
	s := overlay.Stack{
		Upper: filepath.Join(m.durableDir(c.ID), "upper"), Work: filepath.Join(m.durableDir(c.ID), "work"),
		Volatile: c.AutoRemove,
	}
	for _, key := range slices.Backward(c.Layers) {
		s.Lower = append(s.Lower, m.Store.LayerDir(key))
	}
	s.Lower = append(s.Lower, m.base())
	root, err := overlay.Mount(s)
	if err != nil {
		return nil, failf(ErrSetup, "mount root file system: %w", err)
	}
	return root, nil
}

// close lets go of what this process has of it.
func (d *draft) close() {
	d.closeNetwork()
	if d.root != nil {
		d.root.Close()
		d.root = nil
	}
}

func (d *draft) closeNetwork() {
	d.net.end()
	for _, f := range d.shared {
		f.Close()
	}
	d.shared = nil
}

// abandon leaves nothing of a container that could not be made, for the reason
// that is given, nor of networks that nobody else is on.
func (d *draft) abandon(why error) error {
	connects := d.net != nil
	d.close()
	err := errors.Join(why, d.discard())
	if connects {
		err = errors.Join(err, d.m.sweepNetworks(context.Background(), true))
	}
	return err
}

// discard removes what there is of the container, and gives up the claim. The
// cgroup is there if the monitor was killed while it started the container.
func (d *draft) discard() error {
	if err := d.m.removeCgroup(context.Background(), d.claim.id); err != nil {
		d.claim.pass() // the next sweep tries again
		return err
	}
	return d.m.purge(d.claim, d.config)
}

// checkCpuset holds a cpuset against the CPUs and memory nodes that are there.
func (c *Config) checkCpuset() error {
	for _, check := range []struct{ set, file, what string }{
		{c.Resources.CpusetCpus, "/sys/devices/system/cpu/online", "CPUs"},
		{c.Resources.CpusetMems, "/sys/devices/system/node/online", "memory nodes"},
	} {
		if check.set == "" {
			continue
		}
		raw, err := os.ReadFile(check.file)
		if err != nil {
			continue // the kernel will say
		}
		online := string(raw[:max(0, len(raw)-1)])
		there, err := parseSet(online)
		if err != nil {
			return err
		}
		asked, err := parseSet(check.set)
		if err != nil {
			return err
		}
		for _, n := range asked {
			if !slices.Contains(there, n) {
				return invalidf("requested %s are not available: requested %s, available: %s", check.what, check.set, cmp.Or(online, "0"))
			}
		}
	}
	return nil
}
