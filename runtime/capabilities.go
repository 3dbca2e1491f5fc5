package runtime

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// capabilitySets are the five sets of a thread, a bit for each capability. A
// set that the specification leaves out is empty.
type capabilitySets struct {
	bounding, effective, inheritable, permitted, ambient uint64
}

// granted are the capabilities that the process gets.
func granted(spec *specs.Spec, host Host) (s capabilitySets, warnings []string) {
	if spec.Process == nil || spec.Process.Capabilities == nil {
		return s, nil
	}
	c := spec.Process.Capabilities
	s.bounding, warnings = capabilityBits("bounding", c.Bounding, host, warnings)
	s.effective, warnings = capabilityBits("effective", c.Effective, host, warnings)
	s.inheritable, warnings = capabilityBits("inheritable", c.Inheritable, host, warnings)
	s.permitted, warnings = capabilityBits("permitted", c.Permitted, host, warnings)
	s.ambient, warnings = capabilityBits("ambient", c.Ambient, host, warnings)
	denied := host.Denied
	if spec.Linux != nil && slices.ContainsFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.UserNamespace }) {
		denied = 0 // who makes one, or joins one of his own, has them all there
	}
	// capabilities(7), "Programmatically adjusting capability sets".
	for _, rule := range []struct {
		set, within *uint64
		name        string
		why         string
	}{
		{&s.bounding, nil, "bounding", "the runtime doesn't have it itself"},
		{&s.permitted, nil, "permitted", "the runtime doesn't have it itself"},
		{&s.inheritable, nil, "inheritable", "the runtime doesn't have it itself"},
		{&s.effective, &s.permitted, "effective", "it is not permitted"},
		{&s.ambient, &s.permitted, "ambient", "it is not permitted"},
		{&s.ambient, &s.inheritable, "ambient", "it is not inheritable"},
	} {
		within := ^denied
		if rule.within != nil {
			within = *rule.within
		}
		if lost := *rule.set &^ within; lost != 0 {
			warnings = append(warnings, fmt.Sprintf("process.capabilities.%s without %s: %s", rule.name, capabilityNames(lost), rule.why))
		}
		*rule.set &= within
	}
	return s, warnings
}

// capabilityBits reads a set, without the names that this machine doesn't know.
func capabilityBits(set string, names []string, host Host, warnings []string) (uint64, []string) {
	var bits uint64
	for _, name := range names {
		bit, ok := knownCapabilities()[name]
		if ok && bit <= host.LastCap {
			bits |= 1 << bit
			continue
		}
		warnings = append(warnings, fmt.Sprintf("process.capabilities.%s without %q: the kernel has no such capability", set, name))
	}
	return bits, warnings
}

// knownCapabilities are the bits of capabilities by their names, CAP_CHOWN.
var knownCapabilities = sync.OnceValue(func() map[string]int {
	bits := make(map[string]int)
	for _, known := range capability.ListKnown() {
		bits["CAP_"+strings.ToUpper(known.String())] = int(known)
	}
	return bits
})

func capabilityNames(set uint64) string {
	var names []string
	for _, known := range capability.ListKnown() {
		if set&(1<<known) != 0 {
			names = append(names, known.String())
		}
	}
	return strings.Join(names, " ")
}

func keptNames(set uint64) string {
	if set == 0 {
		return "none left"
	}
	return "left: " + capabilityNames(set)
}

// capset sets the other sets. The ambient set is always written: what the
// caller had in it must not come along (CVE-2022-29162 was of this kind).
func (c *compiler) capset(s capabilitySets) {
	const version = 0x20080522 // _LINUX_CAPABILITY_VERSION_3
	data := make([]byte, 24)   // two struct __user_cap_data_struct: low and high halves
	for half := range 2 {
		for i, set := range []uint64{s.effective, s.permitted, s.inheritable} {
			binary.NativeEndian.PutUint32(data[12*half+4*i:], uint32(set>>(32*half)))
		}
	}
	c.b.Call(unix.SYS_CAPSET, c.b.Words(plan.Int(version)), c.b.Data(data))
	const ambient = unix.PR_CAP_AMBIENT
	c.b.Call(unix.SYS_PRCTL, plan.Int(ambient), plan.Int(unix.PR_CAP_AMBIENT_CLEAR_ALL), plan.Int(0), plan.Int(0), plan.Int(0))
	for cap := range c.host.LastCap + 1 {
		if s.ambient&(1<<cap) != 0 {
			c.b.Call(unix.SYS_PRCTL, plan.Int(ambient), plan.Int(unix.PR_CAP_AMBIENT_RAISE), plan.Int(cap), plan.Int(0), plan.Int(0))
		}
	}
}
