package monitor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

func openLog(t *testing.T, max uint64) (l *logFile, dir string) {
	t.Helper()
	dir = t.TempDir()
	l = &logFile{fd: -1, dir: -1}
	if err := l.open(dir, max); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l, dir
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)$`)

// text puts the output together again that a log tells of, and checks its form.
func text(t *testing.T, log string) (out string) {
	t.Helper()
	for line := range strings.Lines(log) {
		m := logLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("malformed line %.100q", line)
		}
		out += m[3]
		if m[2] == "F" {
			out += "\n"
		}
	}
	return out
}

func TestLog(t *testing.T) {
	tests := []struct {
		name   string
		pieces []string
		lines  int
	}{
		{"line", []string{"a line\n"}, 1},
		{"two lines at once", []string{"one\ntwo\n"}, 2},
		{"empty lines", []string{"\n\n\n"}, 3},
		{"line in pieces", []string{"a ", "li", "ne\nand"}, 4},
		{"only an end", []string{"x", "\n"}, 2},
		{"many short lines", []string{strings.Repeat("y\n", 30000)}, 30000},
		{"a line as long as a message", []string{strings.Repeat("x", wire.MaxData)}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, dir := openLog(t, 0)
			for _, p := range tt.pieces {
				l.write(wire.TypeStdout, []byte(p))
			}
			log := read(t, dir+"/log")
			if got := text(t, log); got != strings.Join(tt.pieces, "") {
				t.Errorf("got %.100q", got)
			}
			if n := strings.Count(log, "\n"); n != tt.lines {
				t.Errorf("%d lines, want %d", n, tt.lines)
			}
		})
	}
}

func TestLogStreams(t *testing.T) {
	l, dir := openLog(t, 0)
	l.write(wire.TypeStdout, []byte("out\n"))
	l.write(wire.TypeStderr, []byte("err"))
	log := read(t, dir+"/log")
	if !strings.Contains(log, "Z stdout F out\n") || !strings.HasSuffix(log, "Z stderr P err\n") {
		t.Errorf("got %q", log)
	}
	st, err := os.Stat(dir + "/log")
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// A log is never larger than its limit and one message, and never lost by more
// than what the older half holds.
func TestLogRotates(t *testing.T) {
	const max = 1000
	l, dir := openLog(t, max)
	for i := range 200 {
		l.write(wire.TypeStdout, []byte(strings.Repeat(string(rune('a'+i%26)), 50)+"\n"))
	}
	now, old := read(t, dir+"/log"), read(t, dir+"/log.1")
	if len(now) > max+100 || len(old) > max+100 || len(old) < max {
		t.Errorf("%d and %d bytes", len(now), len(old))
	}
	if !strings.HasSuffix(text(t, old+now), strings.Repeat(string(rune('a'+199%26)), 50)+"\n") {
		t.Error("the last line is not there")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("files: %v", entries)
	}
	// The next start goes on where this one ended.
	next := &logFile{fd: -1, dir: -1}
	if err := next.open(dir, max); err != nil {
		t.Fatal(err)
	}
	defer next.close()
	next.write(wire.TypeStdout, []byte("next\n"))
	if got := read(t, dir+"/log"); !strings.HasPrefix(got, now) || len(got) <= len(now) || next.size != uint64(len(got)) {
		t.Errorf("goes on with %d bytes as if they were %d, there were %d", len(got), next.size, len(now))
	}
}

// What can't be written is missing, and the log says so; nothing else happens.
func TestLogOnFullDisk(t *testing.T) {
	l, dir := openLog(t, 0)
	l.write(wire.TypeStdout, []byte("before\n"))
	fd := l.fd
	full, err := unix.Open("/dev/full", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.fd = full
	l.write(wire.TypeStdout, []byte("12345"))
	l.write(wire.TypeStderr, []byte("67890\n"))
	l.fd = fd
	unix.Close(full)
	l.write(wire.TypeStdout, []byte("after\n"))
	want := "before\nminict: 11 bytes of output are missing here\nafter\n"
	if got := text(t, read(t, dir+"/log")); got != want {
		t.Errorf("got %q", got)
	}
}

// A line that was written in part only is ended before the next.
func TestLogTorn(t *testing.T) {
	l, dir := openLog(t, 0)
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(l.fd, []byte("torn")); err != nil {
		t.Fatal(err)
	}
	l.torn, l.lost = true, 3
	l.write(wire.TypeStdout, []byte("x\n"))
	lines := strings.SplitAfter(read(t, dir+"/log"), "\n")
	if len(lines) != 4 || lines[0] != "torn\n" || !strings.HasSuffix(lines[1], "minict: 3 bytes of output are missing here\n") {
		t.Errorf("got %q", lines)
	}
}

// The log is never written through a link, nor to what is not a file.
func TestLogIsAFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink("/dev/null", path) },
		"fifo": func(path string) error { return unix.Mkfifo(path, 0o600) },
		"dir":  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		if err := make(filepath.Join(dir, "log")); err != nil {
			t.Fatal(err)
		}
		l := &logFile{fd: -1, dir: -1}
		if err := l.open(dir, 0); err != nil {
			t.Fatal(err)
		}
		if l.write(wire.TypeStdout, []byte("text\n")); l.fd >= 0 || l.lost == 0 {
			t.Errorf("%s was opened", name)
		}
		l.close()
	}
	l := &logFile{fd: -1, dir: -1}
	if err := l.open(t.TempDir()+"/missing", 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no directory: %v", err)
	}
	l.write(wire.TypeStdout, []byte("goes nowhere"))
}

func TestLogAllocatesNothing(t *testing.T) {
	l, _ := openLog(t, 0)
	data := bytes.Repeat([]byte("some output\n"), 100)
	if n := testing.AllocsPerRun(100, func() { l.write(wire.TypeStdout, data) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
