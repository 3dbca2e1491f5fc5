package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What other runtimes and engines write by default is carried out as it is: only
// the command is another.
func TestDefaultConfigurations(t *testing.T) {
	for name, args := range map[string][]string{
		"runc": {"runc", "spec"}, "runc rootless": {"runc", "spec", "--rootless"}, "crun": {"crun", "spec"},
		"containerd": {"ctr", "oci", "spec"},
	} {
		root := bundle(t)
		dir := filepath.Dir(root)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("the tests need Debian's runc, crun and containerd: %s: %v", name, err)
		}
		if args[0] != "ctr" {
			if out, err = os.ReadFile(filepath.Join(dir, "config.json")); err != nil {
				t.Fatal(err)
			}
		}
		spec := new(specs.Spec)
		if err := json.Unmarshal(out, spec); err != nil {
			t.Fatal(err)
		}
		terminal := spec.Process.Terminal
		spec.Process.Terminal = false // TestTerminal is about that
		spec.Process.Args = []string{"/bin/sh", "-c", "id -u; test -c /dev/null; echo $?; cd /proc; echo [0-9]*; test -t 0 || echo fine"}
		spec.Linux.CgroupsPath = fmt.Sprintf("/minict/runtime-engines-test-%d", os.Getpid())
		if spec.Root.Path != "rootfs" || terminal != (args[0] != "ctr") {
			t.Errorf("%s: root %q, terminal %v", name, spec.Root.Path, terminal)
		}
		if r, err := runEngine(t, spec, dir); err != nil || r.stdout != "0\n0\n1\nfine\n" {
			t.Errorf("%s: got %q %q, %v", name, r.stdout, r.stderr, err)
		}
	}
}

// runEngine runs a specification as the command line for engines does.
func runEngine(t *testing.T, spec *specs.Spec, dir string) (result, error) {
	t.Helper()
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{Bundle: dir, Engine: true})
	if err != nil {
		return result{}, err
	}
	return launchPaused(t, p, nil, preparing(spec))
}
