// SPDX-License-Identifier: Apache-2.0

package crl

import (
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// maxIssuers bounds the lists of one CA: it has a new issuing certificate
// every few years.
const maxIssuers = 16

// Each holds the newest list of each issuer of a CA, which publishes one at a
// time. After the CA has changed its issuer, the last list of the former one
// answers until its nextUpdate. The zero value holds none. It is safe for
// concurrent use.
type Each struct {
	mu     sync.Mutex
	held   map[string]*List // by issuer
	latest *List
}

// Replace is [Latest.Replace] for the list's issuer.
func (e *Each) Replace(der []byte, issuers []*x509.Certificate, now time.Time) error {
	list, err := Parse(der, issuers)
	if err != nil {
		return err
	}
	if err := list.Fresh(now); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if held := e.held[string(list.issuer)]; held != nil && list.older(held) {
		return errOlder
	}
	if e.held == nil {
		e.held = make(map[string]*List)
	}
	e.held[string(list.issuer)], e.latest = list, list
	if len(e.held) > maxIssuers {
		e.forget()
	}
	return nil
}

// forget drops the list that ended first; its certificates then have none.
func (e *Each) forget() {
	first := e.latest
	for _, list := range e.held {
		if list != e.latest && (first == e.latest || list.nextUpdate.Before(first.nextUpdate)) {
			first = list
		}
	}
	delete(e.held, string(first.issuer))
}

// Revoked is [List.Revoked] of the list that the certificate's issuer has
// here. For the list of a former issuer that has ended, the error is
// [ErrOtherIssuer]: there won't be another.
func (e *Each) Revoked(c *x509.Certificate, now time.Time) (bool, error) {
	e.mu.Lock()
	list, latest := e.held[string(c.RawIssuer)], e.latest
	e.mu.Unlock()
	if latest == nil {
		return false, errNone
	}
	if list == nil {
		return false, fmt.Errorf("crl: %w", ErrOtherIssuer)
	}
	if ended := list.Fresh(now); ended != nil && list != latest {
		if revoked, err := list.Revoked(c, now); err == nil && revoked {
			return true, nil
		}
		return false, fmt.Errorf("%w; the CA now publishes another: %w", ended, ErrOtherIssuer)
	}
	return list.Revoked(c, now)
}

// Has tells whether there is, or was, a list of an issuer, whose Name it gets
// in DER.
func (e *Each) Has(issuer []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.held[string(issuer)] != nil
}

// Fresh is [List.Fresh] of the list that came last.
func (e *Each) Fresh(now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.latest == nil {
		return errNone
	}
	return e.latest.Fresh(now)
}

// NextUpdate is when the list that came last ends to be fresh; zero when there
// is none.
func (e *Each) NextUpdate() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.latest == nil {
		return time.Time{}
	}
	return e.latest.NextUpdate()
}
