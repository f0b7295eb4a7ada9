// SPDX-License-Identifier: Apache-2.0

package certless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/caddy-est/estra/ra/hello"
	"github.com/caddy-est/estra/ra/srp"
)

// Alerts (RFC 5246 section 7.2) that are sent before there is a handshake.
const (
	handshakeFailure = 40
	internalError    = 80
)

// alert refuses a ClientHello.
func alert(conn net.Conn, description byte) {
	_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, description})
}

var errUnfit = errors.New("the client doesn't offer encrypt-then-MAC (RFC 7366) and extended master secret (RFC 7627)")

// handshake takes over one connection. The Report has what is known, but for Took
// and Reason. Who has no account goes the same way as who has one, to the end, and
// so does who has guessed too often: with a verifier that no password fits.
func (l *listener) handshake(ends time.Time, plain *hello.Conn, said *hello.Hello, rep *Report) (_ *conn, err error) {
	defer func() {
		if v := recover(); v != nil {
			rep.Outcome, err = Failed, panicked(v)
		}
	}()
	if !said.EncryptThenMAC || !said.ExtendedMasterSecret {
		rep.Outcome = Unfit
		alert(plain, handshakeFailure)
		return nil, errUnfit
	}
	ctx, cancel := context.WithDeadline(context.Background(), ends)
	defer cancel()
	end, throttled, err := l.attempt(ctx, said.User, rep)
	if err != nil {
		rep.Outcome = Failed
		alert(plain, internalError)
		return nil, err
	}
	var guessed, right bool
	defer func() { end(guessed, right) }()
	v, known, err := l.Users.Verifier(ctx, l.Realm, said.User)
	if err == nil && throttled {
		v.V, err = decoy(l.Random, v)
	}
	if err != nil {
		rep.Outcome = Failed
		alert(plain, internalError)
		return nil, fmt.Errorf("the user can't be looked up: %w", err)
	}
	if known {
		rep.User = said.User
	}
	made, err := l.Engine.Handshake(plain, v)
	if err == nil && (!known || throttled) {
		_ = made.Close()
		err = &Refusal{Guess: true, Reason: "the verifier of nobody was met"}
	}
	if err != nil {
		guessed = l.refused(rep, err, known, throttled)
		return nil, err
	}
	right, rep.Outcome = true, Accepted
	session := made.Made()
	session.Realm, session.User = l.Realm, said.User
	return newConn(made, &session, said.ServerName), nil
}

// refused says what became of a handshake that failed, and whether a password was
// tried in it.
func (l *listener) refused(rep *Report, err error, known, throttled bool) (guessed bool) {
	refusal, alerted := errors.AsType[*Refusal](err)
	guessed = alerted && refusal.Guess
	switch {
	case !alerted:
		rep.Outcome = Gone
	case throttled:
		rep.Outcome, rep.Reason = Throttled, ErrThrottled.Error()
	case !guessed:
		rep.Outcome = Broken
	case known:
		rep.Outcome, rep.Reason = Wrong, "the password is wrong"
	default:
		rep.Outcome, rep.Reason = Unknown, "there is no such user"
	}
	return guessed
}

// attempt asks whether a password may be tried.
func (l *listener) attempt(ctx context.Context, user string, rep *Report) (end func(guessed, right bool), throttled bool, err error) {
	nobody := func(bool, bool) {}
	if l.Attempts == nil {
		return nobody, false, nil
	}
	end, err = l.Attempts.Begin(ctx, rep.Remote, user, l.now())
	if errors.Is(err, ErrThrottled) {
		return nobody, true, nil
	}
	return end, false, err
}

// decoy is a number below the prime that is nobody's verifier.
func decoy(random io.Reader, v srp.Verifier) ([]byte, error) {
	made := make([]byte, len(v.Group.N()))
	if _, err := io.ReadFull(random, made[1:]); err != nil {
		return nil, fmt.Errorf("no randomness: %w", err)
	}
	return made, nil
}
