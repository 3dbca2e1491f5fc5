package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A new volume has what the image has in its place: content, owners, modes,
// times, attributes, links; and only a new one.
func TestVolumeIsFilled(t *testing.T) {
	m := manager(t)
	root := rootfs(t)
	data := filepath.Join(root, "data")
	fill(t, data)
	o := Options{Name: "web", Rootfs: root, Mounts: []Mount{{Type: MountVolume, Source: "named", Target: "/data"}}}
	create(t, m, o)
	volume := filepath.Join(m.volumes(), "named", "_data")
	if got, want := tree(t, volume), tree(t, data); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	a, errA := os.Stat(filepath.Join(volume, "file"))
	b, errB := os.Stat(filepath.Join(volume, "sub", "hard"))
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Errorf("the hard link is none: %v, %v", errA, errB)
	}
	// What is in it stays when it is used again (CVE-2020-1726).
	if err := os.WriteFile(filepath.Join(volume, "file"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Name = "other"
	create(t, m, o)
	if got, _ := os.ReadFile(filepath.Join(volume, "file")); string(got) != "mine" {
		t.Errorf("the volume was filled again: %q", got)
	}
}

func fill(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	long := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, err := range []error{
		os.Mkdir(at("sub"), 0o700),
		os.WriteFile(at("file"), []byte("content"), 0o644),
		os.Chown(at("file"), 33, 34),
		os.Chmod(at("file"), os.ModeSetuid|0o755),
		unix.Setxattr(at("file"), "user.color", []byte("blue"), 0),
		os.Link(at("file"), at("sub/hard")),
		os.Symlink("/etc/shadow", at("absolute")),
		os.Symlink("nowhere", at("dangling")),
		os.Lchown(at("dangling"), 1, 2),
		unix.Mkfifo(at("fifo"), 0o620),
		os.Chmod(at("fifo"), 0o620),
		os.WriteFile(at("sub/secret"), []byte("x"), 0o000),
		os.Chtimes(at("sub/secret"), long, long),
		os.Chmod(at("sub"), os.ModeSticky|0o711),
		os.Chtimes(at("sub"), long, long),
		os.Chmod(dir, 0o775),
		os.Chown(dir, 5, 6),
		os.Chtimes(dir, long, long),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// tree describes a directory with everything below it.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			to, _ := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s", to)
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			color := make([]byte, 100)
			n, _ := unix.Lgetxattr(path, "user.color", color)
			fmt.Fprintf(&b, " %q %q %d", content, color[:max(0, n)], st.Mtim.Sec)
		case unix.S_IFDIR:
			fmt.Fprintf(&b, " %d", st.Mtim.Sec)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The way to a volume's content is the image's, and leads nowhere else
// (CVE-2022-23648).
func TestVolumesOfHostileImages(t *testing.T) {
	for name, tt := range map[string]struct {
		target string
		make   func(root, secret string) error
	}{
		"up and out":    {"/../../../secret", func(string, string) error { return nil }},
		"absolute link": {"/link", func(root, secret string) error { return os.Symlink(secret, filepath.Join(root, "link")) }},
		"relative link": {"/link", func(root, secret string) error {
			return os.Symlink("../"+filepath.Base(secret), filepath.Join(root, "link"))
		}},
		"link on the way": {"/link/secret", func(root, secret string) error {
			return os.Symlink(filepath.Dir(secret), filepath.Join(root, "link"))
		}},
		"link inside": {"/data", func(root, secret string) error { return os.Symlink(secret, filepath.Join(root, "data", "link")) }},
		"file":        {"/file", func(root, _ string) error { return os.WriteFile(filepath.Join(root, "file"), nil, 0o600) }},
		"device": {"/data", func(root, _ string) error {
			return unix.Mknod(filepath.Join(root, "data", "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := manager(t)
			root := rootfs(t)
			secret := filepath.Join(filepath.Dir(root), "secret")
			if err := os.Mkdir(secret, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(secret, "key"), []byte("key"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tt.make(root, secret); err != nil {
				t.Fatal(err)
			}
			o := Options{Networks: on(NetworkNone), Rootfs: root, Args: []string{"x"}, Mounts: []Mount{{Type: MountVolume, Source: "volume", Target: tt.target}}}
			if _, err := m.Create(t.Context(), &o, nil); err != nil {
				t.Fatal(err)
			}
			err := filepath.WalkDir(filepath.Join(m.volumes(), "volume"), func(path string, d fs.DirEntry, err error) error {
				if err == nil && (d.Name() == "key" || d.Type()&fs.ModeDevice != 0) {
					err = errors.New(path)
				}
				return err
			})
			if err != nil {
				t.Errorf("in the volume: %v", err)
			}
		})
	}
}

// What is mounted in a volume is not removed with it.
func TestRemoveTreeStopsAtMounts(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err == nil {
		t.Error("it was removed")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestEtc(t *testing.T) {
	c := config(t, Options{Args: []string{"x"}, Hostname: "web", Domainname: "example.org", AddHosts: []string{"db:10.0.0.1", "six=::1"}, Networks: on(NetworkNone)}, nil)
	files, err := etcContents(c, connection{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n" +
		"ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n10.0.0.1\tdb\n::1\tsix\n127.0.0.1\tweb.example.org web\n"
	if files[hostsFile] != hosts || files[hostnameFile] != "web\n" {
		t.Errorf("got %q", files)
	}
	if strings.Contains(files[resolvFile], "nameserver") {
		t.Errorf("a container without a network has a name server: %q", files[resolvFile])
	}
	c.Network = NetworkHost
	if files, err = etcContents(c, connection{}); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	if want := string(own) + "10.0.0.1\tdb\n::1\tsix\n"; files[hostsFile] != want {
		t.Errorf("got %q, want %q", files[hostsFile], want)
	}
}
