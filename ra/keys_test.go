// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// remembered are keys in memory, one request after the other.
type remembered struct {
	turn chan struct{}
	held map[[sha256.Size]byte]policy.KeyHolder
	err  error
}

func newRemembered() *remembered {
	return &remembered{turn: make(chan struct{}, 1), held: make(map[[sha256.Size]byte]policy.KeyHolder)}
}

func (r *remembered) Take(ctx context.Context, spki [sha256.Size]byte) (*policy.KeyHolder, func(*policy.KeyHolder), error) {
	if r.err != nil {
		return nil, nil, r.err
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	done := func(certified *policy.KeyHolder) {
		if certified != nil {
			r.held[spki] = *certified
		}
		<-r.turn
	}
	if holder, ok := r.held[spki]; ok {
		return &holder, done, nil
	}
	return nil, done, nil
}

// asking is an enrolment for a name.
func asking(t *testing.T, name string, options ...csrtest.Option) ra.Request {
	t.Helper()
	options = append([]csrtest.Option{csrtest.Subject(csrtest.CN(name)), csrtest.SAN(csrtest.DNS(name))}, options...)
	parsed, err := csr.Parse(csrtest.New(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, policy.SimpleEnroll, ratest.User)
	req.CSR = parsed
	return req
}

func TestThreat_AKeyIsCertifiedForOneHolder(t *testing.T) {
	s := newScene(t)
	keys := newRemembered()
	s.authority.Keys = keys
	enrol := func(name string, options ...csrtest.Option) (ra.Outcome, error) {
		req := asking(t, name, options...)
		req.KeyHolder = &policy.KeyHolder{} // nobody but Enroll says who it is
		return s.authority.Enroll(t.Context(), s.profile, req)
	}
	first, err := enrol("a.example")
	if err != nil || first.KeyHolder != nil {
		t.Fatalf("a new key: holder %v, %v", first.KeyHolder, err)
	}
	again, err := enrol("A.example")
	if err != nil || again.KeyHolder == nil || again.KeyHolder.Serial != fmt.Sprintf("%x", first.Certificate.SerialNumber) {
		t.Errorf("the same names again: holder %+v, %v", again.KeyHolder, err)
	}
	out, err := enrol("b.example")
	e := check(t, out, err, ra.KeyReuse, ra.StatusRefused)
	if e.Kind.FailInfo() != "noKeyReuse" || out.KeyHolder == nil || len(s.upstream.Orders()) != 2 {
		t.Errorf("%s, holder %v, %d orders", e.Kind.FailInfo(), out.KeyHolder, len(s.upstream.Orders()))
	}
	if out, err := enrol("b.example", csrtest.Signer(csrtest.Key(t, "P-256/another"))); err != nil {
		t.Errorf("a key of its own: %s, %v", out.Status, err)
	}
	renew := renewal(t, first.Certificate)
	renew.CSR = asking(t, "a.example").CSR
	if out, err := s.authority.Enroll(t.Context(), s.profile, renew); err != nil {
		t.Errorf("a renewal with the same key and names: %s, %v", out.Status, err)
	}
}

func TestAKeyIsRememberedWhereTheCAMayHaveSigned(t *testing.T) {
	for name, test := range map[string]struct {
		knobs ratest.Knobs
		held  bool
	}{
		"issued":                      {ratest.Knobs{}, true},
		"no answer in time":           {ratest.Knobs{Err: ra.Fail(ra.UpstreamTimeout, "no answer", nil)}, true},
		"the CA refuses":              {ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "no", nil)}, false},
		"the CA is down":              {ratest.Knobs{Err: ra.Fail(ra.UpstreamDown, "down", nil)}, false},
		"the certificate is withheld": {ratest.Knobs{Mutate: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			keys := newRemembered()
			s.authority.Keys = keys
			s.upstream.Set(test.knobs)
			req := request(t, policy.SimpleEnroll, ratest.User)
			out, _ := s.authority.Enroll(t.Context(), s.profile, req)
			holder, held := keys.held[sha256.Sum256(req.CSR.RawSPKI)]
			if held != test.held || held && holder.Serial != fmt.Sprintf("%x", out.Serial) {
				t.Errorf("%s: remembered %v, %+v", out.Status, held, holder)
			}
			if len(keys.turn) != 0 {
				t.Error("the turn of the key isn't over")
			}
		})
	}
}

func TestARefusedRequestRemembersNothing(t *testing.T) {
	s := newScene(t)
	keys := newRemembered()
	s.authority.Keys = keys
	out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, "eve"))
	check(t, out, err, ra.Forbidden, ra.StatusRefused)
	if len(keys.held) != 0 || len(keys.turn) != 0 {
		t.Errorf("remembered %v", keys.held)
	}
}

// Two requests at once must not both find that the key is new.
func TestThreat_TwoRequestsAtOnceShareNoKey(t *testing.T) {
	s := newScene(t)
	s.authority.Keys = newRemembered()
	s.upstream.Set(ratest.Knobs{Delay: 20 * time.Millisecond})
	var wait sync.WaitGroup
	failed := make([]error, 8)
	for i := range failed {
		req := asking(t, fmt.Sprintf("device-%d.example", i))
		wait.Go(func() { _, failed[i] = s.authority.Enroll(t.Context(), s.profile, req) })
	}
	wait.Wait()
	issued := 0
	for _, err := range failed {
		var e *ra.Error
		switch {
		case err == nil:
			issued++
		case !errors.As(err, &e) || e.Kind != ra.KeyReuse:
			t.Error(err)
		}
	}
	if issued != 1 || len(s.upstream.Issued()) != 1 {
		t.Errorf("%d of 8 holders got a certificate", issued)
	}
}

func TestARequestWaitsForItsKeyAsLongAsForTheCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		keys := newRemembered()
		s.authority.Keys = keys
		keys.turn <- struct{}{} // a request that doesn't end
		began := time.Now()
		out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
		if e := check(t, out, err, ra.Busy, ra.StatusFailed); e.RetryAfter == 0 || time.Since(began) != 15*time.Second {
			t.Errorf("after %s, retry after %s", time.Since(began), e.RetryAfter)
		}
	})
}

func TestWithoutKnowingTheHolderNothingIsIssued(t *testing.T) {
	s := newScene(t)
	s.authority.Keys = &remembered{err: errors.New("disk failed")}
	out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
	check(t, out, err, ra.Fault, ra.StatusFailed)
	if len(s.upstream.Orders()) != 0 {
		t.Error("the CA was asked")
	}
}
