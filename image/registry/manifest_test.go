package registry

import (
	"context"
	"crypto/sha512"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/store"
)

const someManifest = `{"schemaVersion":2,"config":{},"layers":[]}`

// manifestFaults are the lines of the fault matrix as they happen to a
// manifest that is asked for by its tag.
var manifestFaults = []struct {
	name string
	on   func(w http.ResponseWriter, r *http.Request, n int) bool
	want error
	text string
	max  int
}{
	{name: "no fault"},
	{name: "broken twice", max: 3, on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n <= 2 {
			w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
			w.Header().Set("Content-Length", "40")
			w.Write([]byte("{"))
			abort(w)
		}
		return false
	}},
	{name: "502 twice", max: 3, on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n <= 2 {
			w.WriteHeader(502)
		}
		return n <= 2
	}},
	{name: "504 for ever", max: 5, want: errAny, text: "504", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.WriteHeader(504)
		w.Write([]byte("a page\nof \x1b[31mtext"))
		return true
	}},
	{name: "error with control characters", want: errAny, text: "answers 418: red [31m", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.WriteHeader(418)
		fmt.Fprint(w, `{"errors":[{"code":"X","message":"red\u001b[31m\nline"}]}`)
		return true
	}},
	{name: "unknown tag", want: ErrUnknown, text: "manifest unknown", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		refuse(w, 404, "MANIFEST_UNKNOWN")
		return true
	}},
	{name: "unknown repository", want: ErrUnknown, text: "repository does not exist", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		refuse(w, 404, "NAME_UNKNOWN")
		return true
	}},
	{name: "404 without a word", want: ErrUnknown, text: "does not have it", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.WriteHeader(404)
		return true
	}},
	{name: "endless error", want: errAny, on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.WriteHeader(404)
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return true
			}
		}
	}},
	{name: "web page", want: ErrCorrupt, text: "web page", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte("<html>log in"))
		return true
	}},
	{name: "plain JSON", want: ErrCorrupt, text: "media type", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(someManifest))
		return true
	}},
	{name: "a part of a type", want: ErrCorrupt, text: "media type", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Content-Type", "application/vnd.oci")
		w.Write([]byte(someManifest))
		return true
	}},
	{name: "schema 1", want: ErrCorrupt, text: "schema 1", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		w.Write([]byte(`{"schemaVersion":1}`))
		return true
	}},
	{name: "too large", want: ErrCorrupt, text: "more than", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
		w.Write(make([]byte, 5<<20))
		return true
	}},
	{name: "slow", max: 5, want: ErrUnreachable, text: "stalled", on: func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
		for r.Context().Err() == nil {
			w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			select { // the fault itself is time that passes
			case <-time.After(5 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
		return true
	}},
}

func TestManifestFaults(t *testing.T) {
	for _, auth := range []string{anonymous, basic, bearer} {
		for _, http2 := range []bool{false, true} {
			for _, fault := range manifestFaults {
				t.Run(fmt.Sprintf("%s/http2=%v/%s", auth, http2, fault.name), func(t *testing.T) {
					t.Parallel()
					watchdog(t)
					f := newFake(t, auth, http2)
					f.on = fault.on
					d := f.addManifest("latest", v1.MediaTypeImageManifest, someManifest)
					cfg := f.config()
					if fault.name == "slow" {
						cfg.StallTimeout = 100 * time.Millisecond
					}
					doc, err := f.repo(cfg).Manifest(context.Background(), "latest")
					checkError(t, err, fault.want, fault.text)
					if err == nil && (doc.Descriptor.Digest != d.Digest || doc.Descriptor.MediaType != d.MediaType) {
						t.Errorf("descriptor %v, want %v", doc.Descriptor, d)
					}
					if n := len(f.requests("manifests")); n > max(fault.max, 1) {
						t.Errorf("%d requests, want at most %d", n, max(fault.max, 1))
					}
				})
			}
		}
	}
}

// TestManifestDigest: what comes for a digest has it, whatever the header of
// the answer says.
func TestManifestDigest(t *testing.T) {
	f := newFake(t, anonymous, false)
	d := f.addManifest("latest", v1.MediaTypeImageManifest, someManifest)
	lie := store.DigestOf("a lie") // as fake's header says
	f.manifests[string(lie)] = f.manifests["latest"]
	r := f.repo(f.config())
	if _, err := r.Manifest(context.Background(), string(d.Digest)); err != nil {
		t.Error(err)
	}
	_, err := r.Manifest(context.Background(), string(lie))
	checkError(t, err, ErrCorrupt, "wrong digest")
	long := store.Digest(fmt.Sprintf("sha512:%x", sha512.Sum512([]byte(someManifest))))
	f.manifests[string(long)] = f.manifests["latest"]
	if _, err := r.Manifest(context.Background(), string(long)); err != nil {
		t.Error(err)
	}
}

func TestNoContentType(t *testing.T) {
	f := newFake(t, anonymous, false)
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		w.Header()["Content-Type"] = nil
		w.Write([]byte(someManifest))
		return true
	}
	doc, err := f.repo(f.config()).Manifest(context.Background(), "latest")
	if err != nil || doc.Descriptor.MediaType != "" {
		t.Errorf("%v, %v", doc.Descriptor, err)
	}
}

// TestWrongCredentials: the registry is right and the password is not.
func TestWrongCredentials(t *testing.T) {
	for _, auth := range []string{basic, bearer} {
		f := newFake(t, auth, false)
		cfg := f.config()
		cfg.AuthFile = writeAuthFile(t, map[string]any{"auths": map[string]any{
			f.host(): map[string]string{"username": user, "password": "wrong"},
		}})
		_, err := f.repo(cfg).Manifest(context.Background(), "latest")
		checkError(t, err, ErrUnauthorized, "refuses the user name or password")
		cfg.AuthFile = writeAuthFile(t, map[string]any{})
		_, err = f.repo(cfg).Manifest(context.Background(), "latest")
		checkError(t, err, ErrUnknown, "pull access denied for "+f.host()+"/lib/thing:latest")
	}
}

// TestSilence: a port that accepts and says nothing, before TLS and after.
func TestSilence(t *testing.T) {
	watchdog(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := Config{
		ConnectTimeout: 50 * time.Millisecond, HeaderTimeout: 50 * time.Millisecond,
		AuthFile: writeAuthFile(t, map[string]any{}), RetryDelay: 1,
	}
	repos, err := Open(cfg, l.Addr().String(), "lib/thing")
	if err != nil {
		t.Fatal(err)
	}
	_, err = repos[0].Manifest(context.Background(), "latest")
	checkError(t, err, ErrUnreachable, "no answer in time")
}

// TestOneToken: many requests at once meet an expired token; it is renewed by
// one of them at a time.
func TestOneToken(t *testing.T) {
	watchdog(t)
	f := newFake(t, bearer, true)
	f.addManifest("latest", v1.MediaTypeImageManifest, someManifest)
	r := f.repo(f.config())
	var asking atomic.Int32
	f.onToken = func(w http.ResponseWriter, req *http.Request, n int) bool {
		if asking.Add(1) > 1 {
			t.Error("two requests for a token at once")
		}
		runtime.Gosched()
		f.giveToken(w, req)
		asking.Add(-1)
		return true
	}
	for range 5 {
		errs := make(chan error)
		for range 8 {
			go func() {
				_, err := r.Manifest(context.Background(), "latest")
				errs <- err
			}()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		f.expire()
	}
	for _, req := range f.requests("/token") {
		if scope := req.FormValue("scope"); !strings.Contains(scope, "repository:lib/thing:pull") {
			t.Errorf("token for scope %q", scope)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10", int64(5))
	f.Add("bytes 5-9/*", int64(5))
	f.Fuzz(func(t *testing.T, header string, offset int64) {
		b := &Blob{want: store.Descriptor{Size: 10}, offset: offset}
		ok := b.isRest(header)
		if want := fmt.Sprintf("%d-9/10", offset); ok && !strings.HasSuffix(header, want) && !strings.HasSuffix(header, "-9/*") {
			t.Errorf("%q is taken for the rest from %d", header, offset)
		}
	})
}
