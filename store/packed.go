package store

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// An image's record is read by each start of a container, so it is packed, and
// not JSON: numbers as in protocol buffers (encoding/binary, Uvarint), strings,
// lists and maps with their length before them, one field after the other
// without names. To read one as JSON took as long as to open the index.

// imageForm is the first byte of the record: how the rest of it is packed.
const imageForm = 1

func (img *Image) pack() []byte {
	p := packer{imageForm}
	p.strings(img.Digests)
	p.descriptor(&img.Manifest)
	p.number(int64(len(img.Layers)))
	for i := range img.Layers {
		p.layer(&img.Layers[i])
	}
	p.time(img.Created)
	p.number(img.Size)
	p.platform(&img.Platform)
	p.execution(&img.Execution)
	return p
}

// unpack gives ok only for what pack has made.
func (img *Image) unpack(payload []byte) (ok bool) {
	u := unpacker{rest: payload}
	if form := u.take(1); u.bad || form[0] != imageForm {
		return false
	}
	img.Digests = u.strings()
	img.Manifest = u.descriptor()
	img.Layers = unpackList(&u, u.layer)
	img.Created = u.time()
	img.Size = u.number()
	img.Platform = u.platform()
	img.Execution = u.execution()
	return !u.bad && len(u.rest) == 0
}

// packer is a record that is being made.
type packer []byte

func (p *packer) number(n int64) { *p = binary.AppendVarint(*p, n) }

func (p *packer) string(s string) {
	p.number(int64(len(s)))
	*p = append(*p, s...)
}

func (p *packer) strings(list []string) {
	p.number(int64(len(list)))
	for _, s := range list {
		p.string(s)
	}
}

func (p *packer) flag(f bool) {
	n := int64(0)
	if f {
		n = 1
	}
	p.number(n)
}

// set is a map of which only the keys count.
func (p *packer) set(m map[string]struct{}) { p.strings(slices.Sorted(maps.Keys(m))) }

func (p *packer) dictionary(m map[string]string) {
	p.number(int64(len(m)))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		p.string(key)
		p.string(m[key])
	}
}

// time packs a time in UTC; the zero time is one like any other.
func (p *packer) time(t time.Time) {
	p.number(t.Unix())
	p.number(int64(t.Nanosecond()))
}

func (p *packer) platform(v *Platform) {
	for _, s := range []string{v.Architecture, v.OS, v.Variant} {
		p.string(s)
	}
}

func (p *packer) descriptor(d *Descriptor) {
	p.string(d.MediaType)
	p.string(string(d.Digest))
	p.number(d.Size)
	p.strings(d.URLs)
	p.dictionary(d.Annotations)
	if p.flag(d.Platform != nil); d.Platform != nil {
		p.platform(d.Platform)
	}
}

func (p *packer) layer(l *Layer) {
	p.string(string(l.DiffID))
	p.string(string(l.Key))
	p.descriptor(&l.Blob)
	p.number(l.Size)
}

func (p *packer) execution(e *Execution) {
	p.string(e.User)
	p.set(e.ExposedPorts)
	p.strings(e.Env)
	p.strings(e.Entrypoint)
	p.strings(e.Cmd)
	p.set(e.Volumes)
	p.string(e.WorkingDir)
	p.dictionary(e.Labels)
	p.string(e.StopSignal)
	p.flag(e.ArgsEscaped)
}

// unpacker takes fields off a record. After the first one that is not there, all
// are zero and bad is set. What a damaged record claims to have takes no more
// memory than what it has.
type unpacker struct {
	rest []byte
	bad  bool
}

func (u *unpacker) take(n int) []byte {
	if u.bad || n > len(u.rest) {
		u.bad = true
		return nil
	}
	field := u.rest[:n]
	u.rest = u.rest[n:]
	return field
}

func (u *unpacker) number() int64 {
	n, size := binary.Varint(u.rest)
	if u.bad = u.bad || size <= 0; u.bad {
		return 0
	}
	u.rest = u.rest[size:]
	return n
}

// length is a number of things that take a byte each at least.
func (u *unpacker) length() int {
	n := u.number()
	if u.bad = u.bad || n < 0 || n > int64(len(u.rest)); u.bad {
		return 0
	}
	return int(n)
}

func (u *unpacker) string() string { return string(u.take(u.length())) }

func (u *unpacker) strings() []string { return unpackList(u, u.string) }

// unpackList is nil for none.
func unpackList[T any](u *unpacker, one func() T) (list []T) {
	for n := u.length(); n > 0 && !u.bad; n-- {
		list = append(list, one())
	}
	return list
}

func (u *unpacker) flag() bool {
	n := u.number()
	u.bad = u.bad || n != 0 && n != 1
	return n == 1
}

func (u *unpacker) set() map[string]struct{} {
	list := u.strings()
	if list == nil {
		return nil
	}
	m := make(map[string]struct{}, len(list))
	for _, key := range list {
		m[key] = struct{}{}
	}
	return m
}

func (u *unpacker) dictionary() map[string]string {
	n := u.length()
	if n == 0 {
		return nil
	}
	m := make(map[string]string)
	for ; n > 0 && !u.bad; n-- {
		key := u.string()
		m[key] = u.string()
	}
	return m
}

func (u *unpacker) time() time.Time {
	seconds, nanoseconds := u.number(), u.number()
	return time.Unix(seconds, nanoseconds).UTC()
}

func (u *unpacker) platform() Platform {
	return Platform{Architecture: u.string(), OS: u.string(), Variant: u.string()}
}

func (u *unpacker) layer() Layer {
	return Layer{DiffID: Digest(u.string()), Key: Digest(u.string()), Blob: u.descriptor(), Size: u.number()}
}

func (u *unpacker) descriptor() Descriptor {
	d := Descriptor{
		MediaType: u.string(), Digest: Digest(u.string()), Size: u.number(),
		URLs: u.strings(), Annotations: u.dictionary(),
	}
	if u.flag() {
		platform := u.platform()
		d.Platform = &platform
	}
	return d
}

func (u *unpacker) execution() Execution {
	return Execution{
		User: u.string(), ExposedPorts: u.set(), Env: u.strings(), Entrypoint: u.strings(), Cmd: u.strings(),
		Volumes: u.set(), WorkingDir: u.string(), Labels: u.dictionary(), StopSignal: u.string(), ArgsEscaped: u.flag(),
	}
}
