// SPDX-License-Identifier: Apache-2.0

package crl

import (
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"
)

// Latest holds the newest list of one issuer, as it was last fetched or read.
// The zero value holds none, and then every question is an error. It is safe
// for concurrent use.
type Latest struct {
	list atomic.Pointer[List]
}

// Replace puts a new list in the place of the one held, when it is fresh at
// now and not older than that one. Otherwise the old one stays.
func (l *Latest) Replace(der []byte, issuers []*x509.Certificate, now time.Time) error {
	list, err := Parse(der, issuers)
	if err != nil {
		return err
	}
	if err := list.Fresh(now); err != nil {
		return err
	}
	for {
		held := l.list.Load()
		if held != nil && list.older(held) {
			return errOlder
		}
		if l.list.CompareAndSwap(held, list) {
			return nil
		}
	}
}

// Revoked is [List.Revoked] of the list held.
func (l *Latest) Revoked(c *x509.Certificate, now time.Time) (bool, error) {
	list := l.list.Load()
	if list == nil {
		return false, errNone
	}
	return list.Revoked(c, now)
}

var (
	errNone  = errors.New("crl: there is no list yet")
	errOlder = errors.New("crl: the list is older than the one held")
)

// NextUpdate is when the list held ends to be fresh; zero when there is none.
func (l *Latest) NextUpdate() time.Time {
	if list := l.list.Load(); list != nil {
		return list.NextUpdate()
	}
	return time.Time{}
}

// older compares by CRL number (RFC 5280 section 5.2.3) where both lists have
// one, else by thisUpdate. Lists of different issuers have no order.
func (l *List) older(held *List) bool {
	if string(l.issuer) != string(held.issuer) {
		return false
	}
	if l.number != nil && held.number != nil {
		return l.number.Cmp(held.number) < 0
	}
	return l.thisUpdate.Before(held.thisUpdate)
}
