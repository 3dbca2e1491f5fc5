package oci

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// document is a config.json of which the rarer parts are left as they are until
// it is known that they are there. Package encoding/json prepares itself for
// each type that a structure names; for the whole of specs.Spec that takes a
// tenth of the time in which a container is started. A field that is named here
// hides the one of the structure that it is put around.
type document struct {
	specs.Spec
	Process *processDocument `json:"process"`
	Linux   *linuxDocument   `json:"linux"`
	Hooks   later            `json:"hooks"`
	Solaris later            `json:"solaris"` // and the other systems, which are left out
	Windows later            `json:"windows"`
	VM      later            `json:"vm"`
	ZOS     later            `json:"zos"`
	FreeBSD later            `json:"freebsd"`
}

type processDocument struct {
	specs.Process
	ConsoleSize     later `json:"consoleSize"`
	Scheduler       later `json:"scheduler"`
	IOPriority      later `json:"ioPriority"`
	ExecCPUAffinity later `json:"execCPUAffinity"`
}

type linuxDocument struct {
	specs.Linux
	Resources    later `json:"resources"`
	Devices      later `json:"devices"`
	NetDevices   later `json:"netDevices"`
	Seccomp      later `json:"seccomp"`
	IntelRdt     later `json:"intelRdt"`
	MemoryPolicy later `json:"memoryPolicy"`
	Personality  later `json:"personality"`
	TimeOffsets  later `json:"timeOffsets"`
}

// later is a part that is read when all else is.
type later = json.RawMessage

func parseConfig(raw []byte) (*specs.Spec, error) {
	var d document
	err := json.Unmarshal(raw, &d)
	if err == nil {
		err = d.complete()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !strings.HasPrefix(d.Version, "1.") {
		return nil, fmt.Errorf("%w: ociVersion %q is not supported: it has to be 1.x", ErrConfig, d.Version)
	}
	return &d.Spec, nil
}

// complete puts the parts in their places.
func (d *document) complete() error {
	parts := map[*later]any{&d.Hooks: &d.Spec.Hooks}
	if p := d.Process; p != nil {
		d.Spec.Process = &p.Process
		parts[&p.ConsoleSize] = &p.Process.ConsoleSize
		parts[&p.Scheduler] = &p.Process.Scheduler
		parts[&p.IOPriority] = &p.Process.IOPriority
		parts[&p.ExecCPUAffinity] = &p.Process.ExecCPUAffinity
	}
	if l := d.Linux; l != nil {
		d.Spec.Linux = &l.Linux
		parts[&l.Resources] = &l.Linux.Resources
		parts[&l.Devices] = &l.Linux.Devices
		parts[&l.NetDevices] = &l.Linux.NetDevices
		parts[&l.Seccomp] = &l.Linux.Seccomp
		parts[&l.IntelRdt] = &l.Linux.IntelRdt
		parts[&l.MemoryPolicy] = &l.Linux.MemoryPolicy
		parts[&l.Personality] = &l.Linux.Personality
		parts[&l.TimeOffsets] = &l.Linux.TimeOffsets
	}
	for raw, into := range parts {
		if len(*raw) == 0 {
			continue
		}
		if err := json.Unmarshal(*raw, into); err != nil {
			return err
		}
	}
	return nil
}
