// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"strings"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/anchor"
)

// rekeyed is the CA of the world under its name, with another key.
func (w world) rekeyed(t testing.TB) world {
	t.Helper()
	w.issuing = w.root.Sub(t, "Issuing CA")
	w.leaf = w.issuing.Device(t, "device.example", serial(7)).Leaf
	return w
}

// TestThreat_AListSpeaksOfTheKeyThatSignedIt: an issuing CA has changed its key under
// one name, and each of its keys has a list (RFC 5280 section 5.2.1). Serial numbers
// are alike on purpose: the list of the other key must not be taken for the answer.
func TestThreat_AListSpeaksOfTheKeyThatSignedIt(t *testing.T) {
	old := newWorld(t)
	next := old.rekeyed(t)
	rootList := list(t, old.root, 1)
	const otherKey, nobody = "by another key of that name", "no list is of its issuer"
	for name, test := range map[string]struct {
		lists  [][]byte // each at a place of its own
		old    string
		reason string // of the old key's
		next   string
		ocsp   bool // a responder says good of the old key's
	}{
		"both lists, and the old key's is revoked":    {lists: [][]byte{list(t, old.issuing, 1, 7), list(t, next.issuing, 1)}, old: "refused", reason: "is revoked", next: "vouched"},
		"both lists, and the new key's is revoked":    {lists: [][]byte{list(t, old.issuing, 1), list(t, next.issuing, 1, 7)}, old: "vouched", next: "refused"},
		"both lists, the new one first":               {lists: [][]byte{list(t, next.issuing, 9, 7), list(t, old.issuing, 1)}, old: "vouched", next: "refused"},
		"the new list alone, which has the old one's": {lists: [][]byte{list(t, next.issuing, 1, 7)}, old: "unavailable", reason: otherKey, next: "refused"},
		"the new list alone, which doesn't have it":   {lists: [][]byte{list(t, next.issuing, 1)}, old: "unavailable", reason: otherKey, next: "vouched"},
		"the new list alone, and OCSP says good":      {lists: [][]byte{list(t, next.issuing, 1)}, ocsp: true, old: "unavailable", reason: otherKey, next: "unavailable"},
		"the old list alone":                          {lists: [][]byte{list(t, old.issuing, 1)}, old: "vouched", next: "refused"},
		"no list but the root's":                      {old: "refused", reason: nobody, next: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &anchor.Sources{Lists: old.lists(append([][]byte{rootList}, test.lists...)...)}
			if test.ocsp {
				_, s.Responder = respond(t, old.issuing, map[int64]int{7: xocsp.Good})
			}
			got, result := old.verify(t, s, now)
			if got != test.old || test.reason != "" && !strings.Contains(strings.Join(result.Reasons, " "), test.reason) {
				t.Errorf("the old key's: %s %q, want %s %q", got, result.Reasons, test.old, test.reason)
			}
			if got, result := next.verify(t, s, now); got != test.next {
				t.Errorf("the new key's: %s %q, want %s", got, result.Reasons, test.next)
			}
		})
	}
}

// TestOnePlaceGivesTheListOfEachKeyInTurn: the CA publishes at one address, first the
// old key's list, and after the change the new one's.
func TestOnePlaceGivesTheListOfEachKeyInTurn(t *testing.T) {
	old := newWorld(t)
	next := old.rekeyed(t)
	at := &place{der: list(t, old.issuing, 40, 7), ours: true} // so that a request waits for it
	s := &anchor.Sources{Lists: append(old.lists(longList(t, old.root)), old.at(at))}
	for _, step := range []struct {
		name      string
		after     time.Duration
		der       []byte
		old, next string
	}{
		{name: "the old key's list", old: "refused", next: "refused"},
		{name: "the new key's list, with a lower number", after: 11 * time.Minute, der: list(t, next.issuing, 1), old: "refused", next: "vouched"},
		{name: "what the new key has revoked", after: 22 * time.Minute, der: list(t, next.issuing, 2, 7), old: "refused", next: "refused"},
		{name: "an older list of the new key doesn't take it back", after: 33 * time.Minute, der: list(t, next.issuing, 1), old: "refused", next: "refused"},
	} {
		if step.der != nil {
			at.set(step.der, nil)
		}
		for range 2 { // the list is taken with the first chain that has its issuer
			_, _ = old.verify(t, s, now.Add(step.after))
			_, _ = next.verify(t, s, now.Add(step.after))
		}
		if got, result := old.verify(t, s, now.Add(step.after)); got != step.old {
			t.Errorf("%s: the old key's: %s %q, want %s", step.name, got, result.Reasons, step.old)
		}
		if got, result := next.verify(t, s, now.Add(step.after)); got != step.next {
			t.Errorf("%s: the new key's: %s %q, want %s", step.name, got, result.Reasons, step.next)
		}
	}
}
