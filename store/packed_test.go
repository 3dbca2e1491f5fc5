package store

import (
	"reflect"
	"testing"
	"time"

	"minict/internal/fields"
)

// Every field of an image is in its record, but for those that other records
// have: its id and its names.
func TestImageRecordHasEveryField(t *testing.T) {
	var full Image
	fields.Fill(&full)
	for name, want := range map[string]Image{"full": full, "empty": {Created: time.Time{}.UTC()}} {
		var got Image
		if !got.unpack(want.pack()) {
			t.Errorf("%s: not unpacked", name)
		}
		got.ID, got.Names = want.ID, want.Names
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, packed was %+v", name, got, want)
		}
	}
}

// A record that ends early, or goes on, or is of another form, is none.
func TestCutImageRecord(t *testing.T) {
	var full, got Image
	fields.Fill(&full)
	whole := full.pack()
	for n := range len(whole) {
		if got.unpack(whole[:n:n]) {
			t.Errorf("%d of %d bytes are taken for a record", n, len(whole))
		}
	}
	if got.unpack(append(whole, 0)) {
		t.Error("a byte too many is taken")
	}
	whole[0]++
	if got.unpack(whole) {
		t.Error("another form is taken")
	}
}
