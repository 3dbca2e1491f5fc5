// Command demo runs demo.sh on a private host and compares what it prints with
// golden.txt, byte for byte. With -update it writes golden.txt anew.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"minict/tests/fixture"
	"minict/tests/host"

	"golang.org/x/sys/unix"
)

//go:embed demo.sh
var script string

// place is where the demo runs: the path shows in its output, so it is the
// same everywhere. What is mounted there is seen by the private host alone.
const place = "/mnt"

func main() {
	binary := flag.String("binary", "minict", "the minict to show")
	golden := flag.String("golden", "tests/demo/golden.txt", "the output that is right")
	update := flag.Bool("update", false, "write the right output anew")
	flag.Parse()
	os.Exit(host.Run(func() int {
		if err := demo(*binary, *golden, *update); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			return 1
		}
		return 0
	}))
}

func demo(binary, golden string, update bool) error {
	golden, err := filepath.Abs(golden)
	if err != nil {
		return err
	}
	registry, err := prepare(binary)
	if err != nil {
		return err
	}
	defer registry.Close()

	var printed bytes.Buffer
	both := io.MultiWriter(os.Stdout, &printed)
	shell := exec.Command("bash", "-c", script, "demo.sh")
	shell.Dir = place
	shell.Stdout, shell.Stderr = both, both
	shell.Env = []string{
		"PATH=" + place + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + place, "TMPDIR=" + place, "LC_ALL=C",
		"MINICT_ROOT=" + place + "/.root", "MINICT_STATE=" + place + "/.state",
	}
	if err := shell.Run(); err != nil {
		return fmt.Errorf("demo.sh: %w", err)
	}
	if update {
		return os.WriteFile(golden, printed.Bytes(), 0o644)
	}
	return compare(golden, printed.Bytes())
}

// prepare makes what the script uses: minict on the PATH, a root file system,
// and Debian's registry with an image of it.
func prepare(binary string) (*fixture.Registry, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("read the binary to show (make builds it): %w", err)
	}
	if err := unix.Mount("tmpfs", place, "tmpfs", 0, "mode=755"); err != nil {
		return nil, fmt.Errorf("mount %s: %w", place, err)
	}
	if err := os.Mkdir(place+"/bin", 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(place+"/bin/minict", program, 0o755); err != nil {
		return nil, err
	}
	if err := fixture.Rootfs(place + "/rootfs"); err != nil {
		return nil, err
	}
	img, err := fixture.BaseImage()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(place+"/.registry", 0o700); err != nil {
		return nil, err
	}
	registry, err := fixture.StartDockerRegistry("127.0.0.1:5000", place+"/.registry")
	if err != nil {
		return nil, err
	}
	if err := registry.Push("alpine:3.20", img); err != nil {
		registry.Close()
		return nil, err
	}
	return registry, nil
}

func compare(golden string, printed []byte) error {
	want, err := os.ReadFile(golden)
	if err != nil {
		return err
	}
	if bytes.Equal(want, printed) {
		fmt.Println("\ndemo: the output is what it should be, byte for byte")
		return nil
	}
	diff := exec.Command("diff", "-u", "--label", "golden.txt", "--label", "printed", golden, "-")
	diff.Stdin = bytes.NewReader(printed)
	diff.Stdout, diff.Stderr = os.Stderr, os.Stderr
	diff.Run()
	return errors.New("the output is not what it should be")
}
