package container

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// encodeConfig is json.Marshal for a Config. Each start writes one, and to look a
// struct's fields up took package json a thirtieth of a run: it does so for each
// type once in a process, and here it is once.
func encodeConfig(c *Config) ([]byte, error) {
	o := object{out: append(make([]byte, 0, 2<<10), '{')}
	c.encode(&o)
	o.end()
	return o.out, o.err
}

// encode writes the fields in their order in the struct.
func (c *Config) encode(o *object) {
	o.text("id", c.ID)
	o.text("name", c.Name)
	o.time("created", c.Created)
	o.text("image", c.Image)
	o.textIfAny("imageID", string(c.ImageID))
	texts(o, "args", c.Args)
	o.number("entrypoint", int64(c.Entrypoint))
	o.flagIfSet("autoRemove", c.AutoRemove)
	o.flagIfSet("init", c.Init)
	o.flagIfSet("detach", c.Detach)
	o.dictionary("labels", c.Labels)
	o.textIfAny("rootfs", c.Rootfs)
	textsIfAny(o, "layers", c.Layers)
	textsIfAny(o, "env", c.Env)
	o.textIfAny("workDir", c.WorkDir)
	o.textIfAny("user", c.User)
	o.text("hostname", c.Hostname)
	o.textIfAny("domainname", c.Domainname)
	o.flagIfSet("tty", c.TTY)
	o.flagIfSet("openStdin", c.OpenStdin)
	listIfAny(o, "mounts", c.Mounts)
	o.flagIfSet("readOnlyRootfs", c.ReadOnlyRootfs)
	o.text("network", c.Network)
	listIfAny(o, "networks", c.Networks)
	listIfAny(o, "ports", c.Ports)
	o.flagIfSet("publishAll", c.PublishAll)
	listIfAny(o, "exposed", c.Exposed)
	textsIfAny(o, "extraHosts", c.ExtraHosts)
	listIfAny(o, "dns", c.DNS)
	textsIfAny(o, "dnsSearch", c.DNSSearch)
	textsIfAny(o, "dnsOptions", c.DNSOptions)
	o.within("resources", c.Resources.encode)
	listIfAny(o, "ulimits", c.Ulimits)
	o.numberIfAny("oomScoreAdj", int64(c.OOMScoreAdj))
	textsIfAny(o, "capAdd", c.CapAdd)
	textsIfAny(o, "capDrop", c.CapDrop)
	o.flagIfSet("privileged", c.Privileged)
	o.text("seccomp", c.Seccomp)
	o.textIfAny("seccompProfile", c.SeccompProfile)
	o.flagIfSet("noNewPrivileges", c.NoNewPrivileges)
	o.number("stopSignal", int64(c.StopSignal))
	o.number("stopTimeout", int64(c.StopTimeout))
	o.number("logMaxSize", c.LogMaxSize)
}

func (r *Resources) encode(o *object) {
	o.numberIfAny("memory", r.Memory)
	o.numberIfAny("memorySwap", r.MemorySwap)
	o.numberIfAny("memoryReservation", r.MemoryReservation)
	o.numberIfAny("nanoCPUs", r.NanoCPUs)
	o.numberIfAny("cpuShares", r.CPUShares)
	o.textIfAny("cpusetCpus", r.CpusetCpus)
	o.textIfAny("cpusetMems", r.CpusetMems)
	o.numberIfAny("pidsLimit", r.PidsLimit)
}

// object is a JSON object that is being written. Those of its methods that end in
// IfAny and IfSet leave an empty value out.
type object struct {
	out []byte
	err error
}

// name begins a member.
func (o *object) name(name string) {
	if o.out[len(o.out)-1] != '{' {
		o.out = append(o.out, ',')
	}
	o.out = append(o.out, '"')
	o.out = append(o.out, name...)
	o.out = append(o.out, '"', ':')
}

func (o *object) end() { o.out = append(o.out, '}') }

// value writes whatever package json can.
func (o *object) value(v any) {
	raw, err := json.Marshal(v)
	if err != nil && o.err == nil {
		o.err = err
	}
	o.out = append(o.out, raw...)
}

// quote writes a string. Those with a character that has to be written in another
// way are rare.
func (o *object) quote(s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			o.value(s)
			return
		}
	}
	o.out = append(o.out, '"')
	o.out = append(o.out, s...)
	o.out = append(o.out, '"')
}

func (o *object) text(name, s string) {
	o.name(name)
	o.quote(s)
}

func (o *object) textIfAny(name, s string) {
	if s != "" {
		o.text(name, s)
	}
}

func (o *object) number(name string, n int64) {
	o.name(name)
	o.out = strconv.AppendInt(o.out, n, 10)
}

func (o *object) numberIfAny(name string, n int64) {
	if n != 0 {
		o.number(name, n)
	}
}

func (o *object) flagIfSet(name string, set bool) {
	if set {
		o.name(name)
		o.out = append(o.out, "true"...)
	}
}

func (o *object) time(name string, t time.Time) {
	o.name(name)
	o.out = append(o.out, '"')
	o.out = t.AppendFormat(o.out, time.RFC3339Nano)
	o.out = append(o.out, '"')
}

// within writes an object as a member.
func (o *object) within(name string, members func(*object)) {
	o.name(name)
	o.out = append(o.out, '{')
	members(o)
	o.end()
}

func (o *object) dictionary(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	o.name(name)
	o.out = append(o.out, '{')
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			o.out = append(o.out, ',')
		}
		o.quote(key)
		o.out = append(o.out, ':')
		o.quote(m[key])
	}
	o.end()
}

func textsIfAny[S ~string](o *object, name string, list []S) {
	if len(list) > 0 {
		texts(o, name, list)
	}
}

func texts[S ~string](o *object, name string, list []S) {
	o.name(name)
	if list == nil {
		o.out = append(o.out, "null"...)
		return
	}
	o.out = append(o.out, '[')
	for i, s := range list {
		if i > 0 {
			o.out = append(o.out, ',')
		}
		o.quote(string(s))
	}
	o.out = append(o.out, ']')
}

func listIfAny[T any](o *object, name string, list []T) {
	if len(list) > 0 {
		o.name(name)
		o.value(list)
	}
}
