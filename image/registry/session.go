package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Where Docker Hub answers, and its name in references.
const (
	hubDomain = "docker.io"
	hubHost   = "registry-1.docker.io"
)

// maxRedirects is how many hops one request may take, as in net/http.
const maxRedirects = 10

// Repository is one repository at one endpoint. It connects when it is first
// asked for something. Its methods may be called by several goroutines.
type Repository struct {
	endpoint endpoint
	path     string
	cfg      Config
	guard    *guard

	mu   sync.Mutex
	auth http.RoundTripper // nil until the first connection
	// refresh lets one goroutine at a time renew the token: the library's
	// transport reads and writes its refresh token without a lock.
	refresh sync.Mutex
	login   bool // credentials are there for this endpoint
}

// endpoint is where a registry is asked.
type endpoint struct {
	host   string
	domain string // of the registry that it stands for
	plain  bool   // may speak http
	verify bool   // must show a valid certificate
}

// Open gives the repositories to ask, in order, for what references call
// domain/path: the configured mirrors, then the registry itself. It does not
// connect.
func Open(cfg Config, domain, path string) ([]*Repository, error) {
	cfg = cfg.withDefaults()
	var repos []*Repository
	for _, mirror := range cfg.Mirrors[domain] {
		e, err := mirrorEndpoint(cfg, domain, mirror)
		if err != nil {
			return nil, err
		}
		repos = append(repos, &Repository{endpoint: e, path: path, cfg: cfg})
	}
	host := domain
	if domain == hubDomain {
		host = hubHost
	}
	own := &Repository{endpoint: hostEndpoint(cfg, domain, host), path: path, cfg: cfg}
	repos = append(repos, own)
	for _, r := range repos {
		g, err := newGuard(cfg, r.endpoint)
		if err != nil {
			return nil, err
		}
		r.guard = g
	}
	return repos, nil
}

func hostEndpoint(cfg Config, domain, host string) endpoint {
	insecure := cfg.insecure(host)
	return endpoint{host: host, domain: domain, plain: insecure || isLoopback(host), verify: !insecure}
}

func mirrorEndpoint(cfg Config, domain, mirror string) (endpoint, error) {
	if !strings.Contains(mirror, "://") {
		return hostEndpoint(cfg, domain, strings.TrimSuffix(mirror, "/")), nil
	}
	u, err := url.Parse(mirror)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return endpoint{}, fmt.Errorf("mirror %q of %s: not http(s)://host[:port]", mirror, domain)
	}
	e := hostEndpoint(cfg, domain, u.Host)
	e.plain = u.Scheme == "http"
	return e, nil
}

// Host is the endpoint's host[:port].
func (r *Repository) Host() string { return r.endpoint.host }

// Close gives up the connections that wait for another request.
func (r *Repository) Close() { r.guard.closeIdle() }

// connect does the handshake of the token flow, once.
func (r *Repository) connect(ctx context.Context) (http.RoundTripper, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.auth != nil {
		return r.auth, nil
	}
	secret, err := credentials(r.cfg, r.endpoint)
	if err != nil {
		return nil, err
	}
	r.login = secret != authn.Anonymous
	var opts []name.Option
	if r.endpoint.plain {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(r.endpoint.host, opts...)
	if err != nil {
		return nil, fmt.Errorf("registry %q: %w", r.endpoint.host, err)
	}
	scope := "repository:" + r.path + ":pull"
	auth, err := transport.NewWithContext(ctx, reg, secret, &oneRefresh{r}, []string{scope})
	if err != nil {
		return nil, err
	}
	r.auth = auth
	return auth, nil
}

func (r *Repository) connected() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.auth != nil
}

// get asks for a path below the repository, from the byte offset on, and
// follows redirects itself: credentials are with the requests to the registry
// and never with those to another host, whatever the library thinks of it.
func (r *Repository) get(ctx context.Context, path, accept string, offset int64) (*http.Response, error) {
	auth, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	scheme := "https"
	if r.endpoint.plain {
		scheme = "http" // the library's transport corrects it
	}
	target := &url.URL{Scheme: scheme, Host: r.endpoint.host, Path: "/v2/" + r.path + path}
	via := auth
	for hop := 0; ; hop++ {
		if hop > maxRedirects {
			return nil, fmt.Errorf("%w: more than %d redirects", ErrRefused, maxRedirects)
		}
		resp, err := r.send(ctx, via, target, accept, offset)
		if err != nil {
			return nil, err
		}
		next, err := redirect(resp)
		if err != nil || next == nil {
			return resp, err
		}
		if next.Scheme == "http" && resp.Request.URL.Scheme == "https" {
			return nil, fmt.Errorf("%w: redirect from https to plain http at %s", ErrRefused, next.Host)
		}
		via = r.guard
		if sameHost(next.Host, r.endpoint.host) && next.Scheme == resp.Request.URL.Scheme {
			via = auth
		}
		target = next
	}
}

func (r *Repository) send(ctx context.Context, via http.RoundTripper, to *url.URL, accept string, offset int64) (*http.Response, error) {
	done := refreshed{}
	ctx = context.WithValue(ctx, refreshKey{}, &done)
	defer done.release()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	return via.RoundTrip(req)
}

// redirect is where the response sends the client, nil if nowhere. The body
// of one that sends somewhere is closed.
func redirect(resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
	resp.Body.Close()
	next, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("%w: redirect to nowhere: %w", ErrCorrupt, err)
	}
	return next, nil
}

// oneRefresh is the guard as the library's transport sees it. A request that
// meets a 401 makes that transport renew its token, in the same goroutine and
// before RoundTrip returns: from the 401 until then, others wait.
type oneRefresh struct{ r *Repository }

type refreshKey struct{}

// refreshed is held by one request; it is not for two goroutines.
type refreshed struct{ unlock func() }

func (f *refreshed) release() {
	if f.unlock != nil {
		f.unlock()
		f.unlock = nil
	}
}

func (o *oneRefresh) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.r.guard.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !sameHost(req.URL.Host, o.r.endpoint.host) {
		return resp, err
	}
	if held, ok := req.Context().Value(refreshKey{}).(*refreshed); ok && held.unlock == nil {
		o.r.refresh.Lock()
		held.unlock = o.r.refresh.Unlock
	}
	return resp, nil
}

// status is nil for the status codes that are wanted; otherwise it reads and
// closes the body and tells what the registry said.
func (r *Repository) status(resp *http.Response, wanted ...int) error {
	err := transport.CheckError(resp, wanted...)
	if err == nil {
		return nil
	}
	resp.Body.Close()
	var said *transport.Error
	if !errors.As(err, &said) {
		return &transport.Error{StatusCode: resp.StatusCode, Request: resp.Request}
	}
	return err
}
