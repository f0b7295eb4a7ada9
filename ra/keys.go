// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/caddy-est/estra/policy"
)

// Keys remembers for which names keys were certified, whatever the profile
// and the upstream were. It is safe for concurrent use.
type Keys interface {
	// Take gives one request its turn: it waits while another one with the
	// same key is under way, so that two requests can't both find that a key
	// is new. The key is known by the SHA-256 of its SubjectPublicKeyInfo. The
	// holder is nil where the key is new. done ends the turn, and remembers
	// whom the key was certified for; with nil, nothing has changed. It is
	// called once, and neither blocks nor fails.
	Take(ctx context.Context, spki [sha256.Size]byte) (holder *policy.KeyHolder, done func(certified *policy.KeyHolder), err error)
}

// takeKey waits for the turn of the request's key. end ends it, and tells what
// became of the request.
func (a *Authority) takeKey(ctx context.Context, ca *CA, t task) (holder *policy.KeyHolder, end func(*Outcome, *Error), e *Error) {
	if a.Keys == nil {
		return nil, func(*Outcome, *Error) {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ca.timeout())
	defer cancel()
	holder, done, err := a.Keys.Take(ctx, sha256.Sum256(t.csr.RawSPKI))
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, Fail(Busy, fmt.Sprintf("another request with the same key is under way for more than %s", ca.timeout()), err)
		}
		return nil, nil, Fail(Fault, "for whom the key was certified isn't known", err)
	}
	return holder, func(out *Outcome, e *Error) { done(certified(holder, out, e)) }, nil
}

// certified says for whom the key has been certified now; nil where that isn't
// new. Where the CA may have signed it counts: the device may ask again for
// the same names, and for no others.
func certified(before *policy.KeyHolder, out *Outcome, e *Error) *policy.KeyHolder {
	serial := out.Serial
	switch {
	case out.Certificate != nil:
		serial = out.Certificate.SerialNumber
	case e == nil || statusOf(e.Kind) != StatusUnknown && out.Status != StatusUnknown:
		return nil
	}
	names, ok := out.Decision.Plan.Names.Digest()
	if serial == nil || !ok || before != nil && before.Names == names {
		return nil
	}
	return &policy.KeyHolder{Names: names, Serial: fmt.Sprintf("%x", serial.Bytes())}
}
