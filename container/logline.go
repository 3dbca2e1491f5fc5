package container

import (
	"bytes"
	"time"
)

// A container's log has lines of the form that Kubernetes gave the container
// runtime interface (CRI): a time in RFC 3339 with nanoseconds, the stream,
// F for a full line or P for a part of one that goes on, and the text.
//
//	2026-11-23T17:05:01.000000001Z stdout F hello
type logLine struct {
	raw    []byte // with the newline at its end
	time   []byte
	stderr bool
	part   bool
	text   []byte // without a newline
}

// parseLogLine reads a line with its newline. Only what a crash cut off, or a
// damaged disk wrote, is not of the form.
func parseLogLine(raw []byte) (logLine, bool) {
	l := logLine{raw: raw}
	rest, ok := bytes.CutSuffix(raw, []byte("\n"))
	if !ok {
		return l, false
	}
	var stream, tag []byte
	if l.time, rest, ok = bytes.Cut(rest, []byte(" ")); !ok {
		return l, false
	}
	if stream, rest, ok = bytes.Cut(rest, []byte(" ")); !ok {
		return l, false
	}
	if tag, l.text, ok = bytes.Cut(rest, []byte(" ")); !ok {
		return l, false
	}
	l.stderr, l.part = string(stream) == "stderr", string(tag) == "P"
	return l, (l.stderr || string(stream) == "stdout") && (l.part || string(tag) == "F")
}

// when is the line's time; zero if it has none.
func (l logLine) when() time.Time {
	t, _ := time.Parse(time.RFC3339Nano, string(l.time))
	return t
}
