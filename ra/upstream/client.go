// SPDX-License-Identifier: Apache-2.0

// Package upstream has what the adapters below it share: the HTTPS side of a
// call to a CA, told apart by whether the CA may have issued when no answer
// comes.
package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
)

// Config is what [NewClient] needs. Name, Base, TLS, Timeout, MaxConns and Idle
// have no default.
type Config struct {
	// Name is how messages call the CA, such as "step-ca".
	Name string
	// Base is scheme and host; see [Address].
	Base *url.URL
	// TLS verifies the CA.
	TLS *tls.Config
	// Others are further addresses of the same CA, each asked when those before
	// it can't be.
	Others []Other
	// Certificate is our TLS client certificate. It is asked for before each call
	// and in each handshake: one that was renewed makes new connections, since a
	// server goes by what a connection has shown for as long as that is kept. nil:
	// none is shown, but what TLS has.
	Certificate func() (*tls.Certificate, error)
	// Probe is a call without an effect, by which the CA says how it is. An address
	// that has rested is asked so before it is sent anything. Without a path the
	// next call is the trial.
	Probe Call
	// Well says of an answer to Probe whether it is a good one; nil: by a status of
	// success.
	Well func(Answer) bool
	// Ill says of an answer that the address itself is in trouble, beside 502, 503
	// and 504, as far as no request can be the reason. nil: of none.
	Ill func(Answer) bool
	// Timeout bounds each call, the wait for a free connection included.
	Timeout time.Duration
	// MaxConns bounds the calls at the same time.
	MaxConns int
	// Idle is how long an unused connection is kept. It is below what the CA
	// does: a request isn't written into one that is being closed.
	Idle time.Duration
	// Rest is how long an address isn't asked after failures in a row; 0 is
	// five seconds.
	Rest time.Duration
	// Observe is told the host of an address that begins to rest, with its last
	// failure, and of one that is well again, with nil. nil: nobody is.
	Observe func(host string, failure error)
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
// connections, and no call that lasts longer than its time. An address that
// fails again and again isn't asked for a while. It is safe for concurrent use.
type Client struct {
	name      string
	addresses []*address // never none
	probe     Call
	well, ill func(Answer) bool // never nil
	timeout   time.Duration
	slots     chan struct{}
	shown     *shown
}

// NewClient opens no connection.
func NewClient(cfg Config) *Client {
	c := &Client{
		name: cfg.Name, probe: cfg.Probe, well: cfg.Well, ill: cfg.Ill,
		timeout: cfg.Timeout, slots: make(chan struct{}, cfg.MaxConns), shown: &shown{certificate: cfg.Certificate},
	}
	if c.well == nil {
		c.well = Answer.OK
	}
	if c.ill == nil {
		c.ill = func(Answer) bool { return false }
	}
	for _, o := range slices.Concat([]Other{{Base: cfg.Base}}, cfg.Others) {
		c.addresses = append(c.addresses, newAddress(cfg, o.Base, cmp.Or(o.TLS, cfg.TLS)))
	}
	return c
}

// Retire closes the connections that are idle. Calls under way end as they
// would.
func (c *Client) Retire() {
	for _, a := range c.addresses {
		a.http.Load().CloseIdleConnections()
	}
}

// A Call is one request to the API.
type Call struct {
	Method string
	Path   string
	Query  string // encoded; "" for none
	Type   string // Content-Type, where there is a Body
	Body   []byte
	// Make gives the body for one address, in place of Body: a token says whom
	// it is for. Its error is one of Do.
	Make      func(base *url.URL) ([]byte, error)
	Header    http.Header // beside those that follow from the rest; nil: none
	RequestID string      // for the CA's log
	// Reads tells a call that has no effect, whatever its method: it goes to each
	// address until one answers. GET always does.
	Reads bool
	Limit int64 // of the answer's body
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

// Do makes the call. One that has an effect, which is any but those that read, is made once:
// it goes to another address only when surely nothing of it was sent, and never
// while its outcome is open. The error is *ra.Error, and says that there is no
// whole answer; one with another status than success may be cut.
func (c *Client) Do(ctx context.Context, r Call) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.acquire(ctx); err != nil {
		return Answer{}, err
	}
	defer func() { <-c.slots }()
	c.shown.renew(c.addresses)
	if r.Method == http.MethodGet || r.Reads {
		return c.read(ctx, r)
	}
	return c.send(ctx, r)
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

// failed maps an error without an answer of a host. With doubt the CA may have
// issued.
func (c *Client) failed(host string, err error, doubt bool) *ra.Error {
	// url.Error repeats method and URL.
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the TLS certificate of %s doesn't verify under the configured root", host), err)
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("no connection to %s at %s", c.name, host), err)
	}
	if network != nil && network.Op == "remote error" && isRefusal(network.Err) {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s at %s refuses our TLS client certificate", c.name, host), errors.Join(ra.ErrCredential, err))
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
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("no answer in time from %s at %s", c.name, host), err)
	}
	return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the connection to %s at %s failed", c.name, host), err)
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
