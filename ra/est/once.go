// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

// Passwords verifies one-time passwords, as store.Passwords does.
type Passwords interface {
	Verify(ctx context.Context, presented secret.Text, label string, now time.Time) (store.Password, error)
	// Proof gives the keys of a password that was made for identity proofs of
	// CMC. The errors are those of Verify; with *store.Unusable there are keys.
	Proof(ctx context.Context, id, label string, now time.Time) (store.Password, store.ProofKeys, error)
	Refused(ctx context.Context, id string) error
}

// Devices finds the devices that a certificate is of, as store.Devices does.
type Devices interface {
	Match(ctx context.Context, keys policy.DeviceKeys) ([]store.Device, error)
}

// An Inventory finds a certificate, as store.Inventory does.
type Inventory interface {
	BySHA256(ctx context.Context, serial string, sha256 [32]byte) (store.Certificate, error)
}

// storeFailed is for a request that can be sent again.
func storeFailed(err error) *ra.Error { return ra.Fail(ra.Busy, "the store can't be asked", err) }

// oneTime verifies a one-time password. proven is false where it isn't good;
// why stands in x.reasons where the password is right all the same.
func (x *exchange) oneTime(presented secret.Text, via string) (proven bool, _ *ra.Error) {
	found, err := x.s.Passwords.Verify(x.r.Context(), presented, x.target.label, x.now)
	var unusable *store.Unusable
	switch {
	case err == nil:
		x.who.Passwords = append(x.who.Passwords, found.Proven(via))
		return true, nil
	case errors.As(err, &unusable):
		x.reasons = append(x.reasons, unusable.Error())
		return false, nil
	case errors.Is(err, store.ErrUnknown):
		return false, nil
	default:
		return false, storeFailed(err)
	}
}

// basicOnce is the password of HTTP Basic where it has the form of a one-time
// password and a line takes one. The user name isn't looked at: it may be
// empty (RFC 7030 section 3.2.3).
func (x *exchange) basicOnce() (secret.Text, bool) {
	if x.s.Passwords == nil || !x.profile.TakesPassword(x.target.op, policy.ViaBasic) {
		return "", false
	}
	_, password, ok := x.r.BasicAuth()
	text := secret.Text(password)
	return text, ok && store.IsToken(text)
}

// otpChallenge verifies the otpChallenge of a request that was read (RFC 7894
// section 3.1). Guesses count as those of other credentials. Whether it was
// needed, and that one which is there must be right, the policy says. Nothing is
// verified where an RA brings the request: on_behalf takes no such password.
func (x *exchange) otpChallenge() *ra.Error {
	if x.onBehalf || x.s.Passwords == nil || !x.profile.TakesPassword(x.target.op, policy.ViaChallenge) {
		return nil
	}
	presented, present, ok := binding.Challenge(x.csr, binding.OTPChallenge)
	if !present {
		return nil
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), checkWait)
	defer cancel()
	attempt, fail := x.s.Attempts.begin(ctx, certless.NetworkOf(x.in.Remote), "\x00"+policy.ViaChallenge, x.now)
	if fail != nil {
		return fail
	}
	became := failed // by a panic too
	defer func() { attempt.end(became) }()
	if !ok {
		x.reasons = append(x.reasons, "the attribute otpChallenge is malformed")
		return nil
	}
	proven, fail := x.oneTime(secret.Text(presented), policy.ViaChallenge)
	switch {
	case fail != nil:
		became = returned
		return fail
	case proven:
		became = succeeded
		return nil
	}
	x.reasons = append(x.reasons, "the otpChallenge did not verify")
	return nil
}

// devices finds what the registries know of the client certificate.
func (x *exchange) devices() *ra.Error {
	if x.s.Devices == nil || x.who.Cert == nil {
		return nil
	}
	found, err := x.s.Devices.Match(x.r.Context(), policy.DeviceKeysOf(x.who.Cert))
	if err != nil {
		return storeFailed(err)
	}
	for _, d := range found {
		x.who.Devices = append(x.who.Devices, d.Matched(x.now))
	}
	return nil
}

// inventory finds under which profile the client certificate was issued, where a
// line asks for it, also one of the shadow policy.
func (x *exchange) inventory() *ra.Error {
	asks := x.profile.AsksInventory(x.target.op)
	if x.s.Shadow != nil && !asks {
		shadow, ok := x.s.Shadow.Profile(x.target.label)
		asks = ok && shadow.AsksInventory(x.target.op)
	}
	cert := x.who.Cert
	if !asks || cert == nil || x.s.Inventory == nil {
		return nil
	}
	found, err := x.s.Inventory.BySHA256(x.r.Context(), ra.SerialText(cert.SerialNumber), sha256.Sum256(cert.Raw))
	switch {
	case err == nil:
		x.who.IssuedUnder = found.Profile
	case !errors.Is(err, store.ErrUnknown):
		return storeFailed(err)
	}
	return nil
}

// countRefusal counts a request that the policy has refused against its
// one-time passwords: guessing what one is for is bounded so. on_behalf uses none.
func (x *exchange) countRefusal() {
	who := x.request.Who
	if x.onBehalf || x.s.Passwords == nil || x.outcome.Decision.Verdict != policy.Deny || x.outcome.Decision.Profile == "" {
		return
	}
	ids := make([]string, 0, len(who.Passwords))
	for _, p := range who.Passwords {
		ids = append(ids, p.ID)
	}
	for _, id := range slices.Compact(ids) {
		if err := x.s.Passwords.Refused(context.WithoutCancel(x.r.Context()), id); err != nil {
			x.outcome.Unsettled = err
		}
	}
}
