package oci

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// sendListener hands the descriptor by which a seccomp filter asks what to do
// to who answers: config-linux.md, "Container Process State".
func (c *Container) sendListener(profile *specs.LinuxSeccomp, pid, listener int, status Status) error {
	if profile == nil || profile.ListenerPath == "" || listener < 0 {
		return errors.New("seccomp: a filter that notifies needs listenerPath")
	}
	message, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid,
		Metadata: profile.ListenerMetadata, State: c.specState(status),
	})
	if err != nil {
		return err
	}
	sock, err := Dial(profile.ListenerPath)
	if err != nil {
		return fmt.Errorf("linux.seccomp.listenerPath: %w", err)
	}
	defer sock.Close()
	return Send(sock, string(message), listener)
}
