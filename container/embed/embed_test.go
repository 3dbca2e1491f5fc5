package embed

import (
	"regexp"
	"testing"
)

func TestName(t *testing.T) {
	name, err := Monitor().Name()
	if err != nil || !regexp.MustCompile(`^monitor-[0-9a-f]{10,16}$`).MatchString(name) {
		t.Fatalf("got %q, %v", name, err)
	}
	whole := Monitor().Data
	for _, bad := range []string{"", "\x7fELF", whole[4<<10:], "\xff\xff\xff\xff\x04\x00\x00\x00Go\x00\x00abc"} {
		if name, err := (Program{"monitor", bad}).Name(); err == nil {
			t.Errorf("%.10q has the name %s", bad, name)
		}
	}
}
