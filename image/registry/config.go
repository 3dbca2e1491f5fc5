// Package registry speaks the distribution protocol to a registry that it
// does not trust: manifests and blobs come out of it bounded and checked
// against their digests, or not at all.
//
// The token flow, the challenge and the errors' form are
// go-containerregistry's transport. Around it stand the rules that this
// library leaves to its user:
//
//   - guard: which hosts are spoken to at all, in which scheme, and which may
//     get credentials;
//   - session: redirects (never with credentials), bounded retries;
//   - Blob: a body that resumes where its connection broke.
package registry

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Config says how registries are reached. The zero Config is Docker's
// default: TLS everywhere but on loopback, credentials from Docker's file.
type Config struct {
	// Mirrors has for a registry ("docker.io") the endpoints that are asked
	// before it, in order: "host:port" or a URL without a path. An endpoint
	// written with http:// is spoken to without TLS.
	Mirrors map[string][]string `yaml:"mirrors"`
	// Insecure has the registries, as host, host:port, address or CIDR, that
	// may speak plain http or have a certificate that nobody vouches for.
	Insecure []string `yaml:"insecure"`
	// Trusted has for a registry the hosts ("auth.example.com",
	// "10.0.0.6:9000") that may get its credentials as its token server, and
	// that it may redirect to though they are on a private network.
	Trusted map[string][]string `yaml:"trusted"`
	// AuthFile has the credentials, in the form of Docker's config.json. Empty
	// is $DOCKER_CONFIG/config.json or ~/.docker/config.json.
	AuthFile string `yaml:"auth_file"`
	// CertDir has a directory HOST[:PORT] for each registry whose certificate
	// is signed by one of the *.crt in it. Empty is /etc/docker/certs.d.
	CertDir string `yaml:"cert_dir"`

	// Time limits; 0 stands for the default in parentheses.
	ConnectTimeout time.Duration `yaml:"connect_timeout"` // to connect, and again for TLS (15 s)
	HeaderTimeout  time.Duration `yaml:"header_timeout"`  // from request to the end of the answer's header (30 s)
	StallTimeout   time.Duration `yaml:"stall_timeout"`   // a body that brings less than 1 KiB/s for so long is given up (60 s)
	MaxRetryAfter  time.Duration `yaml:"max_retry_after"` // the longest wait that a registry can ask for (60 s)
	RetryDelay     time.Duration `yaml:"retry_delay"`     // before the second try, doubled before each other (200 ms)
	Tries          int           `yaml:"tries"`           // of each request and each blob (5)
}

func (c Config) withDefaults() Config {
	c.CertDir = cmp.Or(c.CertDir, "/etc/docker/certs.d")
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 15*time.Second)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 30*time.Second)
	c.StallTimeout = cmp.Or(c.StallTimeout, time.Minute)
	c.MaxRetryAfter = cmp.Or(c.MaxRetryAfter, time.Minute)
	c.RetryDelay = cmp.Or(c.RetryDelay, 200*time.Millisecond)
	c.Tries = cmp.Or(c.Tries, 5)
	return c
}

// insecure says whether the configuration lists the host of a registry.
func (c Config) insecure(hostport string) bool {
	host := hostname(hostport)
	addr, err := netip.ParseAddr(host)
	for _, entry := range c.Insecure {
		if strings.EqualFold(entry, hostport) || strings.EqualFold(entry, host) {
			return true
		}
		if prefix, perr := netip.ParsePrefix(entry); err == nil && perr == nil && prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// isLoopback says whether a registry is on this machine by its name alone,
// which is where Docker does without TLS.
func isLoopback(hostport string) bool {
	host := hostname(hostport)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// tokenServers are the known token servers on another host than their
// registry; each may get the registry's credentials.
var tokenServers = map[string]string{
	hubHost:                       "auth.docker.io",
	"registry.digitalocean.com":   "api.digitalocean.com",
	"registry.suse.com":           "scc.suse.com",
	"registry.connect.redhat.com": "sso.redhat.com",
}

// mayHaveCredentials says whether host may get the credentials of registry:
// it is the same host, its known token server, the domain above it
// (registry.gitlab.com asks gitlab.com), or configured.
func (c Config) mayHaveCredentials(registry, host string) bool {
	if sameHost(registry, host) || tokenServers[registry] == host {
		return true
	}
	above := strings.HasSuffix(hostname(registry), "."+hostname(host)) && strings.Contains(hostname(host), ".")
	if above && !isAddress(registry) && portOf(registry) == portOf(host) {
		return true
	}
	return c.trusted(registry, host)
}

func (c Config) trusted(registry, host string) bool {
	return slices.ContainsFunc(c.Trusted[registry], func(t string) bool {
		return sameHost(t, host)
	})
}

func isAddress(hostport string) bool {
	_, err := netip.ParseAddr(hostname(hostport))
	return err == nil
}

// hostname is hostport without the port and an IPv6 address's brackets.
func hostname(hostport string) string {
	host := strings.ToLower(hostport)
	if rest, ok := strings.CutPrefix(host, "["); ok {
		host, _, _ = strings.Cut(rest, "]")
		return host
	}
	host, _, _ = strings.Cut(host, ":")
	return host
}

// portOf is the port in hostport, 443 if there is none.
func portOf(hostport string) string {
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') {
		return hostport[i+1:]
	}
	return "443"
}

func sameHost(a, b string) bool {
	return hostname(a) == hostname(b) && portOf(a) == portOf(b)
}
