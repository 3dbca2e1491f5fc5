package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"minict/container"
	"minict/runtime"
)

// Exit codes. A command that runs a container ends with the container's own.
const (
	codeAsked       = 1   // asked wrongly: flags, config, names, no such image
	codeSetup       = 2   // the container could not be set up
	codeNotRunnable = 126 // the command was found and can't be executed
	codeNoCommand   = 127 // the command was not found in the container
	codeInterrupted = 130 // Ctrl-C, as a shell counts it: 128 + SIGINT
)

// exited is the error of a command that did its work, and ends with a code of
// its own without a word.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report writes the one line that an error is worth, and gives the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	if code := exited(0); errors.As(err, &code) {
		return int(code)
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.err, "minict: interrupted")
		return codeInterrupted
	}
	if a.log.logger != nil {
		a.log.logger.Error(err.Error(), "exit", exitCode(err))
	}
	fmt.Fprintln(a.err, "minict: "+oneLine(err.Error()))
	return exitCode(err)
}

func exitCode(err error) int {
	var step *runtime.StepError
	switch {
	case errors.Is(err, container.ErrNoCommand):
		return codeNoCommand
	case errors.Is(err, container.ErrNotRunnable):
		return codeNotRunnable
	case errors.Is(err, container.ErrSetup):
		return codeSetup
	case errors.As(err, &step):
		return step.ExitCode()
	}
	return codeAsked
}

// oneLine keeps what an image or a registry says within its line, and from
// giving commands to the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.TrimSpace(s))
}

// flagError tells where to read about flags.
func flagError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath())
}

// unknownCommand refuses arguments of a command that only has verbs.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unknown command %q (see '%s --help')", args[0], cmd.CommandPath())
}

// needs makes a check of the number of arguments; at most a negative number
// is any.
func needs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		return fmt.Errorf("%s: %s (usage: %s)", cmd.CommandPath(), countError(least, most, len(args)), cmd.UseLine())
	}
}

func countError(least, most, got int) string {
	switch {
	case got < least && least == 1:
		return "an argument is missing"
	case got < least:
		return fmt.Sprintf("%d arguments are needed", least)
	case most == 0:
		return "no argument is taken"
	}
	return fmt.Sprintf("at most %d arguments are taken", most)
}
