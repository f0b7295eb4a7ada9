// SPDX-License-Identifier: Apache-2.0

// Package upstream has what the adapters below it share: the HTTPS side of a
// call to a CA, told apart by whether the CA may have issued when no answer
// comes.
package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-est/estra/ra"
)

// dialTimeout is for the TCP connection.
const dialTimeout = 5 * time.Second

// Config is what [NewClient] needs. All of it is required.
type Config struct {
	// Name is how messages call the CA, such as "step-ca".
	Name string
	// Base is scheme and host; see [Address].
	Base *url.URL
	// TLS verifies the CA.
	TLS *tls.Config
	// Timeout bounds each call, the wait for a free connection included.
	Timeout time.Duration
	// MaxConns bounds the calls at the same time.
	MaxConns int
	// Idle is how long an unused connection is kept. It is below what the CA
	// does: a request isn't written into one that is being closed.
	Idle time.Duration
}

// Sound refuses bounds of a configuration that make no sense.
func Sound(timeout, backdate time.Duration, maxConns int) error {
	switch {
	case timeout < 0:
		return fmt.Errorf("timeout %s is negative", timeout)
	case backdate < 0:
		return fmt.Errorf("backdate %s is negative", backdate)
	case maxConns < 0:
		return fmt.Errorf("%d connections make no sense", maxConns)
	}
	return nil
}

// A Client makes calls to one CA: no proxy, no redirects, a bound on
// connections, and no call that lasts longer than its time. It is safe for
// concurrent use.
type Client struct {
	name    string
	base    *url.URL
	http    *http.Client
	timeout time.Duration
	slots   chan struct{}
	ahead   atomic.Pointer[time.Duration] // the CA's clock, of ours; nil: not known
}

// NewClient opens no connection.
func NewClient(cfg Config) *Client {
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        cfg.TLS,
		MaxIdleConns:           cfg.MaxConns,
		MaxIdleConnsPerHost:    cfg.MaxConns,
		MaxConnsPerHost:        cfg.MaxConns,
		TLSHandshakeTimeout:    cfg.Timeout,
		IdleConnTimeout:        cfg.Idle,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
	return &Client{
		name: cfg.Name,
		base: cfg.Base,
		http: &http.Client{
			Transport: transport,
			// The CA's answer is what it says itself; a credential isn't
			// carried to another place.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: cfg.Timeout,
		slots:   make(chan struct{}, cfg.MaxConns),
	}
}

// Retire closes the connections that are idle. Calls under way end as they
// would.
func (c *Client) Retire() { c.http.CloseIdleConnections() }

// A Call is one request to the API.
type Call struct {
	Method    string
	Path      string
	Query     string // encoded; "" for none
	Type      string // Content-Type, where there is a Body
	Body      []byte
	Header    http.Header // beside those that follow from the rest; nil: none
	RequestID string      // for the CA's log
	Limit     int64       // of the answer's body
	// Signs tells a call after which, if its answer is lost, there may be a
	// certificate.
	Signs bool
}

// An Answer is what the CA said, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Peer   *x509.Certificate // the CA's, which TLS has verified
}

// OK says that the status is one of success.
func (a Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Do makes the call once: nothing is ever sent twice. The error is *ra.Error,
// and says that there is no whole answer; one with another status than success
// may be cut.
func (c *Client) Do(ctx context.Context, r Call) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.acquire(ctx); err != nil {
		return Answer{}, err
	}
	defer func() { <-c.slots }()

	var connected, sent atomic.Bool
	request, err := c.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				sent.Store(true)
			}
		},
	}), r)
	if err != nil {
		return Answer{}, ra.Fail(ra.UpstreamDown, "the request can't be made", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		// After the deadline the writing may still go on, so a connection is
		// reason enough to doubt.
		doubt := sent.Load() || (connected.Load() && ctx.Err() != nil)
		return Answer{}, c.failed(err, r.Signs && doubt)
	}
	defer response.Body.Close()
	c.see(response.Header, time.Now())
	body, err := io.ReadAll(io.LimitReader(response.Body, r.Limit+1))
	answer := Answer{Status: response.StatusCode, Header: response.Header, Body: body}
	if response.TLS != nil && len(response.TLS.PeerCertificates) > 0 {
		answer.Peer = response.TLS.PeerCertificates[0]
	}
	long := int64(len(body)) > r.Limit
	switch {
	case !answer.OK():
		if long {
			answer.Body = body[:r.Limit]
		}
		return answer, nil
	case err != nil:
		return Answer{}, c.failed(err, r.Signs)
	case long:
		return Answer{}, c.Unreadable(r.Signs, fmt.Sprintf("an answer of more than %d bytes", r.Limit), nil)
	}
	return answer, nil
}

func (c *Client) request(ctx context.Context, r Call) (*http.Request, error) {
	to := c.base.JoinPath(r.Path)
	to.RawQuery = r.Query
	request, err := http.NewRequestWithContext(ctx, r.Method, to.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	request.GetBody = nil // nothing is sent twice
	maps.Copy(request.Header, r.Header)
	if r.Body != nil {
		request.Header.Set("Content-Type", r.Type)
	}
	if isToken(r.RequestID) {
		request.Header.Set("X-Request-Id", r.RequestID)
	}
	return request, nil
}

// acquire waits for one of the connections, for half the time at most: who
// gets one has time left to use it.
func (c *Client) acquire(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(c.timeout / 2)
	defer timer.Stop()
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return ra.Fail(ra.Busy, fmt.Sprintf("all %d connections to %s are in use", cap(c.slots), c.name), ctx.Err())
}

// failed maps an error without an answer. With doubt the CA may have issued.
func (c *Client) failed(err error, doubt bool) *ra.Error {
	// url.Error repeats method and URL.
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the TLS certificate of %s doesn't verify under the configured root", c.base.Host), err)
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("no connection to %s at %s", c.name, c.base.Host), err)
	}
	if network != nil && network.Op == "remote error" && isRefusal(network.Err) {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s at %s refuses our TLS client certificate", c.name, c.base.Host), errors.Join(ra.ErrCredential, err))
	}
	var timeout net.Error
	late := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
	switch {
	case doubt && late:
		return ra.Fail(ra.UpstreamTimeout, fmt.Sprintf("no answer in time after the request was sent; %s may have issued", c.name), err)
	case doubt:
		return ra.Fail(ra.UpstreamTimeout, fmt.Sprintf("the connection broke after the request was sent; %s may have issued", c.name), err)
	case late: // and nothing was sent that could have an effect: come again
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("no answer in time from %s at %s", c.name, c.base.Host), err)
	}
	return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the connection to %s at %s failed", c.name, c.base.Host), err)
}

// isRefusal knows the alerts about a client certificate (RFC 8446 section 6.2).
// With TLS 1.3 they come after the request was written: the client is done with
// the handshake before the server. crypto/tls has no type for them.
func isRefusal(alert error) bool {
	text := alert.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "access denied")
}

// Unreadable is for a good status with an answer that makes no sense. For a
// signing call that is as if the answer were lost.
func (c *Client) Unreadable(signs bool, what string, err error) *ra.Error {
	if signs {
		return ra.Fail(ra.UpstreamTimeout, c.name+" says that it issued, but with "+what, err)
	}
	return ra.Fail(ra.UpstreamDown, c.name+" answered with "+what, err)
}

// isToken tells whether a request id can stand in a header as it is.
func isToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
