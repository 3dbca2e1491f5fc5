package runtime

import (
	"errors"
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Devices of each type, anywhere, as they are asked for.
func TestGivenDevices(t *testing.T) {
	mode, owner := os.FileMode(0o640), uint32(12)
	out := must(t, `stat -c '%n %F %t:%T %a %u:%g' /dev/zero /dev/fuse /dev/a/b/loop /dev/unbuffered /fifo /etc/null; test -r /etc/null && echo readable`, func(s *specs.Spec) {
		s.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5, FileMode: &mode}, // instead of the default one
			{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode, UID: &owner, GID: &owner},
			{Path: "/dev/a/b/loop", Type: "b", Major: 7, Minor: 300},
			{Path: "/dev/unbuffered", Type: "u", Major: 4, Minor: 9},
			{Path: "/fifo", Type: "p", FileMode: &mode, GID: &owner},
			{Path: "/etc/../etc/null", Type: "c", Major: 1, Minor: 3},
		}
	})
	want := `/dev/zero character special file 1:5 640 0:0
/dev/fuse character special file a:e5 640 12:12
/dev/a/b/loop block special file 7:12c 666 0:0
/dev/unbuffered character special file 4:9 666 0:0
/fifo fifo 0:0 640 0:12
/etc/null character special file 1:3 666 0:0
readable
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// A file that is there and is not the device is an error, config-linux.md
// "Devices"; the device itself is none.
func TestDevicesThatAreThere(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(path string) error
		want error
	}{
		"the device":    {func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, nil},
		"other numbers": {func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) }, unix.EEXIST},
		"other type":    {func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o600, int(unix.Mkdev(1, 3))) }, unix.EEXIST},
		"a file":        {func(p string) error { return os.WriteFile(p, nil, 0o600) }, unix.EEXIST},
		"a link to it":  {func(p string) error { return os.Symlink("/dev/null", p) }, unix.EEXIST},
	} {
		spec := ordinary(bundle(t), "true")
		spec.Linux.Devices = []specs.LinuxDevice{{Path: "/etc/device", Type: "c", Major: 1, Minor: 3}}
		if err := tt.make(spec.Root.Path + "/etc/device"); err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, spec); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// With a /dev that is bound from elsewhere nothing is made: it is not the
// container's.
func TestForeignDev(t *testing.T) {
	dir := t.TempDir()
	must(t, "ls /dev", func(s *specs.Spec) {
		s.Mounts = []specs.Mount{s.Mounts[0], {Destination: "/dev", Source: dir, Options: []string{"rbind"}}}
		if err := unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
	})
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("made: %v", left)
	}
}
