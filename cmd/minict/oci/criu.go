package oci

import (
	"errors"
	"fmt"
	"os/exec"
)

// checkpoint and restore are CRIU's work.
func (a *app) checkpoint(*flags) func([]string) error { return a.withCRIU }

func (a *app) restore(*flags) func([]string) error { return a.withCRIU }

func (a *app) withCRIU([]string) error {
	if _, err := exec.LookPath(a.criu); err != nil {
		return fmt.Errorf("checkpoint and restore need CRIU: %w", err)
	}
	return errors.New("checkpoint and restore are not supported yet")
}
