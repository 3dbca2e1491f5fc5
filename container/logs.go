package container

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// LogOptions choose from a container's output.
type LogOptions struct {
	Follow       bool
	Tail         int // number of last lines; negative is all
	Since, Until time.Time
	Timestamps   bool // a line begins with its time, RFC 3339 with nanoseconds
}

// Logs writes a container's output: what it wrote to its standard output to
// stdout, its standard error to stderr. With Follow it goes on until the
// container has ended.
func (m *Manager) Logs(ctx context.Context, ref string, o LogOptions, stdout, stderr io.Writer) error {
	id, err := m.Lookup(ref)
	if err != nil {
		return err
	}
	if _, err := m.config(id); err != nil {
		return err
	}
	r := &logReader{dir: m.durableDir(id), o: o, out: stdout, err: stderr}
	defer r.close()
	if !o.Follow {
		return r.history()
	}
	// Watch first and look then: nothing can fall between.
	changes, stop, err := watch(r.dir)
	if err != nil {
		return fmt.Errorf("watch %s: %w", r.dir, err)
	}
	defer stop()
	ended, err := m.ended(ctx, id)
	if err != nil {
		return err
	}
	if err := r.history(); err != nil {
		return err
	}
	for {
		select {
		case <-changes:
		case <-ended:
			return r.follow()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.follow(); err != nil {
			return err
		}
	}
}

// logReader reads a log that may be growing, and be rotated: log is then
// renamed to log.1, and a new log begun.
type logReader struct {
	dir      string
	o        LogOptions
	out, err io.Writer

	file    *os.File
	in      *bufio.Reader
	held    []byte // a line whose end is not written yet
	partOut bool   // the last thing written to out was a part of a line
	partErr bool
}

func (r *logReader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// open goes on with a file of the log; one that isn't there is empty.
func (r *logReader) open(name string) error {
	f, err := os.OpenFile(filepath.Join(r.dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.close()
	r.file, r.held = f, nil
	if r.in == nil {
		r.in = bufio.NewReaderSize(f, 64<<10)
	} else {
		r.in.Reset(f)
	}
	return nil
}

// history writes what there is. The reader then stands at its end.
func (r *logReader) history() error {
	skip, err := r.skip()
	if err != nil {
		return err
	}
	for _, name := range []string{"log.1", "log"} {
		if err := r.open(name); err != nil {
			return err
		}
		if r.file == nil {
			continue
		}
		if err := r.lines(func(l logLine) error {
			if skip > 0 {
				if !l.part {
					skip--
				}
				return nil
			}
			return r.write(l)
		}); err != nil {
			return err
		}
		if name == "log.1" {
			r.close()
			r.file = nil
		}
	}
	return nil
}

// skip counts how many lines stand before the last ones that are wanted. Since
// and Until choose from these, as Docker has it.
func (r *logReader) skip() (int, error) {
	if r.o.Tail < 0 {
		return 0, nil
	}
	lines := 0
	count := &logReader{dir: r.dir}
	defer count.close()
	for _, name := range []string{"log.1", "log"} {
		if err := count.open(name); err != nil {
			return 0, err
		}
		if count.file == nil {
			continue
		}
		if err := count.lines(func(l logLine) error {
			if !l.part {
				lines++
			}
			return nil
		}); err != nil {
			return 0, err
		}
		count.close()
		count.file = nil
	}
	return max(0, lines-r.o.Tail), nil
}

// follow writes what was added since.
func (r *logReader) follow() error {
	for {
		if r.file != nil {
			if err := r.lines(r.write); err != nil {
				return err
			}
		}
		current, err := os.Lstat(filepath.Join(r.dir, "log"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.file != nil {
			own, err := r.file.Stat()
			if err != nil || os.SameFile(own, current) {
				return err
			}
			// It was rotated; between the last read and the renaming
			// more may have come.
			if err := r.lines(r.write); err != nil {
				return err
			}
		}
		if err := r.open("log"); err != nil || r.file == nil {
			return err
		}
	}
}

// lines reads to the end of the file as it is now.
func (r *logReader) lines(do func(logLine) error) error {
	for {
		line, err := r.in.ReadSlice('\n')
		if err == bufio.ErrBufferFull || err == io.EOF {
			r.held = append(r.held, line...)
			if err == io.EOF {
				return nil
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if len(r.held) > 0 {
			line = append(r.held, line...)
			r.held = r.held[:0]
		}
		if l, ok := parseLogLine(line); ok {
			if err := do(l); err != nil {
				return err
			}
		}
	}
}

func (r *logReader) write(l logLine) error {
	to, part := r.out, &r.partOut
	if l.stderr {
		to, part = r.err, &r.partErr
	}
	if !r.o.Since.IsZero() || !r.o.Until.IsZero() {
		t := l.when()
		if t.Before(r.o.Since) || !r.o.Until.IsZero() && t.After(r.o.Until) {
			return nil
		}
	}
	if r.o.Timestamps && !*part {
		if _, err := to.Write(append(l.time[:len(l.time):len(l.time)], ' ')); err != nil {
			return err
		}
	}
	*part = l.part
	text := l.text
	if !l.part {
		text = l.raw[len(l.raw)-len(l.text)-1:] // with the newline
	}
	_, err := to.Write(text)
	return err
}
