package seccomp

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func testCache(t testing.TB) Cache {
	return Cache{Dir: filepath.Join(t.TempDir(), "seccomp"), Arch: runtime.GOARCH}
}

func kept(t testing.TB, c Cache) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// mustDefault asks for the default filter and holds it against a compiled one.
func mustDefault(t testing.TB, c Cache, caps []string) {
	t.Helper()
	p, err := Default(caps, c.Arch)
	if err != nil {
		t.Fatal(err)
	}
	want, wantFlags, err := Compile(p, c.Arch)
	if err != nil {
		t.Fatal(err)
	}
	got, flags, err := c.Default(caps)
	if err != nil || flags != wantFlags || !bytes.Equal(got, Bytes(want)) {
		t.Fatalf("got %d bytes, flags %#x, %v", len(got), flags, err)
	}
}

func TestCacheKeepsFilters(t *testing.T) {
	c := testCache(t)
	for _, caps := range capSets {
		mustDefault(t, c, caps)
		mustDefault(t, c, caps)
	}
	files := kept(t, c)
	if len(files) != len(capSets) {
		t.Fatalf("%d files for %d sets of capabilities", len(files), len(capSets))
	}
	dir, err := os.Stat(c.Dir)
	if err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory: %v, %v", dir.Mode(), err)
	}
	// The order of capabilities means nothing.
	mustDefault(t, c, []string{"CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_BPF"})
	if n := len(kept(t, c)); n != len(files) {
		t.Errorf("%d files after another order", n)
	}
}

// That the kept file is what is read shows when it is another filter's.
func TestCacheReadsWhatItKept(t *testing.T) {
	c := testCache(t)
	mustDefault(t, c, nil)
	path := kept(t, c)[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := [32]byte(data[len(magic):])
	other := bytes.Repeat([]byte{7}, 16)
	if err := os.WriteFile(path, encode(sum, 5, other), 0o600); err != nil {
		t.Fatal(err)
	}
	got, flags, err := c.Default(nil)
	if err != nil || flags != 5 || !bytes.Equal(got, other) {
		t.Fatalf("got %x, %d, %v: the file was not read", got, flags, err)
	}
}

func TestCacheDistrustsItsFiles(t *testing.T) {
	c := testCache(t)
	mustDefault(t, c, nil)
	path := kept(t, c)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(data []byte) error {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o600)
	}
	spoilt := map[string]func() error{
		"empty":     func() error { return replace(nil) },
		"cut":       func() error { return replace(whole[:len(whole)-8]) },
		"longer":    func() error { return replace(append(bytes.Clone(whole), whole...)) },
		"huge":      func() error { return os.Truncate(path, 1<<40) },
		"fifo":      func() error { os.Remove(path); return unix.Mkfifo(path, 0o600) },
		"directory": func() error { os.Remove(path); return os.Mkdir(path, 0o700) },
		"link": func() error {
			if err := os.Rename(path, path+"-moved"); err != nil {
				return err
			}
			return os.Symlink(path+"-moved", path)
		},
		"writable": func() error { return os.Chmod(path, 0o666) },
		"foreign":  func() error { return os.Chown(path, 1234, 0) },
		"other's": func() error {
			return replace(encode([32]byte{1}, 5, bytes.Repeat([]byte{7}, 16)))
		},
	}
	for i := 0; i < len(whole); i += 37 {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if err := replace(b); err != nil {
			t.Fatal(err)
		}
		mustDefault(t, c, nil)
	}
	for name, spoil := range spoilt {
		t.Run(name, func(t *testing.T) {
			if err := replace(whole); err != nil {
				t.Fatal(err)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			mustDefault(t, c, nil)
			if name == "directory" { // can't be replaced: compiled each time
				return
			}
			if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
				t.Errorf("not replaced: %v, %v", st, err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, whole) {
				t.Errorf("not kept anew: %v", err)
			}
		})
	}
}

func TestCacheWithoutAPlace(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"writable": func(dir string) error { return os.Chmod(dir, 0o777) },
		"foreign":  func(dir string) error { return os.Chown(dir, 1234, 1234) },
		"a file": func(dir string) error {
			os.Remove(dir)
			return os.WriteFile(dir, nil, 0o600)
		},
		"a link": func(dir string) error {
			os.Remove(dir)
			return os.Symlink("/proc/nowhere", dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := testCache(t)
			if err := os.Mkdir(c.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := spoil(c.Dir); err != nil {
				t.Fatal(err)
			}
			mustDefault(t, c, nil)
			if files := kept(t, c); len(files) != 0 {
				t.Errorf("kept %q", files)
			}
		})
	}
}

func TestCacheStaysSmall(t *testing.T) {
	c := testCache(t)
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for range maxKept + 5 {
		p.ListenerPath += "x"
		if _, _, err := c.Compile(p); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(kept(t, c)); n != 5 {
		t.Errorf("%d files", n)
	}
}

func TestCacheTogether(t *testing.T) {
	c := testCache(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if _, _, err := c.Default(dockerCaps); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	mustDefault(t, c, dockerCaps)
}

func TestCachePassesErrorsOn(t *testing.T) {
	c := testCache(t)
	for range 2 {
		_, _, err := c.Load([]byte("{}"), nil)
		if err == nil || err.Error() != "seccomp profile: default: action is missing" {
			t.Error(err)
		}
		_, _, err = c.Compile(&specs.LinuxSeccomp{})
		if err == nil || err.Error() != "seccomp profile: default: action is missing" {
			t.Error(err)
		}
		if _, _, err := c.Compile(nil); err == nil {
			t.Error("no profile gave a filter")
		}
	}
	if files := kept(t, c); len(files) != 0 {
		t.Errorf("kept %q", files)
	}
}

func TestHostKey(t *testing.T) {
	release, err := kernelRelease()
	if err != nil {
		t.Fatal(err)
	}
	k, err := testCache(t).hostKey("default", dockerCaps)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range append([]string{"default", release, runtime.GOARCH}, dockerCaps...) {
		if !bytes.Contains(k.buf, []byte(part)) {
			t.Errorf("%s is not in the key", part)
		}
	}
}

// Any two profiles that differ in one field have different keys.
func TestKeyHoldsTheWholeProfile(t *testing.T) {
	n := uint(1)
	full := func() *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{
			DefaultAction: "a", DefaultErrnoRet: new(n), Architectures: []specs.Arch{"b"}, Flags: []specs.LinuxSeccompFlag{"c"},
			ListenerPath: "d", ListenerMetadata: "e", Syscalls: []specs.LinuxSyscall{{
				Names: []string{"f"}, Action: "g", ErrnoRet: new(n), Args: []specs.LinuxSeccompArg{{Index: 1, Value: 2, ValueTwo: 3, Op: "h"}},
			}},
		}
	}
	c := testCache(t)
	sum := func(p *specs.LinuxSeccomp) [32]byte {
		k := c.key("profile")
		k.profile(p)
		return k.sum()
	}
	whole := sum(full())
	// clear walks through a value and clears one field at a time.
	var clear func(path string, pick func(*specs.LinuxSeccomp) reflect.Value)
	clear = func(path string, pick func(*specs.LinuxSeccomp) reflect.Value) {
		kind := pick(full()).Type()
		for i := range kind.NumField() {
			field := func(p *specs.LinuxSeccomp) reflect.Value { return pick(p).Field(i) }
			p := full()
			if field(p).IsZero() {
				t.Errorf("%s.%s: the test does not fill it", path, kind.Field(i).Name)
			}
			field(p).SetZero()
			if sum(p) == whole {
				t.Errorf("%s.%s is not in the key", path, kind.Field(i).Name)
			}
			if f := kind.Field(i).Type; f.Kind() == reflect.Slice && f.Elem().Kind() == reflect.Struct {
				clear(path+"."+kind.Field(i).Name, func(p *specs.LinuxSeccomp) reflect.Value { return field(p).Index(0) })
			}
		}
	}
	clear("profile", func(p *specs.LinuxSeccomp) reflect.Value { return reflect.ValueOf(p).Elem() })
	p := full()
	p.Flags = []specs.LinuxSeccompFlag{}
	q := full()
	q.Flags = nil
	if sum(p) == sum(q) {
		t.Error("no flags and no list of flags have one key")
	}
}

func FuzzDecodeFile(f *testing.F) {
	f.Add(encode([32]byte{3}, 1, bytes.Repeat([]byte{1}, 24)))
	f.Fuzz(func(t *testing.T, b []byte) {
		prog, flags, err := decodeFile(b, [32]byte{3})
		if err == nil && !bytes.Equal(encode([32]byte{3}, flags, prog), b) {
			t.Fatal("read something else than was written")
		}
	})
}

func BenchmarkCacheDefault(b *testing.B) {
	c := testCache(b)
	for b.Loop() {
		if _, _, err := c.Default(dockerCaps); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCacheCompile(b *testing.B) {
	c := testCache(b)
	p, err := Default(dockerCaps, runtime.GOARCH)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := c.Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}
