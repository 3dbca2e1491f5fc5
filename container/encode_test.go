package container

import (
	"encoding/json"
	"testing"

	"minict/internal/fields"
)

// What is written of a Config is what package json would write: each field, in the
// same order, by the same name, and left out where it is.
func TestEncodeConfig(t *testing.T) {
	full := &Config{}
	fields.Fill(full)
	odd := &Config{
		Name: "<&>\"\\\x00\u2028é\xff", Args: []string{}, Env: []string{"A=\n", "B=\x7f"}, Labels: map[string]string{"b": "\t", "a<": "2"},
		StopTimeout: -1,
	}
	for name, c := range map[string]*Config{"full": full, "empty": {}, "odd": odd} {
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := encodeConfig(c)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, want)
		}
	}
}
