package runtime

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Warnings tells what a specification asks for that a container doesn't get,
// and starts without. An engine's user finds them in its log.
//
//   - Capabilities, as the specification wants it (config.md "Linux Process"):
//     those that are unknown, that the kernel doesn't have, that the runtime
//     can't give because it has not got them itself, or that can't be in one
//     set without being in another.
//   - The loopback, for want of a capability (LoopbackStaysDown).
//   - A label for mounts where there is no SELinux: nobody would look at it.
//   - A limit of kernel memory, and a group whose limits are not to hold for
//     those below: Linux has neither since 5.11.
//   - Options of filesystems for bind mounts, which mount(2) passes over too.
func Warnings(spec *specs.Spec, host Host) []string {
	_, warnings := granted(spec, host)
	if LoopbackStaysDown(spec, host) {
		warnings = append(warnings, "namespace network: without CAP_NET_ADMIN its loopback stays down, 127.0.0.1 is not reached")
	}
	if l := spec.Linux; l != nil && l.MountLabel != "" && !host.SELinux {
		warnings = append(warnings, fmt.Sprintf("linux.mountLabel %q: this kernel runs without SELinux", l.MountLabel))
	}
	if l := spec.Linux; l != nil && l.Resources != nil && l.Resources.Memory != nil {
		m := l.Resources.Memory
		if m.Kernel != nil && *m.Kernel != 0 {
			warnings = append(warnings, "linux.resources.memory.kernel: Linux ignores it since 5.11")
		}
		if m.UseHierarchy != nil && !*m.UseHierarchy {
			warnings = append(warnings, "linux.resources.memory.useHierarchy: it is always on since Linux 5.11")
		}
	}
	for _, m := range spec.Mounts {
		o, err := parseMountOptions(m)
		for _, option := range o.data {
			if err == nil && o.bind {
				warnings = append(warnings, fmt.Sprintf("mount %s: a bind mount knows no option %q", m.Destination, option))
			}
		}
	}
	return warnings
}
