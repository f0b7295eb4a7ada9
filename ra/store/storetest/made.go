// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"slices"
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
