// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/caddy-est/estra/ra"
)

const (
	dialTimeout = 5 * time.Second
	// idleTimeout is below the 15 seconds after which step-ca closes an idle
	// connection: a request isn't written into one that is being closed.
	idleTimeout = 10 * time.Second
	// The largest answers that are read.
	maxAnswer = 1 << 20
	maxCRL    = 32 << 20
)

// client is the HTTPS side: its own roots, no proxy, no redirects, a bound
// on connections, and no call that lasts longer than timeout.
type client struct {
	base    *url.URL
	http    *http.Client
	timeout time.Duration
	slots   chan struct{}
}

func newClient(base *url.URL, cfg Config) *client {
	pool := x509.NewCertPool()
	for _, c := range cfg.Roots {
		pool.AddCert(c)
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, Time: cfg.Now},
		MaxIdleConns:        cfg.MaxConns,
		MaxIdleConnsPerHost: cfg.MaxConns,
		MaxConnsPerHost:     cfg.MaxConns,
		TLSHandshakeTimeout: cfg.Timeout,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
	}
	return &client{
		base: base,
		http: &http.Client{
			Transport: transport,
			// The CA's answer is what it says itself; a token isn't carried
			// to another place.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: cfg.Timeout,
		slots:   make(chan struct{}, cfg.MaxConns),
	}
}

// A call is one request to the API.
type call struct {
	method    string
	path      string
	body      []byte // JSON, or nil
	token     string // never in an error, whatever the CA answers
	requestID string // for the CA's log
	limit     int64  // of the answer's body
	// signs tells a call after which, if its answer is lost, there may be a
	// certificate.
	signs bool
}

// do makes the call once: a token is good for one use, so nothing is ever
// repeated here. The error is *ra.Error.
func (c *client) do(ctx context.Context, r call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-c.slots }()

	var connected, sent atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				sent.Store(true)
			}
		},
	}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace),
		r.method, c.base.JoinPath(r.path).String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, ra.Fail(ra.UpstreamDown, "the request can't be made", err)
	}
	request.GetBody = nil // nothing is sent twice
	if r.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if isToken(r.requestID) {
		request.Header.Set("X-Request-Id", r.requestID)
	}
	response, err := c.http.Do(request)
	if err != nil {
		// After the deadline the writing may still go on, so a connection is
		// reason enough to doubt.
		doubt := sent.Load() || (connected.Load() && ctx.Err() != nil)
		return nil, c.failed(err, r.signs && doubt)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, r.limit+1))
	switch {
	case response.StatusCode < 200 || response.StatusCode > 299:
		return nil, refused(response, body, r.token)
	case err != nil:
		return nil, c.failed(err, r.signs)
	case int64(len(body)) > r.limit:
		return nil, unreadable(r.signs, fmt.Sprintf("an answer of more than %d bytes", r.limit), nil)
	}
	return body, nil
}

// acquire waits for one of the connections, for half the time at most: who
// gets one has time left to use it.
func (c *client) acquire(ctx context.Context) error {
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
	return ra.Fail(ra.Busy, fmt.Sprintf("all %d connections to step-ca are in use", cap(c.slots)), ctx.Err())
}

// failed maps an error without an answer. With doubt the CA may have issued.
func (c *client) failed(err error, doubt bool) *ra.Error {
	// url.Error repeats method and URL.
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the TLS certificate of %s doesn't verify under the configured root", c.base.Host), err)
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("no connection to step-ca at %s", c.base.Host), err)
	}
	var timeout net.Error
	late := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
	switch {
	case doubt && late:
		return ra.Fail(ra.UpstreamTimeout, "no answer in time after the request was sent; step-ca may have issued", err)
	case doubt:
		return ra.Fail(ra.UpstreamTimeout, "the connection broke after the request was sent; step-ca may have issued", err)
	case late: // and nothing was sent that could have an effect: come again
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("no answer in time from step-ca at %s", c.base.Host), err)
	}
	return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the connection to step-ca at %s failed", c.base.Host), err)
}

// unreadable is for a good status with an answer that makes no sense. For a
// signing call that is as if the answer were lost.
func unreadable(signs bool, what string, err error) *ra.Error {
	if signs {
		return ra.Fail(ra.UpstreamTimeout, "step-ca says that it issued, but with "+what, err)
	}
	return ra.Fail(ra.UpstreamDown, "step-ca answered with "+what, err)
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
