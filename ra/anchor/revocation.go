// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-est/estra/ra/crl"
	"github.com/caddy-est/estra/ra/ocsp"
)

// errNobody: every list is of another issuer, and no responder is asked.
var errNobody = fmt.Errorf("no list is of its issuer, and no responder is asked about it: %w", crl.ErrOtherIssuer)

// ForGood tells whether an error of a Revocation is one that no waiting
// changes.
func ForGood(err error) bool {
	return crl.ForGood(err) || errors.Is(err, ocsp.ErrExpired) || errors.Is(err, ocsp.ErrUnknown)
}

// Sources are where an anchor of files asks about revocation: lists, and a
// responder. Each certificate of a chain but the anchor needs an answer (RFC
// 5280 section 6.1.3 (a)(3)):
//
//   - Every list of the certificate's issuer counts.
//   - The responder is asked about the client's own certificate, and about one
//     of a CA where no list is of its issuer: few responders answer for both.
//   - Who is asked must answer, so that who can keep one source silent can't
//     keep its revocations from us. Revoked by one is revoked.
//
// The zero value asks nobody, and refuses.
type Sources struct {
	Lists     []*List
	Responder *Responder // nil: none
	// Prefer takes a certificate of which nobody can say that it is revoked.
	Prefer bool
}

// Revoked implements [Revocation].
func (s *Sources) Revoked(ctx context.Context, chain []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	var failure error
	for i, issuer := range chain[1:] {
		revoked, err := s.ask(ctx, question{cert: chain[i], issuer: issuer, leaf: i == 0, now: now})
		if revoked {
			return chain[i], nil
		}
		if err != nil && failure == nil {
			failure = err
			if i > 0 {
				failure = fmt.Errorf("the CA certificate %q: %w", chain[i].Subject.String(), err)
			}
		}
	}
	if s.Prefer && failure != nil {
		return nil, NoAnswer{failure}
	}
	return nil, failure
}

// NoAnswer is what a Revocation says where nobody could tell, and the
// certificate counts all the same.
type NoAnswer struct{ Err error }

func (n NoAnswer) Error() string { return n.Err.Error() }

// Unwrap gives the reason.
func (n NoAnswer) Unwrap() error { return n.Err }

// A question is about one certificate of a chain that verified.
type question struct {
	cert, issuer *x509.Certificate
	leaf         bool // the client's own
	now          time.Time
}

func (s *Sources) ask(ctx context.Context, q question) (bool, error) {
	listed, revoked, err := s.askLists(ctx, q)
	if revoked || s.Responder == nil || listed && !q.leaf {
		return revoked, err
	}
	answer, failure := s.Responder.ask(ctx, q)
	if failure == nil && answer.Responder != nil {
		failure = s.stands(answer.Responder, q)
	}
	switch {
	case failure != nil:
		failure = fmt.Errorf("ocsp %s: %w", s.Responder.URL, failure)
		if listed || !errors.Is(err, errNobody) {
			return false, errors.Join(err, failure)
		}
		return false, failure
	case answer.Revoked:
		return true, nil
	case !listed && errors.Is(err, errNobody):
		return false, nil
	}
	return false, err
}

// stands refuses a responder whose own certificate a list has revoked (RFC
// 6960 section 4.2.2.2.1). Where no list is of its issuer it stands: the
// addresses in its certificate aren't followed.
func (s *Sources) stands(responder *x509.Certificate, q question) error {
	for _, l := range s.Lists {
		if of, _ := l.speaksOf(q.issuer, q.now); !of {
			continue
		}
		if revoked, err := l.held.Revoked(responder, q.issuer, q.now); err == nil && revoked {
			return fmt.Errorf("the responder's certificate (serial %x) is revoked", responder.SerialNumber.Bytes())
		}
	}
	return nil
}

// askLists tells whether a list of the issuer was there to be asked, and what
// it and others said. Where none was, a list that couldn't be had may have been
// the one.
func (s *Sources) askLists(ctx context.Context, q question) (listed, revoked bool, err error) {
	var missing error
	for _, l := range s.Lists {
		failure := l.current(ctx, q.now)
		of, forged := l.speaksOf(q.issuer, q.now)
		if forged != nil {
			failure = forged
		}
		if !of {
			if failure != nil {
				missing = fmt.Errorf("crl %s: %w", l.Name, failure)
			}
			continue
		}
		listed = true
		if revoked, silent := l.held.Revoked(q.cert, q.issuer, q.now); revoked {
			return true, true, nil
		} else if failure == nil {
			failure = silent
		}
		if failure != nil {
			err = fmt.Errorf("crl %s: %w", l.Name, failure)
		}
	}
	switch {
	case listed:
		return true, false, err
	case missing != nil:
		return false, false, missing
	}
	return false, false, errNobody
}

// Refresh asks again what is due, in the background of requests.
func (s *Sources) Refresh(ctx context.Context, now time.Time) {
	for _, l := range s.Lists {
		_ = l.current(ctx, now) // kept for Failures
	}
	if s.Responder != nil {
		s.Responder.refresh(ctx, now)
	}
}

// Failures say which sources can't be asked now, one sentence each.
func (s *Sources) Failures(now time.Time) []string {
	var all []string
	for _, l := range s.Lists {
		if err := l.failed(now); err != nil {
			all = append(all, fmt.Sprintf("crl %s: %v", l.Name, err))
		}
	}
	if s.Responder != nil {
		if err := s.Responder.failed(); err != nil {
			all = append(all, fmt.Sprintf("ocsp %s: %v", s.Responder.URL, err))
		}
	}
	return all
}

// Expiries say when what is held ends, the first of each kind: "crl" the lists,
// "ocsp" what the responder answered last. What isn't held is left out.
func (s *Sources) Expiries() map[string]time.Time {
	ends := make(map[string]time.Time)
	for _, l := range s.Lists {
		end := l.held.NextUpdate()
		if first, ok := ends["crl"]; !end.IsZero() && (!ok || end.Before(first)) {
			ends["crl"] = end
		}
	}
	if s.Responder != nil {
		if end := s.Responder.end(); !end.IsZero() {
			ends["ocsp"] = end
		}
	}
	return ends
}

var _ Revocation = (*Sources)(nil)
