// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

func proofs(t *testing.T, s store.Store) {
	plain := create(t, s)
	made, err := s.Passwords().Create(t.Context(), []store.Template{{Label: "routers", Expires: Now.Add(time.Hour), Proof: true}}, Now)
	check(t, err)
	p := made[0]
	found, keys, err := s.Passwords().Proof(t.Context(), p.ID, "routers", Now)
	check(t, err)
	wanted := store.ProofKeys{Identity: sha256.Sum256([]byte(string(p.Text) + p.ID)), Link: sha256.Sum256([]byte(p.Text))}
	if keys != wanted || found.ID != p.ID {
		t.Errorf("the keys of %s are %x", found.ID, keys)
	}
	want(t, "it is a password as well", state(t, s, p.Text, 0), "good")
	for what, id := range map[string]string{"one made for none": plain.ID, "none": "aaaaaaaaaa", "no id": "", "a text that no engine takes": "aaaaa\x00aaaa"} {
		if _, _, err := s.Passwords().Proof(t.Context(), id, "routers", Now); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, keys, err = s.Passwords().Proof(t.Context(), p.ID, "printers", Now)
	if unusable := new(store.Unusable); !errors.As(err, &unusable) || keys != wanted {
		t.Errorf("at another label: %v, keys %t", err, keys == wanted)
	}
	made, err = s.Passwords().Create(t.Context(), []store.Template{{Label: "routers", Expires: Now.Add(time.Hour), ProofV1: true}}, Now)
	check(t, err)
	first := made[0]
	_, keys, err = s.Passwords().Proof(t.Context(), first.ID, "routers", Now)
	check(t, err)
	proof := []byte(string(first.Text) + first.ID)
	wantedV1 := store.ProofKeys{Identity: sha256.Sum256(proof), Link: sha256.Sum256([]byte(first.Text))}
	wantedV1.IdentityV1 = sha1.Sum(proof) //nolint:gosec // what RFC 5272 section 6.2.2 fixes
	if keys != wantedV1 || !keys.V1() || wanted.V1() {
		t.Errorf("made for the first version too, the keys are %x", keys)
	}
	check(t, s.Passwords().Revoke(t.Context(), []string{p.ID}, Now))
	if _, _, err := s.Passwords().Proof(t.Context(), p.ID, "routers", Now); err == nil {
		t.Error("a revoked one is good for a proof")
	}
}
