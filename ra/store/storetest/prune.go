// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

const day = 24 * time.Hour

// prunes removes what ended more than 30 days before, and says what.
func prunes(t testing.TB, s store.Store, at time.Duration) store.Pruned {
	t.Helper()
	p, err := s.Upkeep().Prune(context.Background(), store.Retention{Certificates: 30 * day, Passwords: 30 * day}, Now.Add(at))
	check(t, err)
	report, err := s.Upkeep().Check(context.Background())
	check(t, err)
	if len(report.Problems) > 0 {
		t.Errorf("afterwards %q", report.Problems)
	}
	return p
}

func prunedCertificates(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	// All end after 90 days.
	for i, id := range []string{"issued", "revoked", "blocked"} {
		is(t, id, intends(t, s, signed(asked(id, byte(i+1), 0))), "new")
	}
	check(t, l.Revoked(ctx, "revoked", store.Mark{At: Now, Reason: 1, By: "ann"}))
	check(t, l.Block(ctx, "blocked", store.Mark{At: Now, By: "ann"}))
	for i, state := range []store.CertificateState{store.CertificateUnknown, store.CertificatePending, store.CertificateWithheld} {
		c := asked(string(state), byte(i+10), 0)
		is(t, c.ID, intends(t, s, c), "new")
		check(t, l.Ended(ctx, store.CertificateEnd{ID: c.ID, State: state, Now: Now}))
	}
	settled := asked("settled", 20, 0)
	is(t, "one that was looked for and revoked", intends(t, s, settled), "new")
	check(t, l.Ended(ctx, store.CertificateEnd{ID: settled.ID, State: store.CertificateUnknown, Now: Now}))
	check(t, l.Revoked(ctx, settled.ID, store.Mark{At: Now, Reason: 4, By: "the RA"}))
	under := asked("under way", 21, 0)
	under.Lease = Now.Add(365 * day)
	is(t, under.ID, intends(t, s, under), "new")
	is(t, "a later one", intends(t, s, signed(asked("later", 22, day))), "new")

	left := func() string {
		t.Helper()
		all, err := l.List(ctx, store.CertificateQuery{})
		check(t, err)
		var ids []string
		for _, c := range all {
			ids = append(ids, c.ID)
		}
		slices.Sort(ids)
		return strings.Join(ids, ", ")
	}
	all := left()
	if p := prunes(t, s, 119*day); p.Any() || left() != all {
		t.Errorf("30 days after the end, not later: %+v, and left is %s", p, left())
	}
	p, err := s.Upkeep().Prune(ctx, store.Retention{}, Now.Add(1000*day))
	if err != nil || p.Any() || left() != all {
		t.Errorf("kept for ever: %+v, %v, and left is %s", p, err, left())
	}
	if p := prunes(t, s, 120*day+time.Hour); p != (store.Pruned{Certificates: 6}) {
		t.Errorf("%+v", p)
	}
	is(t, "left", left(), "later, pending, under way")
}

// importMany fills the inventory with certificates that end after 90 days.
func importMany(t testing.TB, s store.Store, n int) {
	t.Helper()
	many := make([]store.Certificate, n)
	for i := range many {
		many[i] = signed(asked(fmt.Sprint("old", i), 1, 0))
		many[i].Serial = fmt.Sprintf("%06x", i)
	}
	_, _, err := s.Certificates().Import(context.Background(), many, Now)
	check(t, err)
}

func prunedInBatches(t *testing.T, s store.Store) {
	importMany(t, s, 450)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r := store.Retention{Certificates: day}
	if p, err := s.Upkeep().Prune(ended, r, Now.Add(200*day)); err == nil || p.Any() {
		t.Errorf("a server that ends removes %+v, %v", p, err)
	}
	p, err := s.Upkeep().Prune(t.Context(), r, Now.Add(200*day))
	if err != nil || p.Certificates != 450 {
		t.Errorf("%+v, %v", p, err)
	}
}

func prunedPasswords(t *testing.T, s store.Store) {
	ctx, claims := t.Context(), s.Claims()
	ends := []time.Duration{time.Hour, time.Hour, 100 * day, 100 * day, 100 * day, time.Hour, time.Hour, 100 * day}
	const expired, unknown, collected, waited, revoked, approval, free, unused = 0, 1, 2, 3, 4, 5, 6, 7
	templates := make([]store.Template, len(ends))
	for i, end := range ends {
		templates[i] = store.Template{Label: "routers", Expires: Now.Add(end)}
	}
	made, err := s.Passwords().Create(ctx, templates, Now)
	check(t, err)
	reserve := func(i int) []policy.Use {
		uses := []policy.Use{{Kind: policy.UsePassword, ID: made[i].ID}}
		check(t, claims.Reserve(ctx, store.Reservation{Uses: uses, For: [32]byte{byte(i)}, SPKI: [32]byte{byte(i)}, Now: Now, Until: Now.Add(day)}))
		return uses
	}
	reserve(unknown)
	check(t, claims.Settle(ctx, store.Settlement{Uses: reserve(collected), Ended: store.Issued, Now: Now}))
	check(t, claims.Settle(ctx, store.Settlement{Collected: [32]byte{collected}, Now: Now.Add(time.Hour)}))
	check(t, claims.Settle(ctx, store.Settlement{Uses: reserve(waited), Ended: store.Issued, Now: Now}))
	check(t, s.Passwords().Revoke(ctx, []string{made[revoked].ID}, Now))
	waits := asking(1, 1, 1, policy.Use{Kind: policy.UsePassword, ID: made[approval].ID})
	waits.Expires = Now.Add(60 * day)
	ask(t, s, waits)

	for _, c := range []struct {
		at   time.Duration
		want store.Pruned
		left []int
	}{
		{30 * day, store.Pruned{}, []int{expired, unknown, collected, waited, revoked, approval, free, unused}},
		{30*day + 2*time.Hour, store.Pruned{Passwords: 4}, []int{unknown, waited, approval, unused}},
		{31*day + 2*time.Hour, store.Pruned{Passwords: 2}, []int{approval, unused}},
		{61 * day, store.Pruned{Approvals: 1, Passwords: 1}, []int{unused}},
		{131 * day, store.Pruned{Passwords: 1}, nil},
	} {
		if p := prunes(t, s, c.at); p != c.want {
			t.Errorf("after %s it removed %+v, want %+v", c.at, p, c.want)
		}
		there, err := s.Passwords().List(ctx, "")
		check(t, err)
		var left []int
		for i, m := range made {
			if slices.ContainsFunc(there, func(p store.Password) bool { return p.ID == m.ID }) {
				left = append(left, i)
			}
		}
		if !slices.Equal(left, c.left) {
			t.Errorf("after %s left are %v, want %v", c.at, left, c.left)
		}
	}
}

func prunedApprovals(t *testing.T, s store.Store) {
	ctx := t.Context()
	approved, _ := ask(t, s, asking(1, 1, 1))
	_, err := s.Pending().Decide(ctx, said(approved, "ann", true)) // it may be fetched for two hours
	check(t, err)
	for i := byte(2); i <= 130; i++ {
		ask(t, s, asking(i, 1, 1))
	}
	if p := prunes(t, s, time.Hour); p != (store.Pruned{Approvals: 129}) {
		t.Errorf("%+v", p)
	}
	if _, err := s.Pending().Find(ctx, approved.ID, Now.Add(time.Hour)); err != nil {
		t.Errorf("the one that was approved: %v", err)
	}
	if p := prunes(t, s, 2*time.Hour); p != (store.Pruned{Approvals: 1}) {
		t.Errorf("%+v", p)
	}
}

func prunedAuthority(t *testing.T, s store.Store) {
	ctx := t.Context()
	for i := range int64(250) {
		until := Now.Add(time.Hour)
		if i == 7 {
			until = until.Add(day)
		}
		check(t, s.Authorities().Revoke(ctx, store.CACertificate{Issuer: "aa", Serial: big.NewInt(i + 1), NotAfter: Now, Revoked: Now, Until: until}))
	}
	if p := prunes(t, s, 2*time.Hour); p != (store.Pruned{Authority: 249}) {
		t.Errorf("%+v", p)
	}
	if _, err := s.Authorities().Entry(ctx, "aa", big.NewInt(8)); err != nil {
		t.Errorf("the one that is kept: %v", err)
	}
}

func pruneBoth(t *testing.T, a, b store.Store) {
	importMany(t, a, 250)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, ended := store.Retention{Certificates: day, Pause: time.Hour}, make(chan error)
	go func() {
		p, err := a.Upkeep().Prune(ctx, r, Now.Add(200*day))
		if p.Certificates != 200 {
			err = errors.Join(err, fmt.Errorf("it removed %+v", p))
		}
		ended <- err
	}()
	for { // until the first batch is gone
		left, err := b.Certificates().List(t.Context(), store.CertificateQuery{})
		check(t, err)
		if len(left) == 50 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.Pause = 0
	if p, err := b.Upkeep().Prune(t.Context(), r, Now.Add(200*day)); err != nil || !p.Elsewhere || p.Any() {
		t.Errorf("while the other node is at it: %+v, %v", p, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "it removed") {
		t.Error(err)
	}
	if p, err := b.Upkeep().Prune(t.Context(), r, Now.Add(200*day)); err != nil || p != (store.Pruned{Certificates: 50}) {
		t.Errorf("once the other node has stopped: %+v, %v", p, err)
	}
}
