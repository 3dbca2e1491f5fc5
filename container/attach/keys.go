package attach

import (
	"fmt"
	"strings"
)

// DefaultKeys are the keys that detach from a container.
const DefaultKeys = "ctrl-p,ctrl-q"

// ParseKeys turns a list of keys, separated by commas, into the bytes that a
// terminal sends for them. A key is a character, or ctrl- and one of a-z, @, [,
// \, ], ^ and _. The empty list is DefaultKeys.
func ParseKeys(list string) ([]byte, error) {
	if list == "" {
		list = DefaultKeys
	}
	var keys []byte
	for _, key := range strings.Split(list, ",") {
		name, ctrl := strings.CutPrefix(key, "ctrl-")
		if len(name) != 1 || name[0] < ' ' || name[0] > '~' {
			return nil, fmt.Errorf("bad key %q in detach keys %q", key, list)
		}
		c := name[0]
		if ctrl {
			upper := c
			if c >= 'a' && c <= 'z' {
				upper -= 'a' - 'A'
			}
			if upper < '@' || upper > '_' {
				return nil, fmt.Errorf("bad key %q in detach keys %q", key, list)
			}
			c = upper & 0x1f
		}
		keys = append(keys, c)
	}
	return keys, nil
}
