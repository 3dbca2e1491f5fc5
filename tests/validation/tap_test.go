package validation

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	r, err := read(strings.NewReader(`TAP version 13
ok 1 - first
  ---
  {
    "error": "exit status 1"
  }
  ...
not ok 2 - second
  ---
  {
    "error": "too bad"
  }
  ...
ok 3 - not here # SKIP has no /x
  ---
  {
    "error": "missing"
  }
  ...
ok 4 - often
not ok 5 - often
ok 6 - often
ok 7 - stat /tmp/ocitest123/x
  ---
  {}
  ...
  ---
  {
    "error": "hooks MUST be called"
  }
  ...
1..7
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(r.passed)); !slices.Equal(got, []string{"first", "stat /tmp/…/x"}) {
		t.Errorf("passed: %q", got)
	}
	if got := slices.Sorted(maps.Keys(r.failed)); !slices.Equal(got, []string{noError, "often", "second"}) {
		t.Errorf("failed: %q", got)
	}
	if got := r.failed["second"]; got != `"error": "too bad"` {
		t.Errorf("about second: %q", got)
	}
}
