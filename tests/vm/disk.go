package main

import (
	"context"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed init.sh
var initScript string

const (
	minictPath = "/usr/local/bin/minict"
	testPath   = "/srv/tests"
)

// makeDisk makes an ext4 image with all that the machine has: an init, the
// programs, the kernel's modules, minict, and the tests.
func makeDisk(ctx context.Context, o options, modules string, command []string, disk string) error {
	root := disk + ".root"
	defer os.RemoveAll(root)
	script := fmt.Sprintf("cd /srv && MINICT_BINARY=%s TMPDIR=/var/tmp exec %s\n", minictPath, quoted(command[1:]))
	for path, content := range map[string]string{
		"/init":      initScript,
		"/run-tests": script,
		"/etc/hosts": "127.0.0.1 localhost\n",
	} {
		if err := write(root+path, strings.NewReader(content), 0o755); err != nil {
			return err
		}
	}
	if err := copyFile(o.binary, root+minictPath); err != nil {
		return err
	}
	if err := copyFile(command[0], root+testPath); err != nil {
		return err
	}
	for _, program := range strings.Split(o.programs, ",") {
		if err := copyProgram(program, root); err != nil {
			return err
		}
	}
	if o.bring != "" {
		if err := os.CopyFS(filepath.Join(root, "srv", filepath.Base(o.bring)), os.DirFS(o.bring)); err != nil {
			return err
		}
	}
	if err := copyModules(modules, root); err != nil {
		return err
	}
	image, err := os.Create(disk)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := image.Truncate(4 << 30); err != nil { // sparse
		return err
	}
	// Nothing is kept, so nothing is journalled.
	mkfs := exec.CommandContext(ctx, "/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-d", root, disk)
	if out, err := mkfs.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}

// quoted is the shell command that runs the tests in the machine. The test log
// is for the go command's cache, which does not reach into the machine.
func quoted(args []string) string {
	words := []string{testPath}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-test.testlogfile=") {
			words = append(words, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
		}
	}
	return strings.Join(words, " ")
}

// copyModules copies the modules that autoloading may ask for: of file
// systems, networks, and what they depend on.
func copyModules(modules, root string) error {
	return filepath.WalkDir(modules, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("modules of the kernel: %w", err)
		}
		name := strings.TrimPrefix(path, modules+"/kernel/")
		switch {
		case d.IsDir() && (strings.HasPrefix(name, "sound") || strings.HasPrefix(name, "drivers/") && name != "drivers/net"):
			return fs.SkipDir
		case d.Type().IsRegular():
			return copyFile(path, root+path)
		}
		return nil
	})
}

// copyProgram copies a program and the shared libraries that it names.
func copyProgram(path, root string) error {
	if err := copyFile(path, root+path); err != nil {
		return err
	}
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", path, err)
	}
	if section := file.Section(".interp"); section != nil {
		interpreter, err := section.Data()
		if err != nil {
			return fmt.Errorf("interpreter of %s: %w", path, err)
		}
		libraries = append(libraries, strings.TrimRight(string(interpreter), "\x00"))
	}
	for _, library := range libraries {
		if !filepath.IsAbs(library) {
			library = filepath.Join("/lib/x86_64-linux-gnu", library)
		}
		if _, err := os.Stat(root + library); err == nil {
			continue
		}
		if err := copyProgram(library, root); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	return write(to, source, info.Mode().Perm())
}

func write(path string, content io.Reader, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
