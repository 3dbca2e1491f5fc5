package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// monitorMemory prints the proportional set size of the process that stays
// beside a container that does nothing.
func (s *site) monitorMemory() error {
	time.Sleep(3 * time.Second) // it gives up what it does not need when nothing has happened for a second
	cmd := exec.Command(s.binary, "inspect", "--format", "{{.State.Pid}}", "bench")
	cmd.Env = s.minictEnv()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	status, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(out)), "status"))
	if err != nil {
		return err
	}
	size, err := proportionalSize(field(string(status), "PPid:"))
	if err != nil {
		return err
	}
	fmt.Printf("\nmemory of an idle monitor: %d KiB PSS\n", size)
	return nil
}

// proportionalSize is the Pss of proc_pid_smaps_rollup(5), in KiB.
func proportionalSize(pid string) (int, error) {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(field(string(text), "Pss:"))
}

// field is the first word behind the name at the beginning of a line.
func field(text, name string) string {
	for _, line := range strings.Split(text, "\n") {
		if value, ok := strings.CutPrefix(line, name); ok && value != "" {
			return strings.Fields(value)[0]
		}
	}
	return ""
}
