package oci

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// fill gives every field a value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint8:
		v.SetUint(7)
	}
}

// Nothing of a configuration is lost, but what is for other systems.
func TestParseConfig(t *testing.T) {
	var want specs.Spec
	fill(reflect.ValueOf(&want).Elem())
	want.Version = "1.3.0"
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	want.Solaris, want.Windows, want.VM, want.ZOS, want.FreeBSD = nil, nil, nil, nil, nil
	if !reflect.DeepEqual(*got, want) {
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestParseConfigErrors(t *testing.T) {
	for _, raw := range []string{
		"", "{", "[]", "{}", `{"ociVersion":"2.0.0"}`, `{"ociVersion":"1.0.0"} x`, `{"ociVersion":"1.0.0","linux":7}`,
		`{"ociVersion":"1.0.0","hooks":7}`, `{"ociVersion":"1.0.0","linux":{"seccomp":[]}}`, `{"ociVersion":"1.0.0","process":{"scheduler":1}}`,
	} {
		if _, err := parseConfig([]byte(raw)); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", raw, err)
		}
	}
	spec, err := parseConfig([]byte(`{"ociVersion":"1.0.0","hooks":null,"linux":{"seccomp":null}}`))
	if err != nil || spec.Hooks != nil || spec.Linux.Seccomp != nil {
		t.Errorf("%v, %v", spec, err)
	}
}

// What package encoding/json makes of a configuration, this makes of it too.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.0.0","process":{"args":["x"]},"linux":{"resources":{"pids":{"limit":1}}},"hooks":{"poststop":[{"path":"/x"}]}}`))
	f.Add([]byte(`{"ociVersion":"1.0.0","Linux":{"Seccomp":{}},"linux":{"seccomp":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseConfig(raw)
		var want specs.Spec
		plain := json.Unmarshal(raw, &want)
		if err == nil && plain != nil && want.Windows == nil && want.Solaris == nil && want.VM == nil && want.ZOS == nil && want.FreeBSD == nil {
			t.Fatalf("accepted, and json says %v", plain)
		}
		if err != nil || plain != nil {
			return
		}
		want.Solaris, want.Windows, want.VM, want.ZOS, want.FreeBSD = nil, nil, nil, nil, nil
		a, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("got\n%s\nwant\n%s", a, b)
		}
	})
}
