package oci

import (
	goruntime "runtime"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"minict/runtime"
	"minict/runtime/seccomp"
)

// features prints the specification's structure (features.md): what this
// runtime can do, whatever this machine can.
func (a *app) features(*flags) func([]string) error {
	return func([]string) error {
		var caps []string
		for _, c := range capability.ListKnown() {
			caps = append(caps, "CAP_"+strings.ToUpper(c.String()))
		}
		yes, no := pointer(true), pointer(false)
		modes, flags := runtime.MemoryPolicies()
		return a.printIndented(features.Features{
			OCIVersionMin: "1.0.0",
			OCIVersionMax: specs.Version,
			Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
			MountOptions:  runtime.MountOptions(),
			Linux: &features.Linux{
				Namespaces:   runtime.Namespaces(),
				Capabilities: caps,
				Cgroup:       &features.Cgroup{V1: yes, V2: yes, Systemd: yes, SystemdUser: no, Rdma: yes},
				Apparmor:     &features.Apparmor{Enabled: yes},
				Selinux:      &features.Selinux{Enabled: yes},
				Seccomp: &features.Seccomp{
					Enabled: yes, Actions: words(seccomp.Actions), Operators: words(seccomp.Operators),
					Archs:      words(seccomp.Archs(goruntime.GOARCH)),
					KnownFlags: words(seccomp.Flags), SupportedFlags: words(seccomp.Supported()),
				},
				IntelRdt:        &features.IntelRdt{Enabled: yes, Schemata: yes, Monitoring: yes},
				MemoryPolicy:    &features.MemoryPolicy{Modes: modes, Flags: flags},
				MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: yes}},
				NetDevices:      &features.NetDevices{Enabled: yes},
			},
		})
	}
}

// words makes plain strings of what a specification has types for.
func words[T ~string](list []T) (plain []string) {
	for _, word := range list {
		plain = append(plain, string(word))
	}
	return plain
}
