// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

// asking is a request that waits for an hour. Another plan is another
// certificate for the same request.
func asking(request, plan byte, needs int, uses ...policy.Use) store.Asking {
	return store.Asking{
		Request: [32]byte{request}, Wanted: [32]byte{plan}, PolicySHA256: "ab", Needs: needs,
		Op: policy.SimpleEnroll, Label: "routers", Profile: "all", Who: "http_basic:one", Names: "CN=a",
		Validity: 24 * time.Hour,
		Record:   []byte(`{"v":1}`),
		Reserve:  store.Reservation{Uses: uses, For: [32]byte{request, plan}, Now: Now, Until: Now.Add(time.Hour)},
		Now:      Now, Expires: Now.Add(time.Hour),
	}
}

func ask(t testing.TB, s store.Store, a store.Asking) (store.Waiting, bool) {
	t.Helper()
	w, begun, err := s.Pending().Ask(context.Background(), a)
	check(t, err)
	return w, begun
}

// said is what somebody says of the certificate that is planned now.
func said(w store.Waiting, who string, approves bool) store.PendingDecision {
	return store.PendingDecision{
		ID: w.ID, Wanted: w.Wanted, Validity: w.Validity, Approver: "name " + who, Name: who, Method: "stated", Approves: approves,
		Note: "as agreed", At: Now.Add(time.Minute), Expires: Now.Add(2 * time.Hour),
	}
}

func wantPending(t testing.TB, what string, w store.Waiting, state store.PendingState, missing int) {
	t.Helper()
	if w.State != state || w.Missing() != missing {
		t.Errorf("%s: it is %s, and %d are missing; want %s, %d", what, w.State, w.Missing(), state, missing)
	}
}

func pendingTwo(t *testing.T, s store.Store) {
	w, begun := ask(t, s, asking(1, 1, 2))
	if !begun || w.ID == "" || !w.Asked.Equal(Now) || string(w.Record) != `{"v":1}` || w.Names != "CN=a" || w.Op != policy.SimpleEnroll {
		t.Errorf("%+v", w)
	}
	wantPending(t, "at first", w, store.PendingWaiting, 2)
	again, begun := ask(t, s, asking(1, 1, 2))
	if begun || again.ID != w.ID {
		t.Errorf("a repeat is %s, begun: %v", again.ID, begun)
	}
	other, _ := ask(t, s, asking(2, 1, 1))
	if other.ID == w.ID {
		t.Error("another request has the same id")
	}
	one, err := s.Pending().Decide(t.Context(), said(w, "anna", true))
	check(t, err)
	wantPending(t, "approved by one", one, store.PendingWaiting, 1)
	if _, err := s.Pending().Decide(t.Context(), said(w, "anna", true)); !errors.Is(err, store.ErrTaken) {
		t.Errorf("the same person again: %v", err)
	}
	two, err := s.Pending().Decide(t.Context(), said(w, "bob", true))
	check(t, err)
	wantPending(t, "approved by two", two, store.PendingApproved, 0)
	if len(two.Decisions) != 2 || two.Decisions[0].Name != "anna" || two.Decisions[1].Note != "as agreed" || !two.Expires.Equal(Now.Add(2*time.Hour)) {
		t.Errorf("%+v", two)
	}
	found, _ := ask(t, s, asking(1, 1, 2))
	wantPending(t, "the repeat", found, store.PendingApproved, 0)
	check(t, s.Pending().Issued(t.Context(), w.ID, Now.Add(3*time.Hour)))
	found, _ = ask(t, s, asking(1, 1, 2))
	wantPending(t, "once it is issued", found, store.PendingIssued, 0)
	if _, err := s.Pending().Decide(t.Context(), said(w, "carl", false)); !errors.Is(err, store.ErrTaken) {
		t.Errorf("denied after it was issued: %v", err)
	}
	list, err := s.Pending().List(t.Context(), Now)
	check(t, err)
	n, err := s.Pending().Count(t.Context(), Now)
	check(t, err)
	if len(list) != 2 || n != 1 {
		t.Errorf("%d are listed, %d wait", len(list), n)
	}
}

func pendingAnew(t *testing.T, s store.Store) {
	w, _ := ask(t, s, asking(1, 1, 1))
	_, err := s.Pending().Decide(t.Context(), said(w, "anna", true))
	check(t, err)
	more, begun := ask(t, s, asking(1, 1, 2))
	wantPending(t, "two are wanted now", more, store.PendingWaiting, 1)
	if begun {
		t.Error("it is told as a new one")
	}
	shorter := asking(1, 1, 2)
	shorter.Validity -= 1500 * time.Millisecond
	same, _ := ask(t, s, shorter)
	wantPending(t, "a shorter life", same, store.PendingWaiting, 1)
	longer := asking(1, 1, 2)
	longer.Validity += time.Second
	same, _ = ask(t, s, longer)
	wantPending(t, "a longer life", same, store.PendingWaiting, 2)
	changed, begun := ask(t, s, asking(1, 2, 2))
	wantPending(t, "another plan", changed, store.PendingWaiting, 2)
	if !begun || changed.ID != w.ID || !changed.Changed.Equal(Now) {
		t.Errorf("%+v", changed)
	}
	if _, err := s.Pending().Decide(t.Context(), said(w, "bob", true)); !errors.Is(err, store.ErrChanged) {
		t.Errorf("who has looked at the old plan: %v", err)
	}
	denied, err := s.Pending().Decide(t.Context(), said(changed, "bob", false))
	check(t, err)
	wantPending(t, "denied", denied, store.PendingDenied, 0)
	if _, err := s.Pending().Decide(t.Context(), said(changed, "anna", true)); !errors.Is(err, store.ErrTaken) {
		t.Errorf("approved after a denial: %v", err)
	}
	back, _ := ask(t, s, asking(1, 1, 1))
	wantPending(t, "another plan after a denial", back, store.PendingWaiting, 1)
}

func pendingReserves(t *testing.T, s store.Store) {
	made := create(t, s)
	use := policy.Use{Kind: policy.UsePassword, ID: made.ID}
	taken := func(what string, a store.Asking) {
		t.Helper()
		if _, _, err := s.Pending().Ask(t.Context(), a); !errors.Is(err, store.ErrTaken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ask(t, s, asking(1, 1, 1, use))
	taken("another request", asking(2, 1, 1, use))
	if list, err := s.Pending().List(t.Context(), Now); err != nil || len(list) != 1 {
		t.Errorf("what could not be reserved waits: %v, %v", list, err)
	}
	w, _ := ask(t, s, asking(1, 2, 1, use)) // other names, after a change of the policy
	taken("another request after a change", asking(2, 1, 1, use))
	_, err := s.Pending().Decide(t.Context(), said(w, "anna", true))
	check(t, err)
	taken("another request once it is approved", asking(2, 1, 1, use))
	_, err = s.Pending().Decide(t.Context(), said(w, "anna", false))
	check(t, err)
	if two, begun := ask(t, s, asking(2, 1, 1, use)); !begun {
		t.Errorf("after a denial: %+v", two)
	}
	late := asking(3, 1, 1)
	late.Now = Now.Add(2 * time.Hour)
	late.Expires = late.Now.Add(time.Hour)
	ask(t, s, late) // forgets the second
	check(t, s.Claims().Reserve(t.Context(), store.Reservation{Uses: []policy.Use{use}, For: [32]byte{9}, Now: Now, Until: Now.Add(time.Hour)}))
	if _, err := s.Pending().Find(t.Context(), w.ID, late.Now); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("one whose time is over: %v", err)
	}
}

func pendingRace(t *testing.T, s store.Store) { pendingBoth(t, s, s) }

// pendingBoth: of one request that comes many times at once one waits, and of
// many people who decide at once each counts once.
func pendingBoth(t *testing.T, a, b store.Store) {
	made := create(t, a)
	use := policy.Use{Kind: policy.UsePassword, ID: made.ID}
	ids, begun := make([]string, 16), make([]bool, 16)
	atOnce(len(ids), func(i int, s store.Store) {
		w, first, err := s.Pending().Ask(context.Background(), asking(1, 1, 2, use))
		if err != nil {
			t.Error(err)
		}
		ids[i], begun[i] = w.ID, first
	}, a, b)
	slices.Sort(ids)
	firsts := slices.DeleteFunc(begun, func(first bool) bool { return !first })
	if ids[0] == "" || len(slices.Compact(ids)) != 1 || len(firsts) != 1 {
		t.Errorf("the ids %q, begun %d times", ids, len(firsts))
	}
	w, _ := ask(t, b, asking(1, 1, 2, use))
	errs := make([]error, 8)
	atOnce(len(errs), func(i int, s store.Store) {
		_, errs[i] = s.Pending().Decide(context.Background(), said(w, fmt.Sprintf("person %d", i/2), true))
	}, a, b)
	approved := 0
	for _, err := range errs {
		if err == nil {
			approved++
		} else if !errors.Is(err, store.ErrTaken) {
			t.Error(err)
		}
	}
	w, _ = ask(t, a, asking(1, 1, 2, use))
	wantPending(t, "approved at two nodes", w, store.PendingApproved, 0)
	if approved != 2 || len(w.Decisions) != 2 || w.Decisions[0].Name == w.Decisions[1].Name {
		t.Errorf("%d approvals count: %+v", approved, w.Decisions)
	}
}
