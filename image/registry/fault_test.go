package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"minict/store"
)

const (
	blobSize = 3 << 17
	piece    = blobSize / 3
)

// blobFault is one line of the fault matrix, as it happens to one blob.
type blobFault struct {
	name string
	on   func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool
	// what has to come of it
	want error  // nil: the right bytes
	text string // in the error
	max  int    // requests for the blob at most; 0 is one
	most int64  // bytes of the blob that go over the wire at most; 0 is its size
}

var blobFaults = []blobFault{
	{name: "no fault"},
	{name: "broken once", max: 2, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			f.partial(w, r, piece)
		}
		return false
	}},
	{name: "broken four times, little each", max: 5, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n <= 4 {
			f.partial(w, r, 1000)
		}
		return false
	}},
	{name: "always truncated", max: 5, want: ErrCorrupt, text: "truncated after",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			f.partial(w, r, 100)
			return true
		}},
	{name: "range answered by the whole", max: 2, most: blobSize + piece,
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				f.partial(w, r, piece)
			}
			r.Header.Del("Range")
			return false
		}},
	{name: "range from another offset", max: 2, most: 2 * blobSize, want: ErrCorrupt, text: "asked for the bytes from",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				f.partial(w, r, piece)
			}
			r.Header.Set("Range", "bytes=17-")
			return false
		}},
	{name: "range of another size", max: 2, want: ErrCorrupt, text: "asked for the bytes from",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				f.partial(w, r, piece)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset(r), blobSize, blobSize+1))
			w.WriteHeader(206)
			return true
		}},
	{name: "range not satisfiable", max: 2, want: errAny, text: "416",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				f.partial(w, r, piece)
			}
			w.WriteHeader(416)
			return true
		}},
	{name: "206 without being asked", want: ErrCorrupt,
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(206)
			return true
		}},
	{name: "wrong bytes, same length", want: ErrCorrupt, text: "wrong digest",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			w.Write(bytes.Repeat([]byte{7}, blobSize))
			return true
		}},
	{name: "wrong bytes in what a range brought", max: 2, want: ErrCorrupt, text: "wrong digest",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				f.partial(w, r, piece)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset(r), blobSize-1, blobSize))
			w.WriteHeader(206)
			w.Write(make([]byte, blobSize-offset(r)))
			return true
		}},
	{name: "longer, and says so", want: ErrCorrupt, text: "wrong size",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("Content-Length", strconv.Itoa(blobSize+1))
			w.Write(make([]byte, blobSize+1))
			return true
		}},
	{name: "shorter, and says so", want: ErrCorrupt, text: "wrong size",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("Content-Length", "10")
			w.Write(make([]byte, 10))
			return true
		}},
	{name: "longer, chunked", want: ErrCorrupt, text: "more than the",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			w.(http.Flusher).Flush()
			w.Write(f.blobs[store.Digest(filepath.Base(r.URL.Path))])
			w.Write([]byte("more"))
			return true
		}},
	{name: "chunked without length", on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		w.(http.Flusher).Flush()
		return false
	}},
	{name: "whole, then broken", on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		w.(http.Flusher).Flush()
		w.Write(f.blobs[store.Digest(filepath.Base(r.URL.Path))])
		abort(w)
		return true
	}},
	{name: "503 three times", max: 4, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n <= 3 {
			w.WriteHeader(503)
		}
		return n <= 3
	}},
	{name: "500 for ever", max: 5, want: errAny, text: "answers 500",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			w.WriteHeader(500)
			return true
		}},
	{name: "429 once", max: 2, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			w.Header().Set("Retry-After", "1000000000")
			w.WriteHeader(429)
		}
		return n == 1
	}},
	{name: "429 for ever", max: 5, want: errAny, text: "too many requests",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("Retry-After", "-5")
			w.WriteHeader(429)
			return true
		}},
	{name: "404", want: ErrUnknown, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		refuse(w, 404, "BLOB_UNKNOWN")
		return true
	}},
	{name: "403", want: errAny, text: "pull access denied", on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		refuse(w, 403, "DENIED")
		return true
	}},
	{name: "gone after a break", max: 2, want: ErrUnknown,
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				f.partial(w, r, piece)
			}
			refuse(w, 404, "BLOB_UNKNOWN")
			return true
		}},
	{name: "silent body", max: 5, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			w.Header().Set("Content-Length", strconv.Itoa(blobSize))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			abort(w)
		}
		return false
	}},
	{name: "silent header", max: 5, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			<-r.Context().Done()
			abort(w)
		}
		return false
	}},
	{name: "redirect loop", max: 11, want: ErrRefused, text: "redirects",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			http.Redirect(w, r, r.URL.Path, 307)
			return true
		}},
	{name: "redirect to itself elsewhere", on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if !r.URL.Query().Has("again") {
			http.Redirect(w, r, r.URL.Path+"?again=1", 302)
			return true
		}
		return false
	}, max: 2},
	{name: "redirect to nowhere", want: ErrCorrupt, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		w.WriteHeader(307)
		return true
	}},
	{name: "redirect to a file", want: ErrRefused, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Location", "file:///etc/passwd")
		w.WriteHeader(302)
		return true
	}},
	{name: "redirect with a password", want: ErrRefused, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Location", "https://u:p@"+f.host()+r.URL.Path)
		w.WriteHeader(302)
		return true
	}},
	{name: "content encoding put on by a proxy", on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Content-Encoding", "gzip")
		return false
	}},
	{name: "token expired", max: 2, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 && f.auth == bearer {
			f.expire()
			return !f.authorized(w, r)
		}
		return false
	}},
	{name: "token expired between ranges", max: 3, on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			f.expire()
			f.partial(w, r, piece)
		}
		return false
	}},
	{name: "never authorized", max: 2, want: errAny, text: "refuses the user name or password|pull access denied",
		on: func(f *fake, w http.ResponseWriter, r *http.Request, n int) bool {
			f.mu.Lock()
			f.valid = ""
			f.mu.Unlock()
			if f.auth == bearer {
				return !f.authorized(w, r)
			}
			refuse(w, 401, "UNAUTHORIZED")
			return true
		}},
}

// errAny stands for an error of no named kind.
var errAny = errors.New("any")

func TestBlobFaults(t *testing.T) {
	for _, auth := range []string{anonymous, basic, bearer} {
		for _, http2 := range []bool{false, true} {
			for _, fault := range blobFaults {
				t.Run(fmt.Sprintf("%s/http2=%v/%s", auth, http2, fault.name), func(t *testing.T) {
					t.Parallel()
					fault.run(t, auth, http2)
				})
			}
		}
	}
}

func (fault blobFault) run(t *testing.T, auth string, http2 bool) {
	watchdog(t)
	f := newFake(t, auth, http2)
	want := f.addBlob(blobSize)
	if fault.on != nil {
		f.on = func(w http.ResponseWriter, r *http.Request, n int) bool { return fault.on(f, w, r, n) }
	}
	cfg := f.config()
	if strings.HasPrefix(fault.name, "silent") {
		cfg.StallTimeout = 300 * time.Millisecond
		cfg.HeaderTimeout = 300 * time.Millisecond
	}
	got, err := readBlob(f.repo(cfg), want)
	checkError(t, err, fault.want, fault.text)
	if err == nil && store.DigestOf(got) != want.Digest {
		t.Errorf("the bytes are not those of the blob")
	}
	if n := len(f.requests(string(want.Digest))); n > max(fault.max, 1) {
		t.Errorf("%d requests, want at most %d", n, max(fault.max, 1))
	}
	if most := max(fault.most, blobSize); f.sent > most {
		t.Errorf("%d bytes were sent, want at most %d", f.sent, most)
	}
	for _, r := range f.requests("/") {
		if e := r.Header.Get("Accept-Encoding"); e != "identity" {
			t.Errorf("%s: Accept-Encoding %q", r.URL.Path, e)
		}
	}
}

func readBlob(r *Repository, want store.Descriptor) ([]byte, error) {
	blob, err := r.Blob(context.Background(), want)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

// checkError checks an error's kind and one of the texts between bars in it,
// and that it is one line.
func checkError(t *testing.T, err, want error, texts string) {
	t.Helper()
	if want == nil {
		if err != nil {
			t.Errorf("error: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("no error, want %v %q", want, texts)
	}
	if want != errAny && !errors.Is(err, want) {
		t.Errorf("error %q is not %q", err, want)
	}
	if !slices.ContainsFunc(strings.Split(texts, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) {
		t.Errorf("error %q does not say %q", err, texts)
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 || strings.Contains(err.Error(), password) {
		t.Errorf("not a line for the user: %q", err)
	}
}

// TestLongWay: a blob may break more often than there are tries if each try
// brings it on.
func TestLongWay(t *testing.T) {
	watchdog(t)
	f := newFake(t, anonymous, false)
	want := f.addBlob(9 * enough)
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		f.partial(w, r, enough)
		return true
	}
	if _, err := readBlob(f.repo(f.config()), want); err != nil {
		t.Error(err)
	}
	if n := len(f.requests("blobs")); n != 9 {
		t.Errorf("%d requests, want 9", n)
	}
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		r.Header.Del("Range") // what a try brings is what the one before brought
		f.partial(w, r, (n-8)*enough)
		return true
	}
	_, err := readBlob(f.repo(f.config()), want)
	checkError(t, err, ErrCorrupt, "truncated after")
	if n := len(f.requests("blobs")); n > 9+6 {
		t.Errorf("%d requests for a registry without ranges", n-9)
	}
}

// TestRandomBreaks fetches many blobs over connections that break at random
// places, one of a few requests; with the seed a failure can be seen again.
func TestRandomBreaks(t *testing.T) {
	watchdog(t)
	const blobs, size = 200, 200 << 10
	seed := rand.Uint64()
	dice := rand.New(rand.NewPCG(seed, 0))
	f := newFake(t, bearer, false)
	var mu sync.Mutex
	broken, expired := 0, 0
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		mu.Lock()
		fault, at := dice.IntN(20), dice.IntN(size)
		// A registry that refuses a token that it has just given means it.
		if fault == 2 && n-expired < 5 {
			fault = 1
		}
		if fault == 2 {
			expired = n
		}
		if fault < 3 {
			broken++
		}
		mu.Unlock()
		switch fault {
		case 0:
			f.partial(w, r, at)
		case 1:
			w.WriteHeader(503)
			return true
		case 2:
			f.expire()
			return !f.authorized(w, r)
		}
		return false
	}
	cfg := f.config()
	cfg.Tries = 12
	r := f.repo(cfg)
	for i := range blobs {
		if _, err := readBlob(r, f.addBlob(size)); err != nil {
			t.Errorf("seed %d, blob %d: %v", seed, i, err)
		}
	}
	if broken == 0 {
		t.Error("nothing broke")
	}
}
