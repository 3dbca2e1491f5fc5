package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ways are the one that Mount takes on this kernel, and that for old kernels,
// which works on all; both have to pass every test.
var ways = map[string]func(Stack) (*os.File, error){
	"mount":     Mount,
	"namespace": mountByNamespace,
}

// Which way a kernel can go is asked of the kernel; here its version says what
// the answer has to be. Between 6.5 and 6.8 it may be either.
func TestWay(t *testing.T) {
	dir := t.TempDir()
	f, err := mountByContext(Stack{Lower: []string{tree(t, dir+"/a"), tree(t, dir+"/b")}})
	if err == nil {
		f.Close()
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	switch version := major*1000 + minor; {
	case version >= 6008 && err != nil, version < 6005 && !errors.Is(err, errNoContext):
		t.Errorf("Linux %d.%d: %v", major, minor, err)
	}
}

func eachWay(t *testing.T, test func(t *testing.T, mount func(Stack) (*os.File, error))) {
	if os.Getuid() != 0 {
		t.Fatal("needs root")
	}
	for name, mount := range ways {
		t.Run(name, func(t *testing.T) {
			before := mountinfo(t)
			test(t, mount)
			if after := mountinfo(t); after != before {
				t.Errorf("the host's mounts changed:\n%s\nwere:\n%s", after, before)
			}
		})
	}
}

func mountinfo(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// tree makes files: a name that ends in / is a directory.
func tree(t *testing.T, dir string, files ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(dir), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func must(t *testing.T, f *os.File, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// at reads name below the mount; "" with an error says why not.
func at(f *os.File, name string) (string, error) {
	fd, err := unix.Openat(int(f.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	g := os.NewFile(uintptr(fd), name)
	defer g.Close()
	buf := make([]byte, 4096)
	n, err := g.Read(buf)
	return string(buf[:n]), err
}

func create(f *os.File, name string) error {
	fd, err := unix.Openat(int(f.Fd()), name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func open(t *testing.T, dir string) int {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

func TestMerge(t *testing.T) {
	eachWay(t, func(t *testing.T, mount func(Stack) (*os.File, error)) {
		dir := t.TempDir()
		bottom := tree(t, dir+"/bottom", "both", "bottom", "gone", "d/", "d/low")
		top := tree(t, dir+"/top", "both", "top", "d/", "d/high")
		upper, work := tree(t, dir+"/upper"), tree(t, dir+"/work")
		if err := Whiteout(open(t, top), "gone"); err != nil {
			t.Fatal(err)
		}
		if err := Opaque(open(t, top+"/d")); err != nil {
			t.Fatal(err)
		}
		f, err := mount(Stack{Lower: []string{top, bottom}, Upper: upper, Work: work})
		f = must(t, f, err)
		for name, want := range map[string]string{"both": top, "top": top, "bottom": bottom, "d/high": top + "/d"} {
			if got, err := at(f, name); err != nil || filepath.Dir(filepath.Join(got, "x")) != strings.TrimSuffix(want, "/d") {
				t.Errorf("%s: read %q, %v, want %q", name, got, err, want)
			}
		}
		for _, name := range []string{"gone", "d/low"} {
			if got, err := at(f, name); !errors.Is(err, unix.ENOENT) {
				t.Errorf("%s: read %q, %v, want it hidden", name, got, err)
			}
		}
		if err := create(f, "new"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(upper + "/new"); err != nil {
			t.Errorf("a new file is not in the upper directory: %v", err)
		}
		if err := unix.Unlinkat(int(f.Fd()), "bottom", 0); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(upper+"/bottom", &st); err != nil || !IsWhiteout(&st) {
			t.Errorf("the kernel's whiteout is not what IsWhiteout looks for: %v, mode %o", err, st.Mode)
		}
	})
}

func TestReadOnly(t *testing.T) {
	eachWay(t, func(t *testing.T, mount func(Stack) (*os.File, error)) {
		dir := t.TempDir()
		f, err := mount(Stack{Lower: []string{tree(t, dir+"/a", "x"), tree(t, dir+"/b")}})
		f = must(t, f, err)
		if err := create(f, "new"); !errors.Is(err, unix.EROFS) {
			t.Errorf("write: got %v, want EROFS", err)
		}
	})
}

func TestOneLower(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir+"/a", "x")
	for name, s := range map[string]Stack{
		"alone":      {Lower: []string{dir + "/a"}},
		"with upper": {Lower: []string{dir + "/a"}, Upper: tree(t, dir+"/u"), Work: tree(t, dir+"/w")},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Mount(s)
			f = must(t, f, err)
			if _, err := at(f, "x"); err != nil {
				t.Error(err)
			}
			if err := create(f, "new"); (err == nil) != (s.Upper != "") {
				t.Errorf("write: %v", err)
			}
		})
	}
}

// 128 layers, and names that are too long for one fsconfig string or look like
// the kernel's own syntax.
func TestManyLowers(t *testing.T) {
	eachWay(t, func(t *testing.T, mount func(Stack) (*os.File, error)) {
		dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50), strings.Repeat("name", 50))
		s := Stack{Upper: tree(t, dir+"/u,p:p\\er"), Work: tree(t, dir+"/wo:rk")}
		for i := range 128 {
			s.Lower = append(s.Lower, tree(t, fmt.Sprintf("%s/%d,:\\", dir, i), fmt.Sprint(i), "all"))
		}
		f, err := mount(s)
		f = must(t, f, err)
		for i := range 128 {
			if got, err := at(f, fmt.Sprint(i)); err != nil || got != s.Lower[i] {
				t.Fatalf("layer %d: read %q, %v", i, got, err)
			}
		}
		if got, _ := at(f, "all"); got != s.Lower[0] {
			t.Errorf("on top is %q, want %q", got, s.Lower[0])
		}
	})
}

// The options are part of what keeps a hostile layer in its place: they have
// to be in force whatever the kernel's own defaults are.
func TestOptionsInForce(t *testing.T) {
	eachWay(t, func(t *testing.T, mount func(Stack) (*os.File, error)) {
		dir := t.TempDir()
		s := Stack{
			Lower: []string{tree(t, dir+"/low", "secret")}, Upper: tree(t, dir+"/up", "d/"), Work: tree(t, dir+"/work"),
			Volatile: true, NoDev: true,
		}
		// A redirect that is followed would show the lower "moved" as "d".
		tree(t, dir+"/low", "moved/", "moved/file")
		if err := unix.Setxattr(s.Upper+"/d", "trusted.overlay.redirect", []byte("moved"), 0); err != nil {
			t.Fatal(err)
		}
		f, err := mount(s)
		f = must(t, f, err)
		if got, err := at(f, "d/file"); err == nil {
			t.Errorf("a redirect was followed: read %q", got)
		}
		line := attachedMountinfo(t, f)
		for _, want := range []string{",nodev", "redirect_dir=nofollow", "volatile"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s is missing in %q", want, line)
			}
		}
		// These are shown only where they differ from the kernel's default.
		for _, bad := range []string{"metacopy=on", "index=on", "nfs_export=on", "userxattr"} {
			if strings.Contains(line, bad) {
				t.Errorf("%s is in %q", bad, line)
			}
		}
	})
}

// attachedMountinfo attaches the mount in a mount namespace of its own and
// gives its line of mountinfo.
func attachedMountinfo(t *testing.T, f *os.File) string {
	t.Helper()
	place := t.TempDir()
	line := ""
	onThread(func() {
		if err := errors.Join(
			unix.Unshare(unix.CLONE_NEWNS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.MoveMount(int(f.Fd()), "", unix.AT_FDCWD, place, unix.MOVE_MOUNT_F_EMPTY_PATH),
		); err != nil {
			t.Error(err)
			return
		}
		data, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			t.Error(err)
		}
		for l := range strings.Lines(string(data)) {
			if strings.Contains(l, " "+place+" ") {
				line = l
			}
		}
	})
	return line
}

func TestErrors(t *testing.T) {
	eachWay(t, func(t *testing.T, mount func(Stack) (*os.File, error)) {
		dir := t.TempDir()
		low, up, work := tree(t, dir+"/low", "file"), tree(t, dir+"/up"), tree(t, dir+"/work")
		for name, tt := range map[string]struct {
			s    Stack
			want string
		}{
			"no lower":     {Stack{Lower: []string{low, dir + "/none"}}, dir + "/none"},
			"a file":       {Stack{Lower: []string{low + "/file", low}}, low + "/file"},
			"no upper":     {Stack{Lower: []string{low}, Upper: dir + "/none", Work: work}, dir + "/none"},
			"work in up":   {Stack{Lower: []string{low}, Upper: up, Work: up}, ""},
			"foreign work": {Stack{Lower: []string{low}, Upper: up, Work: "/dev/shm"}, ""},
		} {
			f, err := mount(tt.s)
			if err == nil {
				f.Close()
				t.Errorf("%s: no error", name)
				continue
			}
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %q should be one line and name %q", name, err, tt.want)
			}
			t.Logf("%s: %v", name, err)
		}
	})
	for name, s := range map[string]Stack{
		"nothing":          {},
		"upper alone":      {Lower: []string{"/usr"}, Upper: "/tmp"},
		"volatile nothing": {Lower: []string{"/usr"}, Volatile: true},
	} {
		if _, err := Mount(s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A mount must not outlive its descriptor, nor its descriptor the mount.
func TestNothingLeftBehind(t *testing.T) {
	eachWay(t, func(t *testing.T, mount func(Stack) (*os.File, error)) {
		dir := t.TempDir()
		s := Stack{Lower: []string{tree(t, dir+"/low")}, Upper: tree(t, dir+"/up"), Work: tree(t, dir+"/work")}
		before := fds(t)
		for range 20 {
			f, err := mount(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s.Lower = append(s.Lower, dir+"/none")
		if f, err := mount(s); err == nil {
			f.Close()
			t.Fatal("no error")
		}
		if after := fds(t); after != before {
			t.Errorf("%d descriptors, were %d", after, before)
		}
	})
}

func fds(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestBind(t *testing.T) {
	dir := tree(t, t.TempDir()+"/root", "file", "sub/")
	before := mountinfo(t)
	f, err := Bind(dir)
	f = must(t, f, err)
	if got, err := at(f, "file"); err != nil || got != dir {
		t.Errorf("read %q, %v", got, err)
	}
	if err := create(f, "new"); err != nil {
		t.Error(err)
	}
	if after := mountinfo(t); after != before {
		t.Errorf("the host's mounts changed:\n%s", after)
	}
	for name, bad := range map[string]string{"missing": dir + "/none", "file": dir + "/file"} {
		if _, err := Bind(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestIsOverlayXattr(t *testing.T) {
	for name, want := range map[string]bool{
		"trusted.overlay.opaque":         true,
		"trusted.overlay.redirect":       true,
		"trusted.overlay.overlay.opaque": true,
		"user.overlay.metacopy":          true,
		"user.overlayed":                 false,
		"trusted.other":                  false,
		"security.capability":            false,
		"user.x.trusted.overlay.opaque":  false,
	} {
		if got := IsOverlayXattr(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestOpaque(t *testing.T) {
	dir := t.TempDir()
	fd := open(t, dir)
	for _, want := range []bool{false, true} {
		if got, err := IsOpaque(fd); err != nil || got != want {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
		if err := Opaque(fd); err != nil {
			t.Fatal(err)
		}
	}
	if err := Whiteout(fd, "gone"); err != nil {
		t.Fatal(err)
	}
	if err := Whiteout(fd, "gone"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("second whiteout: got %v, want EEXIST", err)
	}
}

func BenchmarkMount(b *testing.B) {
	for name, mount := range ways {
		for _, n := range []int{1, 5, 128} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				dir := b.TempDir()
				s := Stack{Upper: dir + "/up", Work: dir + "/work"}
				for i := range n {
					s.Lower = append(s.Lower, fmt.Sprintf("%s/%d", dir, i))
				}
				for _, d := range append(s.Lower, s.Upper, s.Work) {
					if err := os.Mkdir(d, 0o755); err != nil {
						b.Fatal(err)
					}
				}
				for b.Loop() {
					f, err := mount(s)
					if err != nil {
						b.Fatal(err)
					}
					f.Close()
				}
			})
		}
	}
}
