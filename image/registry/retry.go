package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxDelay is the longest wait that the client chooses by itself.
const maxDelay = 10 * time.Second

// tries counts the failures of one thing that is tried again.
type tries struct{ failed int }

// again waits before another try after err and returns nil, or returns err
// when it is no use: it is not temporary, or it was the last try.
func (t *tries) again(ctx context.Context, r *Repository, err error) error {
	t.failed++
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.failed >= r.cfg.Tries || !r.temporary(err) {
		return err
	}
	asked := time.Duration(r.guard.after.Swap(0))
	timer := time.NewTimer(delay(r.cfg, t.failed, asked))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// delay is the wait after the failure of that number (from 1): what the
// registry asked for, up to the configured maximum, or else the client's own,
// doubled each time; both with jitter, so that many clients don't come back
// at once.
func delay(cfg Config, failed int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, cfg.MaxRetryAfter) + rand.N(cfg.RetryDelay)
	}
	own := min(cfg.RetryDelay<<min(failed-1, 16), maxDelay)
	return own/2 + rand.N(own)
}

// temporary says whether the same request may do better later. Before the
// registry has answered once, a dead connection is taken for its answer: who
// mistyped a name should not wait for five tries.
func (r *Repository) temporary(err error) bool {
	var said *transport.Error
	if errors.As(err, &said) {
		switch said.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
			http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		case http.StatusBadRequest, http.StatusForbidden:
			return !r.isOurs(said) // a signed URL that has expired
		}
		return false
	}
	if errors.Is(err, errPlain) || errors.Is(err, ErrRefused) || errors.Is(err, ErrCorrupt) || isCertificate(err) {
		return false
	}
	if r.connected() {
		return isNetwork(err)
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, errStalled) || strings.Contains(err.Error(), "http2: ") ||
		strings.Contains(err.Error(), "stream error: ")
}

func isCertificate(err error) bool {
	var cert *tls.CertificateVerificationError
	return errors.As(err, &cert)
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds or a date.
// What is neither, or past, is 0; the caller caps it.
func retryAfter(value string, now time.Time) time.Duration {
	const most = 365 * 24 * time.Hour
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(max(0, min(seconds, int64(most/time.Second)))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(now), most))
	}
	if value != "" && strings.Trim(value, "0123456789") == "" {
		return most // more digits than a number has
	}
	return 0
}

// explain turns what a request ended with into one line with a reason that
// can be asked for. Object is what was asked for, as the user knows it.
func (r *Repository) explain(ctx context.Context, object string, err error) error {
	var said *transport.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrRefused), errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%s: %w", object, plain(err))
	case isCertificate(err):
		return because(ErrUnreachable, "registry %s can't be reached: %s", r.endpoint.host, reason(err))
	case errors.As(err, &said) && !r.isOurs(said):
		return fmt.Errorf("%s: host %s, to which registry %s sends, answers %d %s", object,
			said.Request.URL.Host, r.endpoint.host, said.StatusCode, http.StatusText(said.StatusCode))
	case errors.As(err, &said):
		return r.explainStatus(object, said)
	case isNetwork(err):
		return because(ErrUnreachable, "registry %s can't be reached: %s", r.endpoint.host, reason(err))
	}
	return fmt.Errorf("%s: registry %s: %s", object, r.endpoint.host, reason(err))
}

// isOurs says whether an answer is the registry's or its token server's.
func (r *Repository) isOurs(said *transport.Error) bool {
	return said.Request == nil || r.guard.mayHaveCredentials(said.Request.URL.Host)
}

func (r *Repository) explainStatus(object string, said *transport.Error) error {
	code, text := "", ""
	if len(said.Errors) > 0 {
		code, text = string(said.Errors[0].Code), word(said.Errors[0].Message)
	}
	switch said.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if !r.login {
			return because(ErrUnknown, "pull access denied for %s, repository does not exist or may need a login", object)
		}
		if said.StatusCode == http.StatusUnauthorized {
			return fmt.Errorf("%w: registry %s refuses the user name or password", ErrUnauthorized, r.endpoint.host)
		}
		return because(ErrUnauthorized, "pull access denied for %s", object)
	case http.StatusNotFound:
		switch transport.ErrorCode(code) {
		case transport.ManifestUnknownErrorCode:
			return because(ErrUnknown, "%s: manifest unknown", object)
		case transport.NameUnknownErrorCode:
			return because(ErrUnknown, "%s: repository does not exist", object)
		}
		return because(ErrUnknown, "%s: registry %s does not have it", object, r.endpoint.host)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%s: registry %s allows no more requests for now: too many requests", object, r.endpoint.host)
	}
	if text == "" {
		text = http.StatusText(said.StatusCode)
	}
	return fmt.Errorf("%s: registry %s answers %d: %s", object, r.endpoint.host, said.StatusCode, text)
}

// plain removes what net/http put around an error of ours.
func plain(err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err
}

// reason is the innermost half-line of a network error that still says
// something: "connection refused" and not the five names before it.
func reason(err error) string {
	var unknown *net.DNSError
	var first *url.Error
	if errors.As(err, &unknown) && unknown.IsNotFound {
		return "no such host"
	}
	if errors.As(err, &first) {
		err = first.Err
	}
	var errno syscall.Errno
	var network net.Error
	switch {
	case isCertificate(err):
		return word(err.Error())
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, errStalled):
		return errStalled.Error()
	case errors.As(err, &network) && network.Timeout():
		return "no answer in time"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it speaks plain http and is not configured as insecure"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed too early"
	}
	return word(err.Error())
}

// word makes foreign text fit for one line of a terminal.
func word(s string) string {
	const most = 300
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.TrimSpace(s)
}
