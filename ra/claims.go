// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/store"
)

// defaultRepeat is how long a request may be repeated with what is good once.
const defaultRepeat = 24 * time.Hour

// settleTimeout bounds the wait for a disk that is busy.
const settleTimeout = 10 * time.Second

// reserve reserves what the request uses up, before the CA is asked: whoever
// comes with another key, label or names comes second. settle tells what became
// of it, and is called once. Its error changes nothing for the client: what was
// reserved stays so.
//
// again says that it is reserved already, for an order that the CA has not decided
// yet.
func (a *Authority) reserve(ctx context.Context, label string, t task, again bool, out *Outcome) (settle func(*Outcome, *Error), e *Error) {
	nothing := func(*Outcome, *Error) {}
	uses := out.Decision.Uses
	if a.Claims == nil {
		if len(uses) > 0 {
			return nothing, Fail(Fault, "nothing keeps what is good once", nil)
		}
		return nothing, nil
	}
	if len(uses) > 0 && !again {
		id, err := requestHash(label, t, out.Decision.Plan.Names)
		if err != nil {
			return nothing, Fail(Fault, "the request can't be told from others", err)
		}
		err = a.Claims.Reserve(ctx, store.Reservation{
			Uses: uses, For: id, SPKI: sha256.Sum256(t.csr.RawSPKI), Now: t.now, Until: t.now.Add(a.repeat()),
		})
		switch {
		case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrUnknown):
			return nothing, Fail(Forbidden, "what is good once can't be used", err)
		case err != nil:
			return nothing, Fail(Busy, "what is good once can't be reserved", err)
		}
	}
	return func(out *Outcome, e *Error) {
		if again && e != nil && e.Kind != UpstreamRefused && out.Withheld == nil {
			return // the CA has yet to decide
		}
		out.Unsettled = errors.Join(out.Unsettled, a.settle(ctx, t, uses, out, e))
	}, nil
}

// settle is also for requests that use nothing up: a device's certificates
// are remembered, and one that was shown has been collected. Of what a registration
// authority asks for, none is its own.
func (a *Authority) settle(ctx context.Context, t task, uses []policy.Use, out *Outcome, e *Error) error {
	s := store.Settlement{Uses: uses, Ended: endOf(out, e), Now: t.now}
	if t.role != policy.RoleRA {
		for _, d := range t.who.Devices {
			s.Devices = append(s.Devices, d.ID())
		}
	}
	if cert := out.Certificate; cert != nil {
		s.Certificate, s.NotAfter = sha256.Sum256(cert.Raw), cert.NotAfter
	}
	if out.Replaces != nil && s.Ended == store.Issued {
		s.Collected = sha256.Sum256(out.Replaces.RawSubjectPublicKeyInfo)
	}
	if len(uses)+len(s.Devices) == 0 && s.Collected == [32]byte{} {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return a.Claims.Settle(ctx, s)
}

// endOf says whether there is a certificate. Where the CA may have signed, or
// has signed something else, nobody knows.
func endOf(out *Outcome, e *Error) store.Ended {
	switch {
	case out.Certificate != nil:
		return store.Issued
	case e == nil || out.Withheld != nil || out.Status == StatusUnknown:
		return store.Unknown
	}
	switch e.Kind {
	case UpstreamDown, UpstreamRefused, Busy:
		return store.NotIssued
	default:
		return store.Unknown
	}
}

func (a *Authority) repeat() time.Duration {
	if a.Repeat > 0 {
		return a.Repeat
	}
	return defaultRepeat
}

// requestHash is the same for a request that is repeated: over label, key and
// the names that the certificate is to have. Where the key is made for the
// device it is another one each time.
func requestHash(label string, t task, names csr.Names) (sum [sha256.Size]byte, err error) {
	subject, err := names.Subject.MarshalDER()
	if err != nil {
		return sum, err
	}
	key := t.csr.RawSPKI
	if t.making != nil {
		key = []byte(policy.ServerKeygen)
	}
	parts := [][]byte{[]byte(label), key, subject}
	if len(names.SAN) > 0 {
		san, err := csr.MarshalSAN(names.SAN)
		if err != nil {
			return sum, err
		}
		parts = append(parts, san)
	}
	return framed(parts...), nil
}
