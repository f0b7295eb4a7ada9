// SPDX-License-Identifier: Apache-2.0

package crl

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxIssuers bounds the lists of one CA: it has a new issuing key every few
// years.
const maxIssuers = 16

var (
	errNone  = errors.New("crl: there is no list yet")
	errOlder = errors.New("crl: the list is older than the one held")
)

// Each holds the newest list of each issuer of a CA, which publishes one at a
// time. An issuer is a name with a key: a CA that changes its key under one name may
// sign a list with each, for the certificates of that key. After the CA has changed
// its issuer, the last list of the former one answers until its nextUpdate. The
// zero value holds none. It is safe for concurrent use.
type Each struct {
	// AnyKey: each list is one for all certificates of its issuer's name, whichever
	// of its keys has signed them. It is set before there is a list.
	AnyKey bool

	mu     sync.Mutex
	held   map[string]*List // by slot
	latest *List
}

// slot is where the list of an issuer is held.
func (e *Each) slot(name, key []byte) string {
	if e.AnyKey {
		return string(name)
	}
	return string(slices.Concat(name, key)) // one DER after the other
}

// Replace puts a new list in the place of the one held of its issuer, when it is
// fresh at now and not older than that one. Otherwise the old one stays.
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
	slot := e.slot(list.issuer, list.key)
	if held := e.held[slot]; held != nil && list.older(held) {
		return errOlder
	}
	if e.held == nil {
		e.held = make(map[string]*List)
	}
	e.held[slot], e.latest = list, list
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
	delete(e.held, e.slot(first.issuer, first.key))
}

// of finds the list of an issuer.
func (e *Each) of(issuer *x509.Certificate) (list, latest *List) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.held[e.slot(issuer.RawSubject, issuer.RawSubjectPublicKeyInfo)], e.latest
}

// Revoked is [List.Revoked] of the list that the certificate's issuer has here:
// the caller has verified that its key signed the certificate. For the list of a
// former issuer that has ended, the error is [ErrOtherIssuer]: there won't be
// another.
func (e *Each) Revoked(c, issuer *x509.Certificate, now time.Time) (bool, error) {
	list, latest := e.of(issuer)
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

// Has tells whether there is, or was, a list of an issuer.
func (e *Each) Has(issuer *x509.Certificate) bool {
	list, _ := e.of(issuer)
	return list != nil
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

// older compares by CRL number (RFC 5280 section 5.2.3) where both lists have
// one, else by thisUpdate. They are of one issuer.
func (l *List) older(held *List) bool {
	if l.number != nil && held.number != nil {
		return l.number.Cmp(held.number) < 0
	}
	return l.thisUpdate.Before(held.thisUpdate)
}
