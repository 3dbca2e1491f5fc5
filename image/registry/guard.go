package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// userAgent is what the client tells of itself.
const userAgent = "minict"

// Bounds on what a registry can make the client hold.
const (
	maxHeader = 256 << 10 // bytes of a response's header
	maxSmall  = 1 << 20   // bytes of a body that is neither manifest nor blob
)

// errPlain is not ErrRefused: the library tries plain http by itself when TLS
// fails, and then the reason to tell is that of TLS.
var errPlain = errors.New("plain http refused")

// guard is the transport below everything else: all requests for one registry
// pass it, those of the token flow and those that follow redirects too, and
// it refuses what a hostile registry could want from them:
//
//   - plain http to a registry that is not meant to be spoken to so;
//   - credentials for a host that is not the registry's (CVE-2020-15157 is
//     what happens otherwise);
//   - connections to this machine, its network or a cloud's metadata service
//     on a registry's word (CVE-2026-33990), decided on the address that is
//     connected to and not on the name.
type guard struct {
	cfg Config
	endpoint
	registry *http.Transport
	others   *http.Transport

	private atomic.Bool  // the registry itself is on a private network
	proxies sync.Map     // host:port of the proxies that the environment names
	after   atomic.Int64 // nanoseconds that the registry asked to be left alone
}

func newGuard(cfg Config, e endpoint) (*guard, error) {
	g := &guard{cfg: cfg, endpoint: e}
	roots, err := certificates(cfg.CertDir, e.host)
	if err != nil {
		return nil, err
	}
	g.registry = g.transport(g.dialRegistry)
	g.registry.TLSClientConfig = &tls.Config{RootCAs: roots, InsecureSkipVerify: !e.verify}
	g.others = g.transport(g.dialOther)
	g.others.TLSClientConfig = &tls.Config{RootCAs: roots} // the house's storage has the house's authority too
	return g, nil
}

func (g *guard) transport(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		Proxy:                  g.proxy,
		DialContext:            dial,
		TLSHandshakeTimeout:    g.cfg.ConnectTimeout,
		ResponseHeaderTimeout:  g.cfg.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a digest is of the bytes as they are sent
		IdleConnTimeout:        time.Minute,
		ReadBufferSize:         64 << 10,
	}
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.check(req); err != nil {
		return nil, err
	}
	own := req.Clone(req.Context())
	own.Header.Set("Accept-Encoding", "identity")
	own.Header.Set("User-Agent", userAgent)
	base := g.others
	if sameHost(own.URL.Host, g.host) {
		base = g.registry
	}
	resp, err := base.RoundTrip(own)
	if err != nil {
		return nil, err
	}
	g.note(resp)
	if !strings.HasPrefix(own.URL.Path, "/v2/") || own.URL.Path == "/v2/" {
		resp.Body = &bounded{resp.Body, maxSmall}
	}
	return resp, nil
}

// check refuses requests that must not leave.
func (g *guard) check(req *http.Request) error {
	host := req.URL.Host
	switch req.URL.Scheme {
	case "https":
	case "http":
		if !g.plainTo(host) {
			return fmt.Errorf("%w: %s is not configured as insecure", errPlain, host)
		}
	default:
		return fmt.Errorf("%w: %s URL from registry %s", ErrRefused, req.URL.Scheme, g.host)
	}
	if req.URL.User != nil {
		return fmt.Errorf("%w: URL with a password from registry %s", ErrRefused, g.host)
	}
	secret := strings.HasPrefix(req.Header.Get("Authorization"), "Basic ") || req.Method == http.MethodPost
	if secret && !g.mayHaveCredentials(host) {
		return fmt.Errorf("%w: registry %s wants its credentials sent to %s, which is not configured as trusted", ErrRefused, g.host, host)
	}
	return nil
}

func (g *guard) mayHaveCredentials(host string) bool {
	return g.cfg.mayHaveCredentials(g.host, host) || g.cfg.trusted(g.domain, host)
}

// plainTo says whether host may be spoken to without TLS: the registry if it
// may be, and what is configured so.
func (g *guard) plainTo(host string) bool {
	if sameHost(host, g.host) {
		return g.plain
	}
	return g.plain && (g.cfg.insecure(host) || isLoopback(host))
}

// note keeps how long the registry wants to be left alone, for the next try.
func (g *guard) note(resp *http.Response) {
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		g.after.Store(int64(retryAfter(resp.Header.Get("Retry-After"), time.Now())))
	}
}

func (g *guard) proxy(req *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(req)
	if u != nil {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443", "socks5": "1080"}[u.Scheme]
		}
		g.proxies.Store(net.JoinHostPort(u.Hostname(), port), true)
	}
	return u, err
}

func (g *guard) dialRegistry(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: g.cfg.ConnectTimeout}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if remote, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		g.private.Store(remote.Addr().Unmap().IsPrivate())
	}
	return conn, nil
}

// dialOther connects to a host that the registry named.
func (g *guard) dialOther(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: g.cfg.ConnectTimeout}
	_, proxy := g.proxies.Load(addr)
	if !proxy && !g.cfg.trusted(g.host, addr) && !g.cfg.trusted(g.domain, addr) {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			return g.checkAddress(addr, address)
		}
	}
	return d.DialContext(ctx, network, addr)
}

func (g *guard) checkAddress(name, address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err == nil && isPublic(ap.Addr()) {
		return nil
	}
	if err == nil && g.private.Load() && ap.Addr().Unmap().IsPrivate() {
		return nil // a registry of the house may use the house's storage
	}
	return fmt.Errorf("%w: registry %s sends to %s (%s), which is not a public address nor configured as trusted", ErrRefused, g.host, name, address)
}

// notPublic has the ranges beyond netip's own predicates where something of
// the host's or its provider's can be (IANA special-purpose registries).
var notPublic = [...]netip.Prefix{
	netip.PrefixFrom(netip.AddrFrom4([4]byte{0, 0, 0, 0}), 8),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10), // shared space; a cloud's metadata too
	netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 0, 0}), 24),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, 0}), 15),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{240, 0, 0, 0}), 4),
}

func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	if v4, ok := embedded(a); ok {
		return isPublic(v4)
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate()
}

// embedded is the IPv4 address that an IPv6 address leads to through NAT64
// (RFC 6052) or 6to4 (RFC 3056).
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return a, false
	}
	b := a.As16()
	switch {
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b}:
		return netip.AddrFrom4([4]byte(b[12:])), true
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return a, false
}

func (g *guard) closeIdle() {
	g.registry.CloseIdleConnections()
	g.others.CloseIdleConnections()
}

// bounded ends a body early rather than late.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("%w: the answer is too large", ErrCorrupt)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
