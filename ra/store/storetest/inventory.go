// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

// pages reads a list by pages of two.
func pages(t testing.TB, s store.Store, q store.CertificateQuery) (ids []string) {
	t.Helper()
	q.Most = 2
	for {
		page, err := s.Certificates().List(context.Background(), q)
		check(t, err)
		if len(page) == 0 {
			return ids
		}
		for _, c := range page {
			ids = append(ids, c.ID)
		}
		q.Before = ids[len(ids)-1]
	}
}

func certificatesListed(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	for i := range 5 {
		c := signed(asked(fmt.Sprint("c", i), byte(i), time.Duration(i)*time.Hour))
		if i == 3 {
			c.Upstream, c.Profile, c.Names, c.Serial = "other", "printers", "CN=prn.example.net", "ab"
		}
		is(t, c.ID, intends(t, s, c), "new")
	}
	is(t, "one more", intends(t, s, asked("d0", 10, 0)), "new")
	is(t, "one more", intends(t, s, asked("d1", 11, 0)), "new")
	check(t, l.Ended(ctx, store.CertificateEnd{ID: "d1", State: store.CertificateUnknown, Now: Now}))
	check(t, l.Revoked(ctx, "c1", store.Mark{At: Now, Reason: 1, By: "ann"}))
	check(t, l.Revoked(ctx, "c1", store.Mark{At: Now.Add(time.Hour), Reason: 2, By: "bob"}))
	check(t, l.Block(ctx, "c2", store.Mark{At: Now, By: "bob"}))
	for what, c := range map[string]struct {
		q    store.CertificateQuery
		want []string
	}{
		"all":                        {store.CertificateQuery{}, []string{"d1", "d0", "c4", "c3", "c2", "c1", "c0"}},
		"a state":                    {store.CertificateQuery{State: store.CertificateAsked}, []string{"d0"}},
		"issued":                     {store.CertificateQuery{State: store.CertificateIssued}, []string{"c4", "c3", "c2", "c1", "c0"}},
		"an upstream":                {store.CertificateQuery{Upstream: "other"}, []string{"c3"}},
		"a profile":                  {store.CertificateQuery{Profile: "printers"}, []string{"c3"}},
		"a part of a name":           {store.CertificateQuery{Name: "RTR-100%_1"}, []string{"d1", "d0", "c4", "c2", "c1", "c0"}},
		"a name like a pattern":      {store.CertificateQuery{Name: "rtr-1%1"}, nil},
		"a serial number":            {store.CertificateQuery{Serial: "ab"}, []string{"c3"}},
		"the end of the validity":    {store.CertificateQuery{EndsFrom: Now.Add(90*24*time.Hour + time.Hour), EndsBefore: Now.Add(90*24*time.Hour + 3*time.Hour)}, []string{"c2", "c1"}},
		"doubtful, leases run":       {store.CertificateQuery{Doubtful: true, Now: Now}, []string{"d1"}},
		"doubtful, leases are ended": {store.CertificateQuery{Doubtful: true, Now: Now.Add(time.Hour)}, []string{"d1", "d0"}},
		"revoked":                    {store.CertificateQuery{Revoked: true}, []string{"c1"}},
		"blocked":                    {store.CertificateQuery{Blocked: true, Upstream: "step_ca"}, []string{"c2"}},
		"text that none can have":    {store.CertificateQuery{Name: "ä"}, nil},
	} {
		if got := pages(t, s, c.q); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
	if _, err := l.List(ctx, store.CertificateQuery{Name: "\x00"}); err == nil {
		t.Error("a text that no engine can have is looked for")
	}
}

func certificatesFound(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	c := signed(asked("a", 1, 0))
	is(t, "the first", intends(t, s, c), "new")
	same := signed(asked("b", 2, 0))
	same.Serial, same.Upstream = c.Serial, "other"
	is(t, "one of another CA", intends(t, s, same), "new")
	check(t, l.Revoked(ctx, "a", store.Mark{At: Now, Reason: 1, By: "ann"}))
	check(t, l.Revoked(ctx, "a", store.Mark{At: Now.Add(time.Hour), Reason: 2, By: "bob"}))
	check(t, l.Block(ctx, "b", store.Mark{At: Now, By: "bob"}))
	got, err := l.BySHA256(ctx, "", c.SHA256)
	check(t, err)
	is(t, "by its hash", fmt.Sprintf("%s %v %d %s", got.ID, got.Revoked.Equal(Now), got.Reason, got.By), "a true 1 ann")
	both, err := l.BySerial(ctx, c.Serial)
	check(t, err)
	is(t, "by its serial number", fmt.Sprint(len(both)), "2")
	none, err := l.BySerial(ctx, "")
	is(t, "by no serial number", fmt.Sprint(len(none), err), "0 <nil>")
	standing, err := l.Barred(ctx, c.Serial, c.SHA256)
	check(t, err)
	is(t, "revoked", fmt.Sprint(!standing.Revoked.IsZero(), !standing.Blocked.IsZero()), "true false")
	standing, err = l.Barred(ctx, c.Serial, same.SHA256)
	check(t, err)
	is(t, "blocked", fmt.Sprint(!standing.Revoked.IsZero(), !standing.Blocked.IsZero()), "false true")
	check(t, l.Unblock(ctx, "b"))
	standing, err = l.Barred(ctx, c.Serial, same.SHA256)
	check(t, err)
	is(t, "unblocked", fmt.Sprint(standing), fmt.Sprint(store.Standing{}))
	for what, err := range map[string]error{
		"revoked": l.Revoked(ctx, "none", store.Mark{At: Now}), "blocked": l.Block(ctx, "none", store.Mark{At: Now}), "unblocked": l.Unblock(ctx, "b"),
	} {
		if !errors.Is(err, store.ErrUnknown) {
			t.Errorf("one that isn't there is %s: %v", what, err)
		}
	}
	for _, look := range []func() error{
		func() error { _, err := l.Get(ctx, "none"); return err },
		func() error { _, err := l.BySHA256(ctx, "4", [32]byte{9}); return err },
		func() error { _, err := l.Barred(ctx, "4", [32]byte{9}); return err },
		func() error { _, err := l.Current(ctx, [32]byte{9}); return err },
	} {
		if err := look(); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("one that isn't there is found: %v", err)
		}
	}
}

func certificatesImported(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	is(t, "one made here", intends(t, s, signed(asked("a", 1, 0))), "new")
	var all []store.Certificate
	for i := range 3 {
		c := signed(asked(fmt.Sprint("i", i), byte(20+i), 0))
		c.Op, c.Identity = "", ""
		all = append(all, c)
	}
	again := signed(asked("a", 1, 0))
	again.ID = "i9"
	all = append(all, again)
	added, known, err := l.Import(ctx, all, Now)
	is(t, "the first time", fmt.Sprint(added, known, err), "3 1 <nil>")
	added, known, err = l.Import(ctx, all, Now)
	is(t, "the second time", fmt.Sprint(added, known, err), "0 4 <nil>")
	got, err := l.BySHA256(ctx, all[1].Serial, all[1].SHA256)
	check(t, err)
	is(t, "one of them", fmt.Sprint(got.ID, got.State, got.Imported.Equal(Now)), "i1issuedtrue")
	if _, _, err := l.Import(ctx, []store.Certificate{asked("i5", 30, 0)}, Now); err == nil {
		t.Error("a certificate without bytes is imported")
	}
}
