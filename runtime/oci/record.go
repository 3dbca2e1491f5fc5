package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/systemd"
)

// record is state.json: what the commands after create need and can't ask the
// kernel. It is written once.
type record struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Owner       int               `json:"owner"` // user id
	Boot        string            `json:"boot"`
	Cgroup      string            `json:"cgroup,omitempty"`
	Scope       *systemd.Scope    `json:"scope,omitempty"`   // systemd's unit of the cgroup
	OwnPIDs     bool              `json:"ownPids,omitempty"` // has a PID namespace of its own
	Annotations map[string]string `json:"annotations,omitempty"`
	Hooks       *specs.Hooks      `json:"hooks,omitempty"`

	IntelRdt *specs.LinuxIntelRdt `json:"intelRdt,omitempty"`
}

func (r *record) write(dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, creatingFile), data, 0o600)
}

// finish makes a container of what was being created.
func finish(dir string) error {
	return os.Rename(filepath.Join(dir, creatingFile), filepath.Join(dir, stateFile))
}

// readRecord reads a record and whether create was through with it.
func readRecord(dir string) (*record, bool, error) {
	complete := true
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		complete = false
		data, err = os.ReadFile(filepath.Join(dir, creatingFile))
	}
	if errors.Is(err, fs.ErrNotExist) { // renamed between the two
		complete = true
		data, err = os.ReadFile(filepath.Join(dir, stateFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, ErrNotExist
	}
	if err != nil {
		return nil, false, err
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		if !complete { // killed while it was written
			return nil, false, ErrNotExist
		}
		return nil, false, fmt.Errorf("read %s: %w", filepath.Join(dir, stateFile), err)
	}
	return r, complete, nil
}

// writePid keeps the first process's name, in one write(2). A process whose
// name was not kept has its creator for its life: it dies with it.
func writePid(dir string, p process) error {
	return os.WriteFile(filepath.Join(dir, pidFile), fmt.Appendf(nil, "%d %d\n", p.pid, p.start), 0o600)
}

// readPid is the zero process if there is none.
func readPid(dir string) (p process, err error) {
	data, err := os.ReadFile(filepath.Join(dir, pidFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if n, _ := fmt.Sscanf(string(data), "%d %d\n", &p.pid, &p.start); n != 2 {
		return process{}, nil // killed before it was written
	}
	return p, nil
}

// newRecord is what there is to be kept of a container that is to be created.
func newRecord(id, bundle, boot string, spec *specs.Spec) *record {
	r := &record{
		Version: specs.Version, ID: id, Bundle: bundle, Rootfs: spec.Root.Path,
		Created: time.Now().UTC(), Owner: os.Geteuid(), Boot: boot, Cgroup: spec.Linux.CgroupsPath,
		Annotations: spec.Annotations, Hooks: spec.Hooks,
		IntelRdt: spec.Linux.IntelRdt,
	}
	if !filepath.IsAbs(r.Rootfs) {
		r.Rootfs = filepath.Join(bundle, r.Rootfs)
	}
	r.OwnPIDs = slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.PIDNamespace && n.Path == ""
	})
	return r
}
