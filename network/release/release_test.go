package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minict/network/table"
)

// What is the container's goes, what is somebody else's by now stays, and then
// the file goes too.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	const id = "0123456789abcdef"
	for name, text := range map[string]string{"mine": id, "other": id + "0", "short": "0123", "name/a": id, "shared/a": id, "shared/b": "other"} {
		if err := os.MkdirAll(filepath.Dir(path(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(text, path(name)); err != nil {
			t.Fatal(err)
		}
	}
	lines := []string{"container " + id, "lock " + path("lock"), "unplug there-is-none", "a verb of tomorrow's"}
	for _, name := range []string{"mine", "other", "short", "missing", "name/a", "shared/a"} {
		lines = append(lines, "link "+path(name))
	}
	lines = append(lines, "rmdir "+path("name"), "rmdir "+path("shared"), "rmdir "+path("missing"), "")
	if err := os.WriteFile(path(Name), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(dir); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"mine": false, "other": true, "short": true, "name": false, "shared/a": false, "shared/b": true, Name: false} {
		if _, err := os.Lstat(path(name)); (err == nil) != stays {
			t.Errorf("%s: %v, want it to stay: %v", name, err, stays)
		}
	}
	if err := Run(dir); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// With an error the file stays, for the next to try again, and the rest is done.
func TestGoesOnAfterAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x", dir+"/mine"); err != nil {
		t.Fatal(err)
	}
	text := "container x\nrmdir " + dir + "/file\nport nonsense\nlink " + dir + "/mine\n"
	if err := os.WriteFile(dir+"/"+Name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Locked(dir); err == nil {
		t.Error("no error")
	}
	if _, err := os.Lstat(dir + "/mine"); err == nil {
		t.Error("the link is left")
	}
	if _, err := os.Lstat(dir + "/" + Name); err != nil {
		t.Error("the file is gone")
	}
}

func FuzzParsePort(f *testing.F) {
	f.Add(FormatPort(table.Port{Protocol: 6, Host: make([]byte, 4), HostPort: 80, To: []byte{10, 0, 0, 2}, ToPort: 8080}))
	f.Add(FormatPort(table.Port{Protocol: 17, Host: make([]byte, 16), HostPort: 65535, To: make([]byte, 16), ToPort: 1}))
	f.Add("06 00 0050 00 0050 ")
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := ParsePort(text); ok && FormatPort(p) != text {
			t.Errorf("%q becomes %q", text, FormatPort(p))
		}
	})
}
