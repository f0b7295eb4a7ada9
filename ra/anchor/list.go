// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/crl"
)

const (
	// waitAtMost is how long a request waits for a first answer.
	waitAtMost = 5 * time.Second
	// fetchAtMost is how long a source may take for one.
	fetchAtMost = 30 * time.Second
	// retryAfter is when a source that failed is asked again.
	retryAfter = 30 * time.Second
)

// MaxList bounds a CRL: some 400,000 entries.
const MaxList = 16 << 20

// maxLearnt bounds the CAs below an anchor that have lists in one place.
const maxLearnt = 16

var (
	errSlow  = fmt.Errorf("no answer within %s", waitAtMost)
	errEmpty = errors.New("it has not been read yet")
)

// A Place is where a CRL is had from.
type Place interface {
	// Read returns the bytes of the list; nil when it is the one that was taken.
	Read(ctx context.Context) ([]byte, error)
	// Took says that what Read returned was good. What wasn't is read again.
	Took()
	// Every is after what time the list is read again.
	Every() time.Duration
	// Ours tells whether the list is kept here, by whom runs this server: then
	// a failure is a mistake, and the list of before doesn't answer for it.
	Ours() bool
}

// A List is the CRL of one place, as it was last read. It is safe for
// concurrent use.
type List struct {
	Name  string // for messages
	Place Place
	// Issuers returns the anchor's certificates, one of which may have signed
	// the list. So may a CA of a chain that verified under the anchor: then the
	// list waits for the first such chain.
	Issuers func(ctx context.Context) []*x509.Certificate

	held crl.Each

	mu      sync.Mutex
	flight  chan struct{} // closed at the end of a reading under way
	tried   time.Time
	failure error
	learnt  []*x509.Certificate
	waiting []byte
	waits   crl.Issuer // for whom
}

// Load reads the list for the first time, at the start. A list that waits for
// its issuer is no error.
func (l *List) Load(ctx context.Context, now time.Time) error {
	flight := make(chan struct{})
	l.mu.Lock()
	l.flight = flight
	l.mu.Unlock()
	l.fly(ctx, flight, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// current sees to it that the list is read when it is due, and waits where
// nothing can answer before. An error means that the place can't be asked.
func (l *List) current(ctx context.Context, now time.Time) error {
	l.mu.Lock()
	if l.flight == nil && l.due(now) {
		l.flight = make(chan struct{})
		go l.fly(context.WithoutCancel(ctx), l.flight, now)
	}
	flight := l.flight
	answers := !l.Place.Ours() && l.has(now)
	l.mu.Unlock()
	if flight != nil && !answers {
		if err := await(ctx, flight); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil && (l.Place.Ours() || !l.has(now)) {
		return l.failure
	}
	return nil
}

// await waits for the end of a flight, for a bounded time.
func await(ctx context.Context, flight <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, waitAtMost, errSlow)
	defer cancel()
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// due tells whether to read again.
func (l *List) due(now time.Time) bool {
	if l.tried.IsZero() {
		return true
	}
	every := l.Place.Every()
	if l.failure != nil || !l.has(now) {
		every = min(every, retryAfter)
	}
	return now.Sub(l.tried) >= every || now.Before(l.tried)
}

// has tells whether there is something that may answer at now.
func (l *List) has(now time.Time) bool {
	return l.held.Fresh(now) == nil || l.waiting != nil
}

// fly reads once. A request that hangs up must not fail the others.
func (l *List) fly(ctx context.Context, flight chan struct{}, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, fetchAtMost)
	defer cancel()
	der, err := l.Place.Read(ctx)
	issuers := l.issuers(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(flight)
	if err == nil {
		err = l.accept(der, issuers, now)
	}
	l.tried, l.failure, l.flight = now, err, nil
}

func (l *List) issuers(ctx context.Context) []*x509.Certificate {
	if l.Issuers == nil {
		return nil
	}
	return l.Issuers(ctx)
}

// accept takes in what was read. Nothing read: what is held is current.
func (l *List) accept(data []byte, issuers []*x509.Certificate, now time.Time) error {
	if data == nil {
		if l.waiting == nil && l.held.NextUpdate().IsZero() {
			return errEmpty
		}
		return nil
	}
	der, err := crl.DER(data)
	if err != nil {
		return err
	}
	err = l.held.Replace(der, append(issuers[:len(issuers):len(issuers)], l.learnt...), now)
	if errors.Is(err, crl.ErrUnknownIssuer) {
		if l.waits, err = crl.IssuerOf(der); err == nil {
			l.waiting = bytes.Clone(der)
			l.Place.Took()
		}
		return err
	}
	if err != nil {
		return err
	}
	l.waiting, l.waits = nil, crl.Issuer{}
	l.Place.Took()
	return nil
}

// speaksOf tells whether the list is that of an issuer, whose place in a chain
// under the anchor was verified. An error means that it says so, and isn't.
func (l *List) speaksOf(issuer *x509.Certificate, now time.Time) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting != nil && l.waits.Is(issuer) {
		err := l.held.Replace(l.waiting, []*x509.Certificate{issuer}, now)
		l.waiting, l.waits, l.failure = nil, crl.Issuer{}, err
		if err != nil {
			return l.held.Has(issuer), err
		}
		if len(l.learnt) < maxLearnt {
			l.learnt = append(l.learnt, issuer)
		}
	}
	if l.held.Has(issuer) {
		return true, nil
	}
	if l.waiting != nil && l.waits.Named(issuer) { // that of a namesake, or of another key
		return false, crl.ErrOtherKey
	}
	return false, nil
}

// failed says why the list can't be asked now; nil when it can.
func (l *List) failed(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil && (l.Place.Ours() || !l.has(now)) {
		return l.failure
	}
	if l.waiting == nil {
		return l.held.Fresh(now)
	}
	return nil
}

// Waits tells whether the list waits for a chain with its issuer's certificate.
func (l *List) Waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting != nil
}
