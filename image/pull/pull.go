package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"minict/image"
	"minict/image/registry"
	"minict/store"
)

// Registries says how registries are reached; see registry.Config.
type Registries = registry.Config

// Client moves images between registries and the store, and removes them. It
// may be used by several goroutines at once.
type Client struct {
	Store    *store.Store
	Config   Registries
	Progress Progress // nil for none
}

// PullOptions are the user's wishes for one pull.
type PullOptions struct {
	Platform string // as image.ParsePlatform reads it; empty is this machine's
}

// PullResult is what there is to say after a pull.
type PullResult struct {
	Name   image.Name
	Image  store.Image
	Digest store.Digest // what the reference named in the registry: an index or a manifest
	New    bool         // the name meant nothing or another image before
}

// Status is the last line of Docker's pull but one.
func (r PullResult) Status() string {
	if r.New {
		return "Downloaded newer image for " + r.Name.Familiar()
	}
	return "Image is up to date for " + r.Name.Familiar()
}

// Pull fetches the image that ref names, for one platform, from its registry
// or a mirror of it, and names it in the store. If it fails or ctx ends,
// nothing of it stays. Of several pulls of one image, in whichever processes,
// one fetches and the others wait for it.
func (c *Client) Pull(ctx context.Context, ref string, o PullOptions) (PullResult, error) {
	name, err := image.Parse(ref)
	if err != nil {
		return PullResult{}, err
	}
	want, err := image.ParsePlatform(o.Platform)
	if err != nil {
		return PullResult{}, err
	}
	repos, err := registry.Open(c.Config, name.Domain, name.Path)
	if err != nil {
		return PullResult{}, err
	}
	for _, r := range repos {
		defer r.Close()
	}
	p := &pull{Client: c, name: name, want: want, progress: c.Progress}
	if p.progress == nil {
		p.progress = silent{}
	}
	if err := p.resolve(ctx, repos); err != nil {
		return PullResult{}, err
	}
	return p.run(ctx)
}

// pull is one run of Pull.
type pull struct {
	*Client
	name     image.Name
	want     store.Platform
	progress Progress

	// What resolve found out.
	sources  []*registry.Repository // where to get blobs, in order
	top      store.Digest           // what the reference named
	document registry.Document      // the platform's manifest
	manifest imageManifest
	platform *store.Platform // what an index says of the manifest
}

// resolve turns the reference into a manifest at the first place that has
// one. The tag is asked for once: all that follows goes by digest, so a tag
// that is moved meanwhile changes nothing.
func (p *pull) resolve(ctx context.Context, repos []*registry.Repository) error {
	var mirrors []string
	for i, repo := range repos {
		err := p.resolveAt(ctx, repo)
		if err == nil {
			p.sources = repos[i:]
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if i < len(repos)-1 {
			slog.WarnContext(ctx, "mirror can't be used", "mirror", repo.Host(), "error", err)
			mirrors = append(mirrors, fmt.Sprintf("; mirror %s: %s", repo.Host(), err))
			continue
		}
		if len(mirrors) == 0 {
			return err
		}
		return fmt.Errorf("%w%s", err, strings.Join(mirrors, ""))
	}
	return nil
}

func (p *pull) resolveAt(ctx context.Context, repo *registry.Repository) error {
	reference := string(p.name.Digest)
	if reference == "" {
		reference = p.name.Tag
	}
	doc, err := repo.Manifest(ctx, reference)
	if err != nil {
		return err
	}
	p.top, p.platform = doc.Descriptor.Digest, nil
	for nested := 0; ; nested++ {
		index, err := isIndexDocument(doc)
		if err != nil {
			return err
		}
		if !index {
			break
		}
		if nested == maxNested {
			return fmt.Errorf("%s: %w: more than %d indexes in each other", p.name.Familiar(), image.ErrCorrupt, maxNested)
		}
		if doc, err = p.descend(ctx, repo, doc); err != nil {
			return err
		}
	}
	p.document = doc
	p.manifest, err = decodeManifest(doc)
	return err
}

func isIndexDocument(doc registry.Document) (bool, error) {
	if t := doc.Descriptor.MediaType; t != "" {
		return isIndex(t), nil
	}
	k, err := kind(doc.Raw)
	return k == "manifests", err
}

// descend fetches the entry of an index that is for the wanted platform.
func (p *pull) descend(ctx context.Context, repo *registry.Repository, doc registry.Document) (registry.Document, error) {
	index, err := decodeIndex(doc)
	if err != nil {
		return registry.Document{}, err
	}
	entry, err := pick(index, p.want, p.name.Familiar())
	if err != nil {
		return registry.Document{}, err
	}
	child, err := repo.Manifest(ctx, string(entry.Digest))
	if err != nil {
		return registry.Document{}, err
	}
	got := child.Descriptor
	if got.Size != entry.Size || got.MediaType != "" && entry.MediaType != "" && got.MediaType != entry.MediaType {
		return registry.Document{}, fmt.Errorf("manifest %s: %w: the index promises %d bytes of %q, the registry sends %d of %q",
			got.Digest, image.ErrCorrupt, entry.Size, image.Clip(entry.MediaType), got.Size, got.MediaType)
	}
	p.platform = entry.Platform
	return child, nil
}

// run brings into the store what resolve found.
func (p *pull) run(ctx context.Context) (PullResult, error) {
	before, err := p.before(ctx)
	if err != nil {
		return PullResult{}, err
	}
	p.progress.Begin(p.name, p.layers())
	img, ok, err := p.reuse(ctx)
	if err != nil {
		return PullResult{}, err
	}
	if !ok {
		if img, err = p.fetch(ctx); err != nil {
			return PullResult{}, err
		}
	}
	return PullResult{Name: p.name, Image: img, Digest: p.top, New: before != img.ID}, nil
}

// before is the image that the name means now, empty if none.
func (p *pull) before(ctx context.Context) (id store.Digest, err error) {
	err = p.Store.View(ctx, func(tx *store.Tx) error {
		img, err := tx.ByName(p.name.Stored())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		id = img.ID
		return err
	})
	return id, err
}

// layers are the blobs of the manifest's layers, each once.
func (p *pull) layers() []store.Descriptor {
	var layers []store.Descriptor
	for _, l := range p.manifest.Layers {
		if !slices.ContainsFunc(layers, func(have store.Descriptor) bool { return have.Digest == l.Digest }) {
			layers = append(layers, l)
		}
	}
	return layers
}

// digest is the reference by digest under which the image is known from now.
func (p *pull) digest() string { return p.name.Repository() + "@" + string(p.top) }

// reuse gives an image that is in the store already its name, unless the very
// same manifest is not there or a layer's directory is lost.
func (p *pull) reuse(ctx context.Context) (img store.Image, ok bool, err error) {
	id, name := p.manifest.Config.Digest, p.name.Stored()
	find := func(tx *store.Tx) (store.Image, bool, error) {
		img, err := tx.Image(id)
		if errors.Is(err, store.ErrNotFound) {
			return img, false, nil
		}
		same := img.Manifest.Digest == p.document.Descriptor.Digest
		return img, same && p.whole(img), err
	}
	err = p.Store.View(ctx, func(tx *store.Tx) (err error) {
		img, ok, err = find(tx)
		return err
	})
	if err != nil || !ok {
		return store.Image{}, false, err
	}
	if !image.Runs(p.want, img.Platform) {
		return store.Image{}, false, p.wrongPlatform(img.Platform)
	}
	for _, l := range p.layers() {
		p.progress.Layer(l.Digest, Exists)
	}
	if slices.Contains(img.Names, name) && slices.Contains(img.Digests, p.digest()) {
		return img, true, nil
	}
	err = p.Store.Update(ctx, func(tx *store.Tx) error {
		if img, ok, err = find(tx); err != nil || !ok {
			return err // removed in the meantime
		}
		img.Digests = append(img.Digests, p.digest())
		if err := tx.PutImage(img, name); err != nil {
			return err
		}
		img, err = tx.Image(id)
		return err
	})
	return img, ok, err
}

func (p *pull) whole(img store.Image) bool {
	for _, l := range img.Layers {
		if _, err := os.Lstat(p.Store.LayerDir(l.Key)); err != nil {
			return false
		}
	}
	return true
}

// fetch brings what is missing into an ingest and publishes it.
func (p *pull) fetch(ctx context.Context) (store.Image, error) {
	var blobs []store.Digest
	for _, l := range append(p.layers(), p.manifest.Config) {
		blobs = append(blobs, l.Digest)
		p.progress.Layer(l.Digest, Waiting)
	}
	release, err := p.Store.LockBlobs(ctx, blobs...)
	if err != nil {
		return store.Image{}, err
	}
	defer release()
	if img, ok, err := p.reuse(ctx); err != nil || ok {
		return img, err // another process had the locks and has fetched it
	}
	in, err := p.Store.Ingest(ctx)
	if err != nil {
		return store.Image{}, err
	}
	defer in.Close()
	img, err := p.fill(ctx, in)
	if err != nil {
		return store.Image{}, err
	}
	if err := in.Publish(ctx, img, p.name.Stored()); err != nil {
		return store.Image{}, err
	}
	err = p.Store.View(ctx, func(tx *store.Tx) (err error) {
		img, err = tx.Image(img.ID)
		return err
	})
	return img, err
}

func (p *pull) fill(ctx context.Context, in *store.Ingest) (store.Image, error) {
	doc := p.document.Descriptor
	if err := in.PutBlob(ctx, doc, p.document.Raw); err != nil {
		return store.Image{}, err
	}
	config, err := p.config(ctx, in)
	if err != nil {
		return store.Image{}, err
	}
	if n, m := len(config.RootFS.DiffIDs), len(p.manifest.Layers); n != m {
		return store.Image{}, fmt.Errorf("image config %s: %w: %d diff_ids for %d layers", p.manifest.Config.Digest, image.ErrCorrupt, n, m)
	}
	platform, err := p.checkPlatform(config)
	if err != nil {
		return store.Image{}, err
	}
	layers, err := p.unpack(ctx, in, config.RootFS.DiffIDs)
	if err != nil {
		return store.Image{}, err
	}
	img := store.Image{
		ID:       p.manifest.Config.Digest,
		Digests:  []string{p.digest()},
		Manifest: doc,
		Layers:   layers,
		Platform: platform,
		Created:  created(config),

		Execution: config.Config,
	}
	for _, l := range layers {
		img.Size += l.Size
	}
	return img, nil
}

// created is when the image was made, by its own word.
func created(config store.ImageConfig) time.Time {
	if config.Created == nil {
		return time.Time{}
	}
	return config.Created.UTC()
}

// config brings the image's config into the ingest and reads it.
func (p *pull) config(ctx context.Context, in *store.Ingest) (store.ImageConfig, error) {
	d := p.manifest.Config
	blob, err := p.open(ctx, d)
	if err != nil {
		return store.ImageConfig{}, err
	}
	defer blob.Close()
	raw, err := io.ReadAll(blob)
	if err != nil {
		return store.ImageConfig{}, err
	}
	config, err := image.DecodeConfig(d.Digest, raw)
	if err != nil {
		return store.ImageConfig{}, err
	}
	return config, in.PutBlob(ctx, d, raw)
}

// checkPlatform says for which platform the image is. An index is believed,
// since there are images whose config keeps the word of the machine that
// built them; without one the config has to be.
func (p *pull) checkPlatform(config store.ImageConfig) (store.Platform, error) {
	have := config.Platform
	switch {
	case p.platform != nil:
		have = *p.platform
	case have.Architecture == "":
		have = p.want
	case !image.Runs(p.want, have):
		return store.Platform{}, p.wrongPlatform(have)
	}
	return image.NormalizePlatform(have), nil
}

func (p *pull) wrongPlatform(have store.Platform) error {
	return image.Because(image.ErrPlatform, "image %s is for %s and not for %s",
		p.name.Familiar(), image.Clip(image.FormatPlatform(image.NormalizePlatform(have))), image.FormatPlatform(p.want))
}

// open opens a blob at the first source that has it.
func (p *pull) open(ctx context.Context, d store.Descriptor) (*registry.Blob, error) {
	for i, source := range p.sources {
		blob, err := source.Blob(ctx, d)
		if err == nil {
			return blob, nil
		}
		if ctx.Err() != nil || i == len(p.sources)-1 {
			return nil, err
		}
		slog.WarnContext(ctx, "mirror can't be used", "mirror", source.Host(), "error", err)
	}
	return nil, image.Because(image.ErrUnknown, "blob %s: no registry to ask", d.Digest)
}
