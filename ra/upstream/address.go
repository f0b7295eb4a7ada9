// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// tripAfter is how many calls in a row must fail before an address rests:
	// one broken connection is no outage.
	tripAfter = 3
	// defaultRest is how long it then isn't asked.
	defaultRest = 5 * time.Second
	// probeTimeout bounds the question whether it is well again.
	probeTimeout = 2 * time.Second
	// probeLimit bounds what is read of the answer to it.
	probeLimit = 64 << 10

	// dialTimeout is for the TCP connection; with another address to turn to,
	// there is no time to wait for one that drops packets.
	dialTimeout     = 5 * time.Second
	dialTimeoutMany = 2 * time.Second
)

// An Other is a further address of the same CA.
type Other struct {
	Base *url.URL
	TLS  *tls.Config // verifies the CA there; nil is Config.TLS
}

// An address is one of the CA's, with what use has told of its health. It is
// safe for concurrent use.
type address struct {
	base  *url.URL
	http  atomic.Pointer[http.Client]
	rest  time.Duration
	tell  func(host string, failure error) // never nil
	ahead atomic.Pointer[time.Duration]    // the clock there, of ours; nil: not known

	mu      sync.Mutex
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	failure error // the last that counted
	// lasting says that what the address answers to others doesn't end it: an answer
	// was lost, or a request for a certificate failed. Such an address may say of
	// itself that it is well, and do all but issue.
	lasting bool
}

func newAddress(cfg Config, base *url.URL, config *tls.Config) *address {
	dial := dialTimeout
	if len(cfg.Others) > 0 {
		dial = dialTimeoutMany
	}
	if cfg.Certificate != nil {
		config = config.Clone()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cfg.Certificate() }
	}
	a := &address{base: base, rest: cfg.Rest, tell: cfg.Observe}
	a.http.Store(&http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dial}).DialContext,
			TLSClientConfig:        config,
			MaxIdleConns:           cfg.MaxConns,
			MaxIdleConnsPerHost:    cfg.MaxConns,
			MaxConnsPerHost:        cfg.MaxConns,
			TLSHandshakeTimeout:    cfg.Timeout,
			IdleConnTimeout:        cfg.Idle,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		// The CA's answer is what it says itself; a credential isn't
		// carried to another place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	if a.rest <= 0 {
		a.rest = defaultRest
	}
	if a.tell == nil {
		a.tell = func(string, error) {}
	}
	a.breaker = a.circuit()
	return a
}

// reconnect makes new connections for what comes. Calls under way end as they
// would.
func (a *address) reconnect() {
	old := a.http.Load()
	made := *old
	if transport, ok := old.Transport.(*http.Transport); ok {
		made.Transport = transport.Clone()
	}
	a.http.Store(&made)
	old.CloseIdleConnections()
}

// circuit is a breaker that is closed.
func (a *address) circuit() *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1, // one trial at once
		Timeout:     a.rest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNoVerdict) },
	})
}

// errNoVerdict is what became of a call that says nothing of the address.
var errNoVerdict = errors.New("nothing is known")

// An outcome is what a call tells of its address.
type outcome struct {
	failure error // nil: it is well
	lasting bool  // of failure; see address
	signs   bool  // it was a request for a certificate
	void    bool  // nothing is known: the caller has hung up
}

// admit asks for leave to send. Whoever gets it must call done, once. The
// error says why the address isn't asked; trial, that it has rested, and that
// the next calls depend on this one.
func (a *address) admit() (done func(outcome), trial bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	breaker := a.breaker
	report, err := breaker.Allow()
	if err != nil {
		return nil, false, fmt.Errorf("%s rests for up to %s after failures in a row, the last: %w", a.base.Host, a.rest, a.failure)
	}
	trial = breaker.State() == gobreaker.StateHalfOpen
	return func(o outcome) { a.report(breaker, report, o) }, trial, nil
}

func (a *address) report(breaker *gobreaker.TwoStepCircuitBreaker[struct{}], report func(error), o outcome) {
	a.mu.Lock()
	before := breaker.State()
	switch {
	case o.void:
		report(errNoVerdict)
	case o.failure != nil:
		a.failure, a.lasting = o.failure, o.lasting
		report(o.failure)
	case a.lasting && !o.signs:
		report(errNoVerdict)
	default:
		a.lasting = false
		report(nil)
	}
	after, failure := breaker.State(), a.failure
	a.mu.Unlock()
	switch {
	case before == gobreaker.StateClosed && after == gobreaker.StateOpen:
		a.tell(a.base.Host, failure)
	case before == gobreaker.StateHalfOpen && after == gobreaker.StateClosed:
		a.tell(a.base.Host, nil)
	}
}

// why is the last failure of an address that rests; nil of another.
func (a *address) why() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.breaker.State() == gobreaker.StateClosed {
		return nil
	}
	return a.failure
}

// resting tells whether calls that have an effect aren't sent there.
func (a *address) resting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.breaker.State() != gobreaker.StateClosed
}

// answered takes note of what came of a call that only reads. A failure counts
// as any other. An answer ends the rest, unless the failure is a lasting one; it
// makes no failure of a call with an effect undone.
func (a *address) answered(o outcome) {
	if !a.resting() {
		if o.failure == nil || o.void {
			return
		}
		if done, _, err := a.admit(); err == nil {
			done(o)
		}
		return
	}
	a.mu.Lock()
	well := o.failure == nil && !o.void && !a.lasting
	if well {
		a.breaker = a.circuit()
	}
	a.mu.Unlock()
	if well {
		a.tell(a.base.Host, nil)
	}
}
