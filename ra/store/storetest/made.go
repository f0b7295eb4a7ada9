// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

func madeAgain(t *testing.T, s store.Store) {
	issued := func(request byte, certificate string, after time.Duration) []string {
		t.Helper()
		now := Now.Add(after)
		earlier, err := s.Made().Issued(t.Context(), store.MadeCertificate{
			Request: [32]byte{request}, Certificate: []byte(certificate), Now: now, Since: now.Add(-time.Hour),
		})
		check(t, err)
		var names []string
		for _, c := range earlier {
			names = append(names, string(c))
		}
		return names
	}
	for _, step := range []struct {
		request     byte
		certificate string
		after       time.Duration
		settle      string
		want        []string
	}{
		{1, "a", 0, "", nil},
		{2, "b", time.Minute, "", nil},
		{1, "c", 2 * time.Minute, "", []string{"a"}},
		{1, "c", 2 * time.Minute, "a", []string{"a"}}, // by itself it isn't superseded
		{1, "d", 3 * time.Minute, "", []string{"c"}},
		{2, "e", 62 * time.Minute, "", nil}, // too long after
	} {
		if got := issued(step.request, step.certificate, step.after); !slices.Equal(got, step.want) {
			t.Errorf("%s of request %d supersedes %q, want %q", step.certificate, step.request, got, step.want)
		}
		if step.settle != "" {
			check(t, s.Made().Settled(t.Context(), [32]byte{step.request}, []byte(step.settle)))
		}
	}
}

// madeLarge: certificates of keys after quantum computers have many kilobytes,
// which nothing shortens.
func madeLarge(t *testing.T, s store.Store) {
	large := make([]byte, 20_000)
	rand.NewChaCha8([32]byte{1}).Read(large) //nolint:errcheck // it gives none
	for i := range 3 {
		earlier, err := s.Made().Issued(t.Context(), store.MadeCertificate{Request: [32]byte{1}, Certificate: append(large, byte(i)), Now: Now, Since: Now})
		if check(t, err); len(earlier) != min(i, 1) {
			t.Fatalf("%d certificates are superseded", len(earlier))
		}
		for _, c := range earlier {
			if !bytes.Equal(c, append(large, byte(i-1))) {
				t.Error("another one is superseded")
			}
			check(t, s.Made().Settled(t.Context(), [32]byte{1}, c))
		}
	}
}

// madeBoth: one certificate after the other, as if there were one node.
func madeBoth(t *testing.T, a, b store.Store) {
	var mu sync.Mutex
	var seen []int
	atOnce(16, func(i int, s store.Store) {
		earlier, err := s.Made().Issued(context.Background(), store.MadeCertificate{Request: [32]byte{1}, Certificate: []byte{1, byte(i)}, Now: Now, Since: Now})
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, len(earlier))
	}, a, b)
	slices.Sort(seen)
	for i, n := range seen {
		if n != i {
			t.Fatalf("they supersede %v: one of them is missed", seen)
		}
	}
}
