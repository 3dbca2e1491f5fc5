package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testLog1 = `2026-11-23T17:00:00.000000001Z stdout F one
2026-11-23T17:00:01.000000001Z stderr F two
`

const testLog = `2026-11-23T17:00:02.000000001Z stdout P thr
2026-11-23T17:00:03.000000001Z stdout F ee
2026-11-23T17:00:04.000000001Z stdout F 
not a line of a log
2026-11-23T17:00:05.000000001Z stdout F five  with spaces
2026-11-23T17:00:06.000000001Z stdout P end`

func writeLogs(t *testing.T, m *Manager, id string) {
	t.Helper()
	for name, content := range map[string]string{"log.1": testLog1, "log": testLog} {
		if err := os.WriteFile(filepath.Join(m.durableDir(id), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogs(t *testing.T) {
	m := manager(t)
	id := create(t, m, Options{})
	writeLogs(t, m, id)
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339, "2026-11-23T17:00:"+s+"Z")
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, tt := range []struct {
		name     string
		o        LogOptions
		out, err string
	}{
		{"all", LogOptions{Tail: -1}, "one\nthree\n\nfive  with spaces\n", "two\n"},
		{"tail", LogOptions{Tail: 2}, "\nfive  with spaces\n", ""},
		{"tail of parts", LogOptions{Tail: 3}, "three\n\nfive  with spaces\n", ""},
		{"tail over both", LogOptions{Tail: 4}, "three\n\nfive  with spaces\n", "two\n"},
		{"tail of more", LogOptions{Tail: 100}, "one\nthree\n\nfive  with spaces\n", "two\n"},
		{"none", LogOptions{Tail: 0}, "", ""},
		{"since", LogOptions{Tail: -1, Since: at("03")}, "ee\n\nfive  with spaces\n", ""},
		{"until", LogOptions{Tail: -1, Until: at("01")}, "one\n", ""},
		{"times", LogOptions{Tail: -1, Timestamps: true, Until: at("04")}, "2026-11-23T17:00:00.000000001Z one\n2026-11-23T17:00:02.000000001Z three\n", "2026-11-23T17:00:01.000000001Z two\n"},
		{"follow", LogOptions{Tail: 1, Follow: true}, "five  with spaces\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		if err := m.Logs(t.Context(), id, tt.o, &stdout, &stderr); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if stdout.String() != tt.out || stderr.String() != tt.err {
			t.Errorf("%s: got %q and %q, want %q and %q", tt.name, stdout.String(), stderr.String(), tt.out, tt.err)
		}
	}
	if err := m.Logs(t.Context(), "none", LogOptions{}, io.Discard, io.Discard); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// A log is opened where minict put it, and no link leads elsewhere
// (GHSA-rgh6-rfwx-v388).
func TestLogsFollowNoLinks(t *testing.T) {
	m := manager(t)
	id := create(t, m, Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(testLog1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(m.durableDir(id), "log")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := m.Logs(t.Context(), id, LogOptions{Tail: -1}, &out, &out); err == nil || out.Len() > 0 {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// Who follows gets each line once, over rotations, to the end of the container.
func TestLogsFollow(t *testing.T) {
	m := manager(t)
	id := create(t, m, Options{})
	lock, err := m.claim(t.Context(), id) // stands for a monitor
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(m.durableDir(id), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	got, seen := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := m.Logs(context.Background(), id, LogOptions{Tail: -1, Follow: true}, seen, seen)
		seen.Close()
		done <- err
	}()
	var want, read bytes.Buffer
	buf := make([]byte, 4096)
	for i := range 30 {
		if i%10 == 9 {
			f.Close()
			if err := os.Rename(log, log+".1"); err != nil {
				t.Fatal(err)
			}
			if f, err = os.Create(log); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprintf("line %d\n", i)
		want.WriteString(text)
		line := "2026-11-23T17:00:00Z stdout F " + text
		// A line may come in two pieces.
		for _, piece := range []string{line[:i], line[i:]} {
			if _, err := f.WriteString(piece); err != nil {
				t.Fatal(err)
			}
		}
		for read.Len() < want.Len() {
			n, err := got.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			read.Write(buf[:n])
		}
	}
	if _, err := f.WriteString("2026-11-23T17:00:00Z stdout F last\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	want.WriteString("last\n")
	if err := lock.release(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(got)
	if err != nil {
		t.Fatal(err)
	}
	read.Write(rest)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if read.String() != want.String() {
		t.Errorf("got %q, want %q", read.String(), want.String())
	}
}

func TestLogsFollowEndsWithContext(t *testing.T) {
	m := manager(t)
	id := create(t, m, Options{})
	lock, err := m.claim(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Logs(ctx, id, LogOptions{Follow: true}, io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := lock.release(); err != nil {
		t.Fatal(err)
	}
}

func FuzzLogLine(f *testing.F) {
	f.Add([]byte(testLog1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, ok := parseLogLine(raw)
		l.when()
		if ok && !strings.HasSuffix(string(raw), string(l.text)+"\n") {
			t.Errorf("%q: text %q", raw, l.text)
		}
	})
}
