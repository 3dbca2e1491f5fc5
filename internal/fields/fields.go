// Package fields makes values for tests that have to see every field of a type, so
// that a field added later can't be forgotten.
package fields

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"
)

// Fill sets everything that is reachable from the pointer into to a value that is
// not zero, and nowhere else: numbers count up, lists and maps have two entries. It
// panics at what it can't set.
func Fill(into any) { (&filler{}).set(reflect.ValueOf(into).Elem()) }

type filler struct{ last int }

func (f *filler) next() int { f.last++; return f.last }

func (f *filler) set(v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(f.next()), int64(f.next())).UTC()))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(f.next())})))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(f.next())}), 16)))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.next() % 128))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(f.next() % 256))
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", f.next()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.set(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.set(v.Index(0))
		f.set(v.Index(1))
	case reflect.Array:
		for i := range v.Len() {
			f.set(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.set(key)
			f.set(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f.set(v.Field(i))
		}
	default:
		panic(fmt.Sprintf("fields: a %s can't be set", v.Type()))
	}
}
