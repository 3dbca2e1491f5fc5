package plan

import (
	"errors"
	"reflect"
	"testing"
	"unsafe"
)

func TestForeignBytesAreNoPlan(t *testing.T) {
	var b Builder
	b.Step(Step{Phase: Child, Verb: "exec"})
	b.Call(1)
	other := b.Plan(0, NoSlot).Encode()
	if _, err := Load(other); err != nil {
		t.Fatal(err)
	}
	other[0]++ // of its magic
	for _, mem := range [][]byte{nil, make([]byte, 10), make([]byte, 1000), other} {
		if _, err := Load(mem); !errors.Is(err, ErrEncoding) {
			t.Errorf("%d bytes: got %v", len(mem), err)
		}
	}
}

// A plan that is made ready where it was made is the one that is loaded elsewhere.
func TestReadyIsLoaded(t *testing.T) {
	build := func() *Plan {
		var b Builder
		in, slot := b.Input("root"), b.Slot()
		b.Step(Step{Phase: Host, Verb: "open"})
		b.Call(1, in.Value(), b.Str("name"), Int(-1)).Into(slot).Ignore(2)
		b.Step(Step{Phase: Child, Verb: "exec"})
		b.Call(2, b.Strs([]string{"a", "b"}), b.Words(b.Str("c"), Int(7)))
		return b.Plan(5, slot)
	}
	loaded, err := Load(build().Encode())
	if err != nil {
		t.Fatal(err)
	}
	ready := build().Ready()
	// The one difference: where the data lies.
	to, from := uint64(uintptr(unsafe.Pointer(&ready.Data[0]))), uint64(uintptr(unsafe.Pointer(&loaded.Data[0])))
	for phase, ops := range loaded.Ops {
		for i := range ops {
			for j, arg := range ops[i].Args {
				if arg >= from && arg < from+uint64(len(loaded.Data)) {
					ops[i].Args[j] += to - from
				}
			}
		}
		if len(ops) == 0 {
			loaded.Ops[phase] = nil
		}
	}
	for at := 0; at+8 <= len(loaded.Data); at += 8 {
		word := (*uint64)(unsafe.Pointer(&loaded.Data[at]))
		if *word >= from && *word < from+uint64(len(loaded.Data)) {
			*word += to - from
		}
	}
	if !reflect.DeepEqual(ready, loaded) {
		t.Errorf("ready\n%+v\nloaded\n%+v", ready, loaded)
	}
}
