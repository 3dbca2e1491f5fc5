package launch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// airlocked carries out a plan that only goes through an airlock, and gives the
// exit code of the program.
func airlocked(t *testing.T, files []string, args ...string) (int, error) {
	t.Helper()
	fd, err := unix.MemfdCreate("airlock", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	program := os.NewFile(uintptr(fd), "airlock")
	defer program.Close()
	if _, err := program.Write(AirlockProgram()); err != nil {
		t.Fatal(err)
	}
	var b plan.Builder
	in := b.Input("airlock")
	b.Step(plan.Step{Phase: plan.Child, Verb: "exec"})
	words := []plan.Arg{b.Data(AirlockControl(len(files)))}
	for _, s := range append(append([]string(nil), files...), args...) {
		words = append(words, b.Str(s))
	}
	b.Call(plan.CloseFrom, plan.Int(3), in.Value(), plan.Int(-1))
	b.Call(plan.Airlock, in.Value(), b.Words(append(words, plan.Int(0))...), b.Strs([]string{"A=1"}))
	status, err := carryOut(t, b.Plan(unix.CLONE_NEWPID, plan.NoSlot), int(program.Fd()))
	return status.ExitStatus(), err
}

func TestAirlock(t *testing.T) {
	dir := t.TempDir()
	forbidden := filepath.Join(dir, "forbidden")
	garbage := filepath.Join(dir, "garbage")
	self := filepath.Join(dir, "self")
	for _, err := range []error{
		os.WriteFile(forbidden, []byte("#!/bin/sh\n"), 0o600),
		os.WriteFile(garbage, []byte("garbage"), 0o700),
		os.WriteFile(self, []byte("#!/proc/self/exe\n"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	many := make([]string, AirlockFiles)
	for i := range many {
		many[i] = "/nowhere/sh"
	}
	many[len(many)-1] = "/bin/sh"
	// The fourth is the directory that ls reads.
	script := []string{"sh", "-c", `test "$A" = 1 && test "$(echo $(ls /proc/self/fd))" = "0 1 2 3" && exit 7`}
	for name, tt := range map[string]struct {
		files, args []string
		code        int
		errno       unix.Errno
	}{
		"the first":                {[]string{"/bin/sh"}, script, 7, 0},
		"a later":                  {[]string{"/nowhere/sh", "/bin/sh/sh", forbidden, "/bin/sh"}, script, 7, 0},
		"the last of many":         {many, script, 7, 0},
		"none":                     {[]string{"/nowhere/x", "/bin/x"}, []string{"x"}, 0, unix.ENOENT},
		"none, by way of a file":   {[]string{"/bin/sh/x"}, []string{"x"}, 0, unix.ENOTDIR},
		"one that is forbidden":    {[]string{"/nowhere/x", forbidden, "/bin/x"}, []string{"x"}, 0, unix.EACCES},
		"a directory":              {[]string{"/"}, []string{"x"}, 0, unix.EACCES},
		"no program":               {[]string{garbage, "/bin/sh"}, script, 0, unix.ENOEXEC},
		"itself, without control":  {[]string{"/proc/self/exe"}, []string{"x"}, 127, 0},
		"itself, as a script's":    {[]string{self}, []string{"x"}, 127, 0},
		"itself, with too many":    {[]string{"/proc/self/exe"}, []string{"x\x09\x01\xff"}, 127, 0},
		"itself, and then another": {[]string{"/proc/self/exe"}, []string{"x\x01\x01\x02", "/bin/sh", "sh", "-c", "exit 9"}, 9, 0},
	} {
		t.Run(name, func(t *testing.T) {
			code, err := airlocked(t, tt.files, tt.args...)
			var f *Failure
			if tt.errno == 0 && (err != nil || code != tt.code) {
				t.Errorf("code %d, %v", code, err)
			}
			if tt.errno != 0 && (!errors.As(err, &f) || f.Errno != tt.errno || !f.Exec) {
				t.Errorf("got %v, want %v", err, tt.errno)
			}
		})
	}
}
