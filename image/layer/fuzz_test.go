package layer

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzUnpack: whatever the bytes, nothing outside changes, no descriptor stays
// open (both are checked by unpack), what is unpacked keeps to the rules of
// attributes, and a layer that says it is self-contained is so.
func FuzzUnpack(f *testing.F) {
	for _, c := range breakouts {
		f.Add(archive(f, c.tar...))
	}
	for _, c := range whiteouts {
		f.Add(archive(f, c.tar...))
	}
	for _, c := range parents {
		f.Add(archive(f, c.tar...))
	}
	f.Add(archive(f, file("x", "y").xattr("user.a", "b").xattr(capability, netRaw), dirEnt("d").xattr(aclDefault, userACL)))
	f.Add(sparseTar(f, 1<<20))
	f.Add(hugeRecord(f)[:4096])
	o := Options{MaxBytes: 1 << 20, MaxEntries: 200}
	f.Fuzz(func(t *testing.T, data []byte) {
		alone := newSandbox(t)
		a, errAlone := alone.unpack(data, o)
		over := newSandbox(t)
		o := o
		o.Parents = []string{over.outside} // its files must stay as they are
		b, errOver := over.unpack(data, o)
		if errAlone == nil && (errOver != nil || a != b || !a.SelfContained) {
			t.Errorf("alone %v, over a layer %v: %v", a, b, errOver)
		}
		if errOver == nil && errors.Is(errAlone, ErrNeedsParents) && b.SelfContained {
			t.Error("needs parents and is self-contained")
		}
		checkAttributes(t, over.root)
	})
}

func checkAttributes(t *testing.T, root string) {
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, name := range xattrNames(t, p) {
			mark := name == "trusted.overlay.opaque" && getXattr(t, p, name) == "y" && p != root
			if !keepXattr(name) && !mark {
				t.Errorf("%s has %s", p, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// FuzzDecompress: no panic, and gzip is what the standard library takes it for.
func FuzzDecompress(f *testing.F) {
	plain := []byte(strings.Repeat("some text to pack ", 100))
	for _, blob := range [][]byte{
		plain, gz(f, plain), zst(f, plain), append(gz(f, plain), gz(f, nil)...),
		append(skippable(0), zst(f, plain)...), windowOf(21), windowOf(10), gz(f, plain)[:30], {},
	} {
		f.Add(blob, "")
		f.Add(blob, "application/vnd.oci.image.layer.v1.tar+gzip")
	}
	const most = 1 << 20
	f.Fuzz(func(t *testing.T, blob []byte, mediaType string) {
		r, err := Decompress(bytes.NewReader(blob), mediaType)
		if err != nil {
			return
		}
		got, err := io.ReadAll(io.LimitReader(r, most))
		if e := r.Close(); e != nil {
			t.Error(e)
		}
		if want, e := gunzip(blob, most); e == nil && mediaType == "" && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
		}
	})
}

func gunzip(blob []byte, most int64) ([]byte, error) {
	r, err := stdgzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, most))
}

// FuzzParseName: what comes out can be given to openat2(2) and mkdirat(2).
func FuzzParseName(f *testing.F) {
	for _, s := range []string{"", "a", "/a/b", "../a", "a/../b", "a/../../b", "./.wh.a", ".wh..wh..opq", "a/.wh.", "//", "a//b/./c/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseName(s)
		if err != nil || n.kind == kindRoot || n.kind == kindSkip {
			return
		}
		parts := []string{n.base}
		if n.parent != "" {
			parts = append(parts, strings.Split(n.parent, "/")...)
		}
		bad := slices.ContainsFunc(parts, func(c string) bool {
			return c == "" || c == "." || c == ".." || len(c) > maxComponent || strings.Contains(c, "/")
		})
		if bad || len(parts) > maxDepth {
			t.Errorf("%q gives %+v", s, n)
		}
	})
}
