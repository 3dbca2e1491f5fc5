package oci

import (
	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"minict/runtime"
	"strings"
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
			},
		})
	}
}
