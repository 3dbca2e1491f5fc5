package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestNoSecretElsewhere redirects a blob to hosts that may be reached, and
// looks for secrets in what they got.
func TestNoSecretElsewhere(t *testing.T) {
	for _, auth := range []string{basic, bearer} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprintf("%s/%d", auth, status), func(t *testing.T) {
				t.Parallel()
				watchdog(t)
				f := newFake(t, auth, false)
				want := f.addBlob(5000)
				storage := newFake(t, anonymous, false)
				storage.blobs = f.blobs
				f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
					w.Header().Set("Set-Cookie", "id=1")
					http.Redirect(w, r, storage.URL+"/v2/lib/thing/blobs/"+string(want.Digest), status)
					return true
				}
				cfg := f.config()
				cfg.Trusted = map[string][]string{f.host(): {storage.host()}}
				if _, err := readBlob(f.repo(cfg), want); err != nil {
					t.Fatal(err)
				}
				got := storage.requests("/")
				if len(got) != 1 {
					t.Fatalf("%d requests at the other host", len(got))
				}
				for _, secret := range []string{"Authorization", "Cookie"} {
					if v := got[0].Header.Get(secret); v != "" {
						t.Errorf("the other host got %s: %s", secret, v)
					}
				}
			})
		}
	}
}

// TestNoLoginElsewhere: a host that a redirect leads to asks for a login.
func TestNoLoginElsewhere(t *testing.T) {
	f, storage := newFake(t, bearer, false), newFake(t, bearer, false)
	want := f.addBlob(100)
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		http.Redirect(w, r, storage.URL+r.URL.Path, 307)
		return true
	}
	cfg := f.config()
	cfg.Trusted = map[string][]string{f.host(): {storage.host()}}
	_, err := readBlob(f.repo(cfg), want)
	checkError(t, err, errAny, "")
	if n := len(storage.requests("/")); n != 1 || len(storage.requests("/token")) != 0 {
		t.Errorf("%d requests at the other host", n)
	}
}

// TestNoPrivateTarget: a redirect leads to this machine.
func TestNoPrivateTarget(t *testing.T) {
	f := newFake(t, bearer, false)
	want := f.addBlob(100)
	bait := newCanary(t, nil)
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		http.Redirect(w, r, "https://"+bait.host()+"/blob", 307)
		return true
	}
	_, err := readBlob(f.repo(f.config()), want)
	checkError(t, err, ErrRefused, "not a public address")
	if n := len(bait.seen()); n != 0 {
		t.Errorf("%d requests to the host", n)
	}
}

// TestRealm sends the client to token servers that it must not talk to.
func TestRealm(t *testing.T) {
	bait := newCanary(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"token":"x"}`) })
	_, port, _ := strings.Cut(bait.host(), ":")
	for _, realm := range []string{
		"http://" + bait.host() + "/token",
		"https://" + bait.host() + "/token",
		"https://localhost:" + port + "/token",
		"https://localhost.:" + port + "/token",
		"https://[::ffff:127.0.0.1]:" + port + "/token",
		"https://2130706433:" + port + "/token",
		"https://0:" + port + "/token",
		"https://169.254.169.254/latest/meta-data",
		"https://[::ffff:169.254.169.254]/latest",
		"https://[64:ff9b::a9fe:a9fe]/latest",
		"https://ann:pw@" + bait.host() + "/token",
		"file:///etc/passwd",
		"gopher://" + bait.host(),
		"",
		"://",
	} {
		for _, auth := range []string{anonymous, basic} {
			t.Run(auth+" "+strings.ReplaceAll(realm, "/", "_"), func(t *testing.T) {
				t.Parallel()
				watchdog(t)
				f := newFake(t, auth, false)
				f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", realm))
					refuse(w, 401, "UNAUTHORIZED")
				})
				_, err := f.repo(f.config()).Manifest(context.Background(), "latest")
				checkError(t, err, errAny, "")
			})
		}
	}
	t.Cleanup(func() {
		if n := len(bait.seen()); n != 0 {
			t.Errorf("%d requests to the bait", n)
		}
	})
}

// TestTokenRedirect: the token server is the registry's own, and redirects.
func TestTokenRedirect(t *testing.T) {
	bait := newCanary(t, nil)
	for _, to := range []string{bait.URL, "https://" + bait.host(), "https://localhost:" + portOf(bait.host()), "/token?again"} {
		f := newFake(t, bearer, false)
		f.onToken = func(w http.ResponseWriter, r *http.Request, n int) bool {
			http.Redirect(w, r, to, 307)
			return true
		}
		_, err := f.repo(f.config()).Manifest(context.Background(), "latest")
		checkError(t, err, errAny, "")
	}
	if n := len(bait.seen()); n != 0 {
		t.Errorf("%d requests to the bait", n)
	}
}

// TestTokenServerGetsNoCredentials: a public token server that isn't the
// registry's gets nothing. It is never reached, so its name need not exist.
func TestTokenServerGetsNoCredentials(t *testing.T) {
	f := newFake(t, basic, false)
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://token.invalid/"`)
		refuse(w, 401, "UNAUTHORIZED")
	})
	_, err := f.repo(f.config()).Manifest(context.Background(), "latest")
	checkError(t, err, ErrRefused, "credentials sent to token.invalid")
}

func TestTokenBodies(t *testing.T) {
	for name, on := range map[string]func(w http.ResponseWriter){
		"endless": func(w http.ResponseWriter) {
			for range 1 << 20 {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		},
		"no token":    func(w http.ResponseWriter) { w.Write([]byte("{}\n\n" + password)) },
		"no JSON":     func(w http.ResponseWriter) { w.Write([]byte("<html>")) },
		"500":         func(w http.ResponseWriter) { w.WriteHeader(500) },
		"huge header": func(w http.ResponseWriter) { w.Header().Set("X", strings.Repeat("x", maxHeader+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			watchdog(t)
			f := newFake(t, bearer, false)
			f.onToken = func(w http.ResponseWriter, r *http.Request, n int) bool { on(w); return true }
			_, err := f.repo(f.config()).Manifest(context.Background(), "latest")
			checkError(t, err, errAny, "")
		})
	}
}

// TestEndlessPing: the library reads the answer to its first request to the
// end.
func TestEndlessPing(t *testing.T) {
	watchdog(t)
	f := newFake(t, anonymous, false)
	sent := 0
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.URL.Path == "/v2/" {
			n, err := w.Write(make([]byte, 64<<10))
			if sent += n; err != nil {
				return
			}
		}
		refuse(w, 404, "MANIFEST_UNKNOWN")
	})
	_, err := f.repo(f.config()).Manifest(context.Background(), "latest")
	checkError(t, err, ErrUnknown, "manifest unknown")
}

func TestTLS(t *testing.T) {
	f := newFake(t, anonymous, false)
	plain := newCanary(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
		fmt.Fprint(w, "{}")
	})
	local := "localhost:" + portOf(plain.host())
	get := func(host string, cfg Config) error {
		cfg.RetryDelay = 1
		cfg.AuthFile = writeAuthFile(t, map[string]any{})
		repos, err := Open(cfg, host, "lib/thing")
		if err != nil {
			t.Fatal(err)
		}
		defer repos[0].Close()
		_, err = repos[0].Manifest(context.Background(), "latest")
		return err
	}
	f.addManifest("latest", v1.MediaTypeImageManifest, "{}")

	checkError(t, get(f.host(), Config{}), ErrUnreachable, "certificate")
	checkError(t, get(f.host(), f.config()), nil, "")
	checkError(t, get(f.host(), Config{Insecure: []string{f.host()}}), nil, "")
	checkError(t, get(f.host(), Config{Insecure: []string{"127.0.0.0/8"}}), nil, "")
	checkError(t, get(plain.host(), Config{}), nil, "")
	checkError(t, get(local, Config{}), nil, "")

	// The same plain server under a name that is not loopback's: Go's client
	// treats 0.0.0.0 as this machine, Docker's rule doesn't.
	elsewhere := "0.0.0.0:" + portOf(plain.host())
	before := len(plain.seen())
	checkError(t, get(elsewhere, Config{}), ErrUnreachable, "plain http")
	if len(plain.seen()) != before {
		t.Error("it was spoken to in plain http")
	}
	checkError(t, get(elsewhere, Config{Insecure: []string{elsewhere}}), nil, "")
	before = len(plain.seen())
	checkError(t, get("a.example", Config{Mirrors: map[string][]string{"a.example": {"https://" + plain.host()}}}), ErrUnreachable, "plain http")
	if len(plain.seen()) != before {
		t.Error("a mirror with https:// was spoken to in plain http")
	}
	checkError(t, get("127.0.0.1:1", Config{}), ErrUnreachable, "connection refused")
	checkError(t, get("no.such.host.invalid", Config{}), ErrUnreachable, "no such host")
}

// TestDowngrade: a registry with TLS redirects to plain http.
func TestDowngrade(t *testing.T) {
	f := newFake(t, anonymous, false)
	bait := newCanary(t, nil)
	want := f.addBlob(10)
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		http.Redirect(w, r, bait.URL, 302)
		return true
	}
	cfg := f.config()
	cfg.Trusted = map[string][]string{f.host(): {bait.host()}}
	_, err := readBlob(f.repo(cfg), want)
	checkError(t, err, ErrRefused, "plain http")
	if n := len(bait.seen()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestExpiredURL: the signed URL of the first redirect is good for one
// request; the client has to ask the registry for another to go on.
func TestExpiredURL(t *testing.T) {
	f := newFake(t, basic, false)
	want := f.addBlob(1 << 20)
	f.on = func(w http.ResponseWriter, r *http.Request, n int) bool {
		switch signature := r.URL.Query().Get("signature"); {
		case signature == "":
			http.Redirect(w, r, r.URL.Path+"?signature="+strconv.Itoa(n), 307)
		case signature == "1":
			f.partial(w, r, 1000)
		default:
			return false
		}
		return true
	}
	if _, err := readBlob(f.repo(f.config()), want); err != nil {
		t.Error(err)
	}
	if n := len(f.requests(string(want.Digest))); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

func TestCancel(t *testing.T) {
	for _, part := range []string{"/v2/", "/token", "manifests", "blobs"} {
		t.Run(strings.Trim(part, "/"), func(t *testing.T) {
			watchdog(t)
			f := newFake(t, bearer, false)
			f.addManifest("latest", v1.MediaTypeImageManifest, "{}")
			want := f.addBlob(1 << 20)
			ctx, cancel := context.WithCancel(context.Background())
			handler := f.Config.Handler
			f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, part) {
					cancel()
					<-r.Context().Done()
					abort(w)
				}
				handler.ServeHTTP(w, r)
			})
			r := f.repo(f.config())
			_, err := r.Manifest(ctx, "latest")
			if part == "blobs" {
				_, err = r.Blob(ctx, want)
			}
			if err == nil || err.Error() != context.Canceled.Error() {
				t.Errorf("error %v, want %v", err, context.Canceled)
			}
		})
	}
}

// TestDelay waits as long as it is told, but not for ever.
func TestDelay(t *testing.T) {
	cfg := Config{}.withDefaults()
	for failed, want := range map[int]time.Duration{1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 4: 1600 * time.Millisecond, 50: maxDelay} {
		for range 100 {
			if d := delay(cfg, failed, 0); d < want/2 || d > want*3/2 {
				t.Errorf("delay after %d failures: %s", failed, d)
			}
		}
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"5":                             5 * time.Second,
		"-5":                            0,
		"1000000000":                    time.Minute,
		"99999999999999999999999999":    time.Minute,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 11:00:30 GMT": 0,
		"Mon, 23 Nov 2099 12:00:30 GMT": time.Minute,
		"soon":                          0,
	} {
		asked := retryAfter(header, now)
		if min(asked, cfg.MaxRetryAfter) != want {
			t.Errorf("Retry-After %q: %s", header, asked)
		}
		if d := delay(cfg, 1, asked); asked > 0 && (d < want || d > want+cfg.RetryDelay) {
			t.Errorf("Retry-After %q: delay %s", header, d)
		}
	}
}

func TestPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1": true, "::ffff:8.8.8.8": true, "64:ff9b::808:808": true,
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "fd00:ec2::254": false,
		"169.254.169.254": false, "fe80::1": false, "::ffff:169.254.169.254": false, "100.100.100.200": false,
		"64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2002:0808:0808::": true,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "198.18.0.1": false, "192.0.0.192": false,
	} {
		if got := isPublic(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: public %v", addr, got)
		}
	}
}

func TestMayHaveCredentials(t *testing.T) {
	cfg := Config{Trusted: map[string][]string{"reg.example.com:5000": {"auth.example.com", "10.0.0.1:81"}}}
	for _, c := range []struct {
		registry, host string
		want           bool
	}{
		{"reg.example.com", "reg.example.com", true},
		{"reg.example.com", "REG.example.com:443", true},
		{"reg.example.com", "reg.example.com:444", false},
		{"registry.gitlab.com", "gitlab.com", true},
		{"registry.gitlab.com", "evilgitlab.com", false},
		{"registry.gitlab.com", "com", false},
		{"registry.gitlab.com", "auth.gitlab.com", false},
		{"registry.gitlab.com", "gitlab.com:8443", false},
		{"10.0.0.1", "0.0.1", false},
		{hubHost, "auth.docker.io", true},
		{hubHost, "docker.io", true},
		{"example.com", "auth.docker.io", false},
		{"reg.example.com:5000", "auth.example.com", true},
		{"reg.example.com:5000", "10.0.0.1:81", true},
		{"reg.example.com:5000", "10.0.0.1:82", false},
	} {
		if got := cfg.mayHaveCredentials(c.registry, c.host); got != c.want {
			t.Errorf("registry %s, host %s: %v", c.registry, c.host, got)
		}
	}
}

func TestCredentials(t *testing.T) {
	bin := t.TempDir()
	helper := "#!/bin/sh\nread host\necho \"{\\\"Username\\\":\\\"u\\\",\\\"Secret\\\":\\\"$host\\\"}\"\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-mine"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	type m = map[string]any
	for name, c := range map[string]struct {
		file    m
		host    string
		want    string // user:password
		refused string
	}{
		"none":                {file: m{}, host: "a.example"},
		"plain":               {file: m{"auths": m{"a.example": m{"auth": "dTpw"}}}, host: "a.example", want: "u:p"},
		"other host":          {file: m{"auths": m{"a.example": m{"auth": "dTpw"}}}, host: "b.example"},
		"other port":          {file: m{"auths": m{"a.example": m{"auth": "dTpw"}}}, host: "a.example:444"},
		"as a URL":            {file: m{"auths": m{"https://a.example/v1/": m{"auth": "dTpw"}}}, host: "a.example", want: "u:p"},
		"hub":                 {file: m{"auths": m{"https://index.docker.io/v1/": m{"auth": "dTpw"}}}, host: hubHost, want: "u:p"},
		"helper":              {file: m{"credHelpers": m{"a.example": "mine"}}, host: "a.example", want: "u:a.example"},
		"helper of another":   {file: m{"credHelpers": m{"a.example": "mine"}}, host: "b.example"},
		"store":               {file: m{"credsStore": "mine"}, host: "a.example", want: "u:a.example"},
		"hub by helper":       {file: m{"credHelpers": m{"https://index.docker.io/v1/": "mine"}}, host: hubHost, want: "u:https://index.docker.io/v1/"},
		"helper with a path":  {file: m{"credHelpers": m{"a.example": "../../bin/sh"}}, host: "a.example", refused: "not a name"},
		"store with a path":   {file: m{"credsStore": "/bin/sh"}, host: "a.example", refused: "not a name"},
		"helper in uppercase": {file: m{"credsStore": "Mine"}, host: "a.example", refused: "not a name"},
		"helper not there":    {file: m{"credsStore": "missing"}, host: "a.example", refused: "docker-credential-missing"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{AuthFile: writeAuthFile(t, c.file)}
			auth, err := credentials(cfg, endpoint{host: c.host})
			if c.refused != "" {
				checkError(t, err, errAny, c.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := auth.Authorization()
			if err != nil {
				t.Fatal(err)
			}
			if s := strings.Trim(got.Username+":"+got.Password, ":"); s != c.want {
				t.Errorf("%q, want %q", s, c.want)
			}
		})
	}
	t.Setenv("DOCKER_CONFIG", filepath.Dir(writeAuthFile(t, m{"auths": m{"a.example": m{"auth": "dTpw"}}})))
	if auth, err := credentials(Config{}, endpoint{host: "a.example"}); err != nil {
		t.Error(err)
	} else if got, _ := auth.Authorization(); got.Username != "u" {
		t.Errorf("DOCKER_CONFIG was not read: %v", got)
	}
	bad := writeAuthFile(t, json.RawMessage(`"x"`))
	_, err := credentials(Config{AuthFile: bad}, endpoint{host: "a.example"})
	checkError(t, err, errAny, "read credentials")
}

func TestMirrors(t *testing.T) {
	cfg := Config{Mirrors: map[string][]string{hubDomain: {"http://10.0.0.1:5000", "https://m.example", "127.0.0.1:1"}}}
	repos, err := Open(cfg, hubDomain, "library/alpine")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range repos {
		got = append(got, fmt.Sprint(r.Host(), " ", r.endpoint.plain))
	}
	want := "[10.0.0.1:5000 true m.example false 127.0.0.1:1 true registry-1.docker.io false]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
	for _, bad := range []string{"ftp://x", "https://u:p@x", "https://x/path", "https://", "http://[::1"} {
		cfg := Config{Mirrors: map[string][]string{hubDomain: {bad}}}
		if _, err := Open(cfg, hubDomain, "x"); err == nil {
			t.Errorf("mirror %q was taken", bad)
		}
	}
}
