// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
)

// Times of a session.
const (
	recheck = time.Minute      // whether a token's file has changed
	retry   = 15 * time.Second // after a login or renewal that failed
	soonest = time.Second
	spare   = 5 * time.Second // a token that ends within this isn't used, or within a tenth of its life
)

// A session is our token: got, renewed after two thirds of its life, and got
// anew where it can't live on.
type session struct {
	up   *Upstream
	turn chan struct{} // held by who logs in or renews

	mu    sync.Mutex
	held  secret.Text
	known bool      // its life is
	until time.Time // zero: it has no end, or none that we know
	spare time.Duration
	due   time.Time // when it is renewed; zero: never
	// renews says that the token can be renewed.
	renews bool
}

func newSession(u *Upstream) *session { return &session{up: u, turn: make(chan struct{}, 1)} }

// ours says that the token is one that somebody made for us: there is no login.
func (s *session) ours() bool { return s.up.cfg.Login.Method == Token }

// token gives the one to use now. The error is *ra.Error.
func (s *session) token(ctx context.Context) (secret.Text, error) {
	if s.ours() {
		return s.given()
	}
	if held, ok := s.usable(); ok {
		return held, nil
	}
	if err := s.take(ctx); err != nil {
		return "", err
	}
	defer s.release()
	if held, ok := s.usable(); ok { // somebody else has got it
		return held, nil
	}
	return s.login(ctx)
}

// given is the token of the file, as it is now.
func (s *session) given() (secret.Text, error) {
	token, err := s.up.cfg.Login.Secret()
	if err != nil {
		return "", ra.Fail(ra.UpstreamDown, "the token for Vault can't be read", errors.Join(ra.ErrCredential, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if token != s.held {
		s.held, s.known, s.until, s.due = token, false, time.Time{}, time.Time{}
	}
	return token, nil
}

func (s *session) usable() (secret.Text, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ends := !s.until.IsZero() && s.up.cfg.Now().Add(s.spare).After(s.until)
	return s.held, s.held != "" && !ends
}

func (s *session) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ra.Fail(ra.UpstreamDown, "no token for Vault in time", ctx.Err())
	}
}

func (s *session) release() { <-s.turn }

func (s *session) login(ctx context.Context) (secret.Text, error) {
	got, err := s.up.login(ctx)
	if err != nil {
		return "", err
	}
	s.hold(secret.Text(got.ClientToken), got)
	return secret.Text(got.ClientToken), nil
}

// hold notes what is known of a token.
func (s *session) hold(token secret.Text, a auth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.up.cfg.Now()
	s.held, s.known, s.renews, s.until, s.due = token, true, a.Renewable, time.Time{}, time.Time{}
	life := a.life()
	if life == 0 {
		return
	}
	s.until, s.spare = now.Add(life), min(spare, life/10)
	if a.Renewable || !s.ours() {
		s.due = now.Add(life * 2 / 3)
	}
}

// forget drops a token, so that the next call logs in.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = ""
}

// replaceable says, of a token that was refused, that another one may be had.
func (s *session) replaceable(token secret.Text) bool {
	if !s.ours() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held == token {
			s.held = ""
		}
		return true
	}
	now, err := s.given()
	return err == nil && now != token
}

// keep does what is due, and says when to come again.
func (s *session) keep(ctx context.Context) time.Duration {
	token, err := s.token(ctx)
	if err != nil {
		return retry
	}
	if s.take(ctx) != nil {
		return retry
	}
	defer s.release()
	s.mu.Lock()
	known, due := s.known, s.due
	s.mu.Unlock()
	if !known {
		got, err := s.up.look(ctx, token)
		if err != nil {
			return retry
		}
		s.hold(token, got)
		return soonest
	}
	if due.IsZero() {
		return recheck
	}
	if wait := due.Sub(s.up.cfg.Now()); wait > 0 {
		return min(max(wait, soonest), recheck)
	}
	return s.prolong(ctx, token)
}

// prolong renews a token, or logs in where the renewal gives it no longer life:
// it is near the most that it may live.
func (s *session) prolong(ctx context.Context, token secret.Text) time.Duration {
	s.mu.Lock()
	left, renews := s.until.Sub(s.up.cfg.Now()), s.renews
	s.mu.Unlock()
	if renews {
		got, err := s.up.renew(ctx, token)
		if err == nil && got.life() > left {
			s.hold(token, got)
			return soonest
		}
	}
	if s.ours() {
		return retry
	}
	if _, err := s.login(ctx); err != nil {
		return retry
	}
	return soonest
}

// Keep logs in and renews the token, until ctx ends. Without it that is done
// by the call which needs it, and a token that nobody uses runs out.
func (u *Upstream) Keep(ctx context.Context) {
	for {
		wait := u.session.keep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// TokenEnd is when a token ends that somebody made for us; zero where it has no
// end, or we don't know it yet.
func (u *Upstream) TokenEnd() time.Time {
	if !u.session.ours() {
		return time.Time{}
	}
	u.session.mu.Lock()
	defer u.session.mu.Unlock()
	return u.session.until
}
