package container

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// decodeConfig is json.Unmarshal for a Config. What encodeConfig has written, and
// that is what there is, it reads itself; anything else package json reads.
func decodeConfig(raw []byte, c *Config) error {
	p := parser{rest: raw}
	read := Config{}
	if p.object(configFields, &read); p.bad || len(p.rest) > 0 {
		return json.Unmarshal(raw, c)
	}
	*c = read
	return nil
}

// field is a member of the object that a Config is written as.
type field struct {
	name string
	read func(*parser, *Config)
}

// configFields are all of them, in the order in which they are written.
var configFields = []field{
	{"id", func(p *parser, c *Config) { c.ID = p.text() }},
	{"name", func(p *parser, c *Config) { c.Name = p.text() }},
	{"created", func(p *parser, c *Config) { c.Created = p.time() }},
	{"image", func(p *parser, c *Config) { c.Image = p.text() }},
	{"imageID", func(p *parser, c *Config) { parseText(p, &c.ImageID) }},
	{"args", func(p *parser, c *Config) { parseTexts(p, &c.Args) }},
	{"entrypoint", func(p *parser, c *Config) { parseNumber(p, &c.Entrypoint) }},
	{"autoRemove", func(p *parser, c *Config) { c.AutoRemove = p.flag() }},
	{"init", func(p *parser, c *Config) { c.Init = p.flag() }},
	{"detach", func(p *parser, c *Config) { c.Detach = p.flag() }},
	{"labels", func(p *parser, c *Config) { c.Labels = p.dictionary() }},
	{"rootfs", func(p *parser, c *Config) { c.Rootfs = p.text() }},
	{"layers", func(p *parser, c *Config) { parseTexts(p, &c.Layers) }},
	{"env", func(p *parser, c *Config) { parseTexts(p, &c.Env) }},
	{"workDir", func(p *parser, c *Config) { c.WorkDir = p.text() }},
	{"user", func(p *parser, c *Config) { c.User = p.text() }},
	{"hostname", func(p *parser, c *Config) { c.Hostname = p.text() }},
	{"domainname", func(p *parser, c *Config) { c.Domainname = p.text() }},
	{"tty", func(p *parser, c *Config) { c.TTY = p.flag() }},
	{"openStdin", func(p *parser, c *Config) { c.OpenStdin = p.flag() }},
	{"mounts", func(p *parser, c *Config) { p.other(&c.Mounts) }},
	{"readOnlyRootfs", func(p *parser, c *Config) { c.ReadOnlyRootfs = p.flag() }},
	{"network", func(p *parser, c *Config) { c.Network = p.text() }},
	{"networks", func(p *parser, c *Config) { p.other(&c.Networks) }},
	{"ports", func(p *parser, c *Config) { p.other(&c.Ports) }},
	{"publishAll", func(p *parser, c *Config) { c.PublishAll = p.flag() }},
	{"exposed", func(p *parser, c *Config) { p.other(&c.Exposed) }},
	{"extraHosts", func(p *parser, c *Config) { parseTexts(p, &c.ExtraHosts) }},
	{"dns", func(p *parser, c *Config) { p.other(&c.DNS) }},
	{"dnsSearch", func(p *parser, c *Config) { parseTexts(p, &c.DNSSearch) }},
	{"dnsOptions", func(p *parser, c *Config) { parseTexts(p, &c.DNSOptions) }},
	{"resources", func(p *parser, c *Config) { p.object(resourceFields, c) }},
	{"ulimits", func(p *parser, c *Config) { p.other(&c.Ulimits) }},
	{"oomScoreAdj", func(p *parser, c *Config) { parseNumber(p, &c.OOMScoreAdj) }},
	{"capAdd", func(p *parser, c *Config) { parseTexts(p, &c.CapAdd) }},
	{"capDrop", func(p *parser, c *Config) { parseTexts(p, &c.CapDrop) }},
	{"privileged", func(p *parser, c *Config) { c.Privileged = p.flag() }},
	{"seccomp", func(p *parser, c *Config) { c.Seccomp = p.text() }},
	{"seccompProfile", func(p *parser, c *Config) { c.SeccompProfile = p.text() }},
	{"noNewPrivileges", func(p *parser, c *Config) { c.NoNewPrivileges = p.flag() }},
	{"stopSignal", func(p *parser, c *Config) { parseNumber(p, &c.StopSignal) }},
	{"stopTimeout", func(p *parser, c *Config) { parseNumber(p, &c.StopTimeout) }},
	{"logMaxSize", func(p *parser, c *Config) { parseNumber(p, &c.LogMaxSize) }},
}

var resourceFields = []field{
	{"memory", func(p *parser, c *Config) { parseNumber(p, &c.Resources.Memory) }},
	{"memorySwap", func(p *parser, c *Config) { parseNumber(p, &c.Resources.MemorySwap) }},
	{"memoryReservation", func(p *parser, c *Config) { parseNumber(p, &c.Resources.MemoryReservation) }},
	{"nanoCPUs", func(p *parser, c *Config) { parseNumber(p, &c.Resources.NanoCPUs) }},
	{"cpuShares", func(p *parser, c *Config) { parseNumber(p, &c.Resources.CPUShares) }},
	{"cpusetCpus", func(p *parser, c *Config) { c.Resources.CpusetCpus = p.text() }},
	{"cpusetMems", func(p *parser, c *Config) { c.Resources.CpusetMems = p.text() }},
	{"pidsLimit", func(p *parser, c *Config) { parseNumber(p, &c.Resources.PidsLimit) }},
}

// parser takes JSON apart, in the one form in which it is written here: without
// spaces, the members in their order. At anything else it is bad, and what it gives
// means nothing any more.
type parser struct {
	rest []byte
	bad  bool
}

// is takes a character, if it is the next.
func (p *parser) is(c byte) bool {
	if p.bad || len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) expect(c byte) { p.bad = !p.is(c) || p.bad }

// word takes a word, if it is the next.
func (p *parser) word(w string) bool {
	if p.bad || len(p.rest) < len(w) || string(p.rest[:len(w)]) != w {
		return false
	}
	p.rest = p.rest[len(w):]
	return true
}

// object reads members, each of which is one of the fields, and stands behind
// those that come before it there.
func (p *parser) object(fields []field, c *Config) {
	p.expect('{')
	if p.is('}') {
		return
	}
	for !p.bad {
		name := p.quoted()
		p.expect(':')
		for len(fields) > 0 && fields[0].name != string(name) {
			fields = fields[1:]
		}
		if p.bad = p.bad || len(fields) == 0; p.bad {
			return
		}
		fields[0].read(p, c)
		fields = fields[1:]
		if !p.is(',') {
			p.expect('}')
			return
		}
	}
}

// quoted gives what stands between quotes, with all its escapes.
func (p *parser) quoted() []byte {
	p.expect('"')
	for i := 0; i < len(p.rest) && !p.bad; i++ {
		switch p.rest[i] {
		case '\\':
			i++
		case '"':
			raw := p.rest[:i]
			p.rest = p.rest[i+1:]
			return raw
		}
	}
	p.bad = true
	return nil
}

func (p *parser) text() (s string) {
	raw := p.quoted()
	for _, c := range raw {
		if c < ' ' || c >= 0x7f || c == '\\' {
			whole := fmt.Appendf(nil, `"%s"`, raw)
			p.bad = json.Unmarshal(whole, &s) != nil || p.bad
			return s
		}
	}
	return string(raw)
}

func parseText[S ~string](p *parser, into *S) { *into = S(p.text()) }

func parseTexts[S ~string](p *parser, into *[]S) {
	if p.word("null") {
		return
	}
	p.expect('[')
	*into = []S{}
	if p.is(']') {
		return
	}
	for !p.bad {
		*into = append(*into, S(p.text()))
		if !p.is(',') {
			p.expect(']')
			return
		}
	}
}

func (p *parser) dictionary() map[string]string {
	m := make(map[string]string)
	p.expect('{')
	if p.is('}') {
		return m
	}
	for !p.bad {
		key := p.text()
		p.expect(':')
		m[key] = p.text()
		if !p.is(',') {
			p.expect('}')
			break
		}
	}
	return m
}

func parseNumber[N ~int | ~int64](p *parser, into *N) {
	n := 0
	for n < len(p.rest) && (p.rest[n] == '-' || '0' <= p.rest[n] && p.rest[n] <= '9') {
		n++
	}
	digits := string(p.rest[:n])
	number, err := strconv.ParseInt(digits, 10, 64)
	p.bad = p.bad || err != nil || strconv.FormatInt(number, 10) != digits
	p.rest = p.rest[n:]
	*into = N(number)
}

func (p *parser) flag() bool {
	if p.word("true") {
		return true
	}
	p.bad = !p.word("false") || p.bad
	return false
}

func (p *parser) time() (t time.Time) {
	if raw := p.quoted(); !p.bad {
		p.bad = t.UnmarshalJSON(fmt.Appendf(nil, `"%s"`, raw)) != nil
	}
	return t
}

// other has package json read a list.
func (p *parser) other(into any) {
	depth := 0
	for i := 0; i < len(p.rest) && !p.bad; i++ {
		switch p.rest[i] {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '"':
			for i++; i < len(p.rest) && p.rest[i] != '"'; i++ {
				if p.rest[i] == '\\' {
					i++
				}
			}
		}
		if depth <= 0 {
			p.bad = i >= len(p.rest) || json.Unmarshal(p.rest[:i+1], into) != nil
			p.rest = p.rest[min(i+1, len(p.rest)):]
			return
		}
	}
	p.bad = true
}
