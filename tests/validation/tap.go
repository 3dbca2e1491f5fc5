// Package validation runs the OCI runtime validation programs of
// github.com/opencontainers/runtime-tools against minict, and against runc and
// crun to compare with: what one of those passes, minict has to pass. What
// remains is in remaining.txt, with the reason.
package validation

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// report is what a validation program says in the Test Anything Protocol.
type report struct {
	passed map[string]bool   // by what is asserted; a name that failed once has failed
	failed map[string]string // with what is said about it
}

// Names of assertions that the programs leave unsaid.
const (
	endsWell = "the program ends well"
	noError  = "nothing is wrong" // reported without a test number
)

var (
	line = regexp.MustCompile(`^\s*(not )?ok \d+(?: - (.*?))?(\s+# SKIP.*)?$`)
	// What differs from run to run.
	varying = regexp.MustCompile(`ocitest\d+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// read reads a program's output. Programs report some failures as a block of
// details ("---" to "...") with an "error" that follows no test.
func read(r io.Reader) (*report, error) {
	rep := &report{passed: make(map[string]bool), failed: make(map[string]string)}
	var name string // of the test that was read last, and whose block is still to come
	var failing bool
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		if m := line.FindStringSubmatch(text); m != nil {
			name, failing = varying.ReplaceAllString(m[2], "…"), m[1] != ""
			if m[3] == "" {
				rep.add(name, failing, "")
			}
			continue
		}
		switch trimmed := strings.TrimSpace(text); {
		case trimmed == "...":
			name, failing = "", false
		case !strings.HasPrefix(trimmed, `"error":`):
		case name == "":
			rep.add(noError, true, trimmed)
		case failing:
			rep.add(name, true, trimmed)
		}
	}
	return rep, lines.Err()
}

func (r *report) add(name string, failing bool, about string) {
	switch _, known := r.failed[name]; {
	case failing:
		r.failed[name] += about
		delete(r.passed, name)
	case !known:
		r.passed[name] = true
	}
}
