package registry

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/store"
)

// How a fake registry wants to be spoken to.
const (
	anonymous = "anonymous"
	basic     = "basic"
	bearer    = "bearer"

	user, password = "ann", "secret-of-ann"
)

// fake is a registry with one repository, "lib/thing", over TLS. A test
// scripts its faults with on: it sees each request below the repository with
// the number (from 1) of requests for that path so far, and says whether it
// has answered it.
type fake struct {
	*httptest.Server
	t         *testing.T
	auth      string
	manifests map[string]document // by tag and by digest
	blobs     map[store.Digest][]byte
	on        func(w http.ResponseWriter, r *http.Request, n int) bool
	onToken   func(w http.ResponseWriter, r *http.Request, n int) bool

	mu     sync.Mutex
	counts map[string]int
	log    []*http.Request
	sent   int64 // bytes of blobs
	tokens int   // handed out
	valid  string
}

type document struct {
	mediaType string
	raw       []byte
}

func newFake(t *testing.T, auth string, http2 bool) *fake {
	f := &fake{
		t: t, auth: auth,
		manifests: map[string]document{},
		blobs:     map[store.Digest][]byte{},
		counts:    map[string]int{},
	}
	f.Server = httptest.NewUnstartedServer(f)
	f.Server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that hang up
	f.EnableHTTP2 = http2
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *fake) host() string { return f.Listener.Addr().String() }

// config is one that trusts the fake's certificate and doesn't wait.
func (f *fake) config() Config {
	f.t.Helper()
	dir := f.t.TempDir()
	certs := filepath.Join(dir, "certs", f.host())
	if err := os.MkdirAll(certs, 0o755); err != nil {
		f.t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o644); err != nil {
		f.t.Fatal(err)
	}
	auths := map[string]any{}
	if f.auth != anonymous {
		auths[f.host()] = map[string]string{"username": user, "password": password}
	}
	return Config{
		CertDir:       filepath.Join(dir, "certs"),
		AuthFile:      writeAuthFile(f.t, map[string]any{"auths": auths}),
		RetryDelay:    1,
		MaxRetryAfter: 1,
	}
}

func writeAuthFile(t *testing.T, content any) string {
	t.Helper()
	data, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (f *fake) repo(cfg Config) *Repository {
	f.t.Helper()
	repos, err := Open(cfg, f.host(), "lib/thing")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(repos[0].Close)
	return repos[0]
}

// addBlob makes a blob of n random bytes.
func (f *fake) addBlob(n int) store.Descriptor {
	data := make([]byte, n)
	rand.Read(data)
	d := store.DigestOf(data)
	f.blobs[d] = data
	return store.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: d, Size: int64(n)}
}

func (f *fake) addManifest(tag, mediaType, raw string) store.Descriptor {
	d := store.DigestOf(raw)
	f.manifests[tag] = document{mediaType, []byte(raw)}
	f.manifests[string(d)] = document{mediaType, []byte(raw)}
	return store.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(raw))}
}

// requests are those whose path has the part.
func (f *fake) requests(part string) []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []*http.Request
	for _, r := range f.log {
		if strings.Contains(r.URL.Path, part) {
			found = append(found, r)
		}
	}
	return found
}

// expire makes the registry forget the tokens it gave.
func (f *fake) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.valid = ""
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r)
	f.counts[r.URL.Path]++
	n := f.counts[r.URL.Path]
	f.mu.Unlock()
	if r.URL.Path == "/token" {
		f.serveToken(w, r, n)
		return
	}
	if !f.authorized(w, r) {
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/lib/thing/")
	switch {
	case r.URL.Path == "/v2/":
	case f.on != nil && f.on(w, r, n):
	case !ok:
		refuse(w, 404, "NAME_UNKNOWN")
	case strings.HasPrefix(path, "manifests/"):
		f.serveManifest(w, strings.TrimPrefix(path, "manifests/"))
	case strings.HasPrefix(path, "blobs/"):
		f.serveBlob(w, r, store.Digest(strings.TrimPrefix(path, "blobs/")))
	}
}

func (f *fake) authorized(w http.ResponseWriter, r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.auth {
	case basic:
		if name, pass, ok := r.BasicAuth(); ok && name == user && pass == password {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
	case bearer:
		if f.valid != "" && r.Header.Get("Authorization") == "Bearer "+f.valid {
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(
			`Bearer realm="https://%s/token",service="fake",scope="repository:lib/thing:pull"`, f.host()))
	default:
		return true
	}
	refuse(w, 401, "UNAUTHORIZED")
	return false
}

func (f *fake) serveToken(w http.ResponseWriter, r *http.Request, n int) {
	if f.onToken == nil || !f.onToken(w, r, n) {
		f.giveToken(w, r)
	}
}

func (f *fake) giveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost { // RFC 6749, section 6: what the first answer's refresh_token is for
		if r.FormValue("refresh_token") != "again" || r.FormValue("service") != "fake" {
			refuse(w, 401, "UNAUTHORIZED")
			return
		}
	} else if name, pass, ok := r.BasicAuth(); !ok || name != user || pass != password {
		refuse(w, 401, "UNAUTHORIZED")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens++
	if f.valid == "" {
		f.valid = fmt.Sprintf("token-%d", f.tokens)
	}
	json.NewEncoder(w).Encode(map[string]any{"token": f.valid, "expires_in": 300, "refresh_token": "again"})
}

func (f *fake) serveManifest(w http.ResponseWriter, reference string) {
	doc, ok := f.manifests[reference]
	if !ok {
		refuse(w, 404, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", doc.mediaType)
	w.Header().Set("Docker-Content-Digest", string(store.DigestOf("a lie")))
	w.Write(doc.raw)
}

func (f *fake) serveBlob(w http.ResponseWriter, r *http.Request, d store.Digest) {
	data, ok := f.blobs[d]
	if !ok {
		refuse(w, 404, "BLOB_UNKNOWN")
		return
	}
	from := offset(r)
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		w.WriteHeader(206)
	}
	n, _ := w.Write(data[from:])
	f.mu.Lock()
	f.sent += int64(n)
	f.mu.Unlock()
}

// partial sends n bytes of the blob from the asked offset on, under a header
// that promises all, and breaks the connection.
func (f *fake) partial(w http.ResponseWriter, r *http.Request, n int) {
	data := f.blobs[store.Digest(filepath.Base(r.URL.Path))]
	from := offset(r)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.WriteHeader(206)
	}
	sent, _ := w.Write(data[from:min(from+n, len(data))])
	f.mu.Lock()
	f.sent += int64(sent)
	f.mu.Unlock()
	abort(w)
}

// abort ends the answer in the middle: with HTTP/1 the connection is closed,
// with HTTP/2 the stream reset.
func abort(w http.ResponseWriter) {
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
	panic(http.ErrAbortHandler)
}

func offset(r *http.Request) int {
	from := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	n, _ := strconv.Atoi(from)
	return n
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
}

// canary is a server that nobody should talk to, or not with a secret.
type canary struct {
	*httptest.Server
	mu   sync.Mutex
	hits []*http.Request
}

func newCanary(t *testing.T, h http.HandlerFunc) *canary {
	c := &canary{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.hits = append(c.hits, r)
		c.mu.Unlock()
		if h != nil {
			h(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *canary) host() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		panic(err)
	}
	return u.Host
}

func (c *canary) seen() []*http.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits
}

// watchdog fails a test that hangs, with the stacks of all goroutines.
func watchdog(t *testing.T) {
	timer := time.AfterFunc(20*time.Second, func() { panic(t.Name() + " hangs") })
	t.Cleanup(func() { timer.Stop() })
}
