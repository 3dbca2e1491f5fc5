package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is an ext4 file system in a file.
type disk struct {
	t   *testing.T
	dev string
	dir string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	image := t.TempDir() + "/disk"
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	d := &disk{t: t, dir: t.TempDir()}
	d.dev = attach(t, image)
	d.mount()
	t.Cleanup(func() { unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

// attach gives a loop device that goes with its last user.
func attach(t *testing.T, image string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("/dev/loop", n)
		dev, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &unix.LoopConfig{
			Fd:   uint32(file.Fd()),
			Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return name
		}
		if !errors.Is(err, unix.EBUSY) { // somebody else was faster
			t.Fatal(err)
		}
	}
}

func (d *disk) mount() {
	d.t.Helper()
	if err := unix.Mount(d.dev, d.dir, "ext4", 0, ""); err != nil {
		d.t.Fatal(err)
	}
}

// cut takes the power away: what the disk does not have by now is lost.
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	const shutdown, noLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN, see the kernel's fs/ext4/ioctl.c
	err = unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush)
	f.Close()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := unix.Unmount(d.dir, 0); err != nil {
		d.t.Fatal(err)
	}
	d.mount()
}

// When the power fails after a pull has said that it is done, the image is
// there with every byte; when it fails before, it is not there, and what was
// there before is.
func TestPowerLoss(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(t *testing.T, in *Ingest) error
		want bool
	}{
		"staged":    {func(*testing.T, *Ingest) error { return nil }, false},
		"synced":    {func(_ *testing.T, in *Ingest) error { return in.store.Sync() }, false},
		"renamed":   {func(_ *testing.T, in *Ingest) error { return errors.Join(in.store.Sync(), in.install()) }, false},
		"published": {func(t *testing.T, in *Ingest) error { return in.Publish(t.Context(), sample("b", "base", "own"), "b") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			s, err := Open(d.dir + "/root")
			if err != nil {
				t.Fatal(err)
			}
			mustPull(t, s, "a", "base")
			in := newIngest(t, s)
			if err := errors.Join(fill(t.Context(), in, "b", "base", "own"), tt.do(t, in)); err != nil {
				t.Fatal(err)
			}
			in.lock.Close()
			d.cut()
			sound(t, s)
			if _, err := byName(s, "a"); err != nil {
				t.Error(err)
			}
			img, err := byName(s, "b")
			if (err == nil) != tt.want {
				t.Errorf("the image: %v", err)
			}
			if tt.want {
				data, err := os.ReadFile(s.LayerDir(img.Layers[1].Key) + "/file")
				if string(data) != "hello" {
					t.Errorf("the layer: %q, %v", data, err)
				}
			}
			if _, err := s.Collect(t.Context(), nil); err != nil {
				t.Error(err)
			}
			mustPull(t, s, "b", "base", "own")
			sound(t, s)
		})
	}
}
