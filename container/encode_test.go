package container

import (
	"encoding/json"
	"reflect"
	"testing"

	"minict/internal/fields"
)

// configs are such that each field is there, none, or in an odd form.
func configs() map[string]*Config {
	full := &Config{}
	fields.Fill(full)
	for i := range full.Exposed {
		full.Exposed[i].Protocol = "udp"
	}
	odd := &Config{
		Name: "<&>\"\\\x00\u2028é\xff", Args: []string{}, Env: []string{"A=\n", "B=\x7f"}, Labels: map[string]string{"b": "\t", "a<": "2"},
		StopTimeout: -1, Mounts: []Mount{{Target: "]}\"\\"}},
	}
	return map[string]*Config{"full": full, "empty": {}, "odd": odd}
}

// What is written of a Config is what package json would write: each field, in the
// same order, by the same name, and left out where it is.
func TestEncodeConfig(t *testing.T) {
	for name, c := range configs() {
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

// What was written is read without package json, and becomes what that makes of it.
func TestDecodeConfig(t *testing.T) {
	for name, c := range configs() {
		raw, err := encodeConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		var want, got Config
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		p := parser{rest: raw}
		if p.object(configFields, &got); p.bad || len(p.rest) > 0 {
			t.Errorf("%s: not read: %s", name, raw)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

// In any other form it is read all the same.
func TestDecodeConfigOfAnotherForm(t *testing.T) {
	var c Config
	if err := decodeConfig([]byte(`{ "name": "b", "id": "a", "more": 1 }`), &c); err != nil || c.ID != "a" || c.Name != "b" {
		t.Errorf("%+v, %v", c, err)
	}
	if err := decodeConfig([]byte(`{"id":`), &c); err == nil {
		t.Error("half a Config is read")
	}
}

// Whatever the bytes, what is read is what package json reads.
func FuzzDecodeConfig(f *testing.F) {
	for _, c := range configs() {
		raw, err := encodeConfig(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"id":"a","args":null,"labels":{"a":"b","a":"c"},"resources":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want, got Config
		wrong := json.Unmarshal(raw, &want)
		err := decodeConfig(raw, &got)
		if (err == nil) != (wrong == nil) {
			t.Fatalf("%v; package json says %v", err, wrong)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	})
}
