// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// The largest bodies.
const (
	maxAnswer  = 1 << 20
	maxRequest = 1 << 20
)

// noRenewal is a window that nobody looks at.
const noRenewal = `{"suggestedWindow":{"start":"2000-01-01T00:00:00Z","end":"2000-01-02T00:00:00Z"}}`

// newClient speaks ACME over our own calls. It polls nothing by itself: what
// waits is up to the order's time (run.pause).
func (u *Upstream) newClient() *acme.Client {
	return &acme.Client{
		Directory: u.cfg.Directory, UserAgent: "estra", PollTimeout: time.Nanosecond,
		HTTPClient: &http.Client{
			Transport:     &transport{u},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// A transport makes the calls of the ACME client: with bounds, and to the host
// of the directory alone.
type transport struct{ of *Upstream }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.of.ours(r.URL); err != nil {
		return nil, err
	}
	if r.Method == http.MethodGet && r.URL.EscapedPath() != t.of.path {
		// The client asks for renewal information (RFC 9773) with each chain, and for
		// seconds where there is none. Nothing here renews by it.
		return answered(r, http.StatusOK, http.Header{"Content-Type": {"application/json"}}, []byte(noRenewal)), nil
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxRequest)); err != nil {
			return nil, err
		}
	}
	n := noteOf(r.Context())
	answer, err := t.of.client.Do(r.Context(), upstream.Call{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Type: r.Header.Get("Content-Type"), Body: body,
		Header: http.Header{"User-Agent": r.Header["User-Agent"]}, RequestID: n.requestID, Limit: maxAnswer,
	})
	if err != nil {
		return nil, err
	}
	n.see(answer)
	return answered(r, answer.Status, answer.Header, answer.Body), nil
}

func answered(r *http.Request, status int, header http.Header, body []byte) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// ours refuses a URL of another host: what the account's key signs goes to who
// the operator named.
func (u *Upstream) ours(address *url.URL) error {
	if address.Scheme != "https" || !strings.EqualFold(address.Host, u.base.Host) || address.User != nil {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the ACME server names the address %s, and nothing is sent to another host than that of its directory",
			upstream.Line(address.Redacted())), nil)
	}
	return nil
}

// A note is what an answer said beside its body, which the ACME client doesn't
// pass on.
type note struct {
	requestID string

	mu     sync.Mutex
	status int
	header http.Header
}

type noteKey struct{}

// noting gives a context whose calls are noted. One is for one caller.
func noting(ctx context.Context, requestID string) (context.Context, *note) {
	n := &note{requestID: requestID}
	return context.WithValue(ctx, noteKey{}, n), n
}

func noteOf(ctx context.Context) *note {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n
	}
	return &note{}
}

func (n *note) see(answer upstream.Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status, n.header = answer.Status, answer.Header
}

// last is the status of the last answer, and its header.
func (n *note) last() (int, http.Header) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.header == nil {
		return 0, http.Header{}
	}
	return n.status, n.header
}

// after is the Retry-After of the last answer; 0: there was none.
func (n *note) after(now time.Time) time.Duration {
	_, header := n.last()
	return upstream.Retry(&ra.Error{}, header, now).RetryAfter
}
