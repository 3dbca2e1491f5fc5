package container

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	testPasswd = "root:x:0:0:root:/root:/bin/sh\n" +
		"daemon:x:2:2:daemon:/sbin:/sbin/nologin\n" +
		"www:x:33:34:web:/var/www:/bin/sh\n" +
		"nohome:x:40:40:x::/bin/sh\n" +
		"broken:x:abc:0:x:/:/bin/sh\n" +
		"huge:x:4294967296:0:x:/:/bin/sh\n" +
		"1000:x:0:0:numeric name:/numeric:/bin/sh\n" +
		"4294967296:x:0:0:trap:/root:/bin/sh\n" +
		"short:x:7\n"
	testGroup = "root:x:0:root\nwww:x:34:\nwheel:x:10:root,www\nvideo:x:27:root,www\nbroken:x:x:www\nadm:x:4:root\n"
)

func TestLookUp(t *testing.T) {
	for _, tt := range []struct {
		user     string
		uid, gid uint32
		groups   []uint32
		home     string
	}{
		{"", 0, 0, []uint32{0, 10, 27, 4}, "/root"},
		{"root", 0, 0, []uint32{0, 10, 27, 4}, "/root"},
		{"0", 0, 0, []uint32{0, 10, 27, 4}, "/root"},
		{"www", 33, 34, []uint32{34, 10, 27}, "/var/www"},
		{"33", 33, 34, []uint32{34, 10, 27}, "/var/www"},
		{"www:wheel", 33, 10, []uint32{10}, "/var/www"},
		{"www:99", 33, 99, []uint32{99}, "/var/www"},
		{"1000", 1000, 0, []uint32{0}, "/"}, // the number, not who is called so
		{"1000:1000", 1000, 1000, []uint32{1000}, "/"},
		{"2147483647", 2147483647, 0, []uint32{0}, "/"},
		{"nohome", 40, 40, []uint32{40}, "/"},
		{"007", 7, 0, []uint32{0}, "/"},
	} {
		got, err := lookUp(tt.user, testPasswd, testGroup)
		want := identity{tt.uid, tt.gid, tt.groups, tt.home}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v, want %+v", tt.user, got, err, want)
		}
	}
}

func TestLookUpRefuses(t *testing.T) {
	for user, says := range map[string]string{
		"4294967296": "numbers go from", "2147483648": "numbers go from", "0x0": "no matching entries in passwd file",
		"+1": "invalid user", "-1": "invalid user", "1:": "invalid user", ":1": "invalid user", ":": "invalid user",
		"1000:4294967296": "numbers go from", "99999999999999999999": "numbers go from",
		"nobody": "unable to find user nobody: no matching entries in passwd file",
		"www:no": "unable to find group no: no matching entries in group file",
		"broken": "no matching entries", "huge": "no matching entries", "short": "no matching entries",
		"a:b:c": "invalid user", "www\n": "invalid user", "../x": "invalid user", "www:-1": "invalid user",
		"٣": "invalid user",
	} {
		got, err := lookUp(user, testPasswd, testGroup)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %+v, %v, want %q", user, got, err, says)
		}
	}
}

// The files are the image's: whatever they are, they are read in no time or
// refused, and nothing outside is (CVE-2024-9676).
func TestFindIdentityInHostileRoots(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(etc string) error
		ok   bool // root is found without a file
	}{
		"absent":    {func(string) error { return nil }, true},
		"fifo":      {func(etc string) error { return unix.Mkfifo(etc+"/passwd", 0o600) }, false},
		"sparse":    {func(etc string) error { return sparse(etc + "/passwd") }, false},
		"device":    {func(etc string) error { return os.Symlink("/dev/zero", etc+"/passwd") }, true},
		"outside":   {func(etc string) error { return os.Symlink("../../../../etc/passwd", etc+"/passwd") }, false},
		"loop":      {func(etc string) error { return os.Symlink("passwd", etc+"/passwd") }, false},
		"directory": {func(etc string) error { return os.Mkdir(etc+"/passwd", 0o700) }, false},
		"group":     {func(etc string) error { return unix.Mkfifo(etc+"/group", 0o600) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			etc := filepath.Join(dir, "etc")
			if err := os.Mkdir(etc, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := tt.make(etc); err != nil {
				t.Fatal(err)
			}
			root, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			got, err := findIdentity(root, "")
			if tt.ok && (err != nil || got.uid != 0 || got.home != "/") || !tt.ok && err == nil {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func sparse(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, 2<<30)
}

func FuzzLookUp(f *testing.F) {
	f.Add("www:wheel", testPasswd, testGroup)
	f.Add("0", "", "")
	f.Fuzz(func(t *testing.T, user, passwd, group string) {
		who, err := lookUp(user, passwd, group)
		if err != nil {
			return
		}
		if who.uid > maxUserID || who.gid > maxUserID || !strings.HasPrefix(who.home, "/") || strings.ContainsAny(who.home, "\n\x00") {
			t.Errorf("%q: %+v", user, who)
		}
		if name, _, _ := strings.Cut(user, ":"); isDigits(name) && strings.TrimLeft(name, "0") != "" && who.uid == 0 {
			t.Errorf("%q became root", user)
		}
	})
}
