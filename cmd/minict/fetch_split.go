//go:build split

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// fetchCommand is nothing here: nobody leaves pulling to this program.
func (a *app) fetchCommand() *cobra.Command { return nil }

// pull makes the whole program pull an image. What there is to say, that
// program says.
func (a *app) pull(ctx context.Context, ref, platform string, to *os.File) error {
	program, err := a.whole()
	if err != nil {
		return fmt.Errorf("start the part that pulls: %w", err)
	}
	defer program.Close()
	args := []string{"--root", a.root, "--state", a.state, "--config-file", a.config,
		"--log-level", a.log.level, "--log-format", a.log.format, "--log-file", a.log.file,
		"fetch", "--platform", platform}
	for _, m := range a.mirrors {
		args = append(args, "--mirror", m)
	}
	if to == nil {
		args = append(args, "--quiet")
	}
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", program.Fd()), append(args, "--", ref)...)
	cmd.Args[0] = "minict"
	cmd.Stdout, cmd.Stderr = to, a.err
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	// It ends with this process, however that ends; the kernel counts its
	// parent by the thread.
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) && failed.Exited() {
		return exited(failed.ExitCode())
	}
	return err
}
