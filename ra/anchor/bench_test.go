// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"crypto/x509"
	"testing"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/anchor"
)

// What is asked on each request, for a chain of three: anew, and remembered;
// with nobody asked about revocation, two lists, and a responder beside.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	lists := w.lists(list(b, w.issuing, 1), list(b, w.root, 1))
	_, responder := respond(b, w.issuing, map[int64]int{7: xocsp.Good})
	for name, revocation := range map[string]anchor.Revocation{
		"nobody": nil, "lists": &anchor.Sources{Lists: lists}, "lists and responder": &anchor.Sources{Lists: lists, Responder: responder},
	} {
		verify := func(set *anchor.Set) {
			if got := set.Verify(b.Context(), []*x509.Certificate{w.leaf, w.issuing.Certificate}, now); len(got.Names) != 1 {
				b.Fatal(got)
			}
		}
		made := func() *anchor.Set {
			return &anchor.Set{Anchors: []anchor.Anchor{{Name: "a", Source: anchor.File([]*x509.Certificate{w.root.Certificate}), Revocation: revocation}}}
		}
		b.Run("remembered/"+name, func(b *testing.B) {
			set := made()
			for b.Loop() {
				verify(set)
			}
		})
		b.Run("anew/"+name, func(b *testing.B) {
			for b.Loop() {
				verify(made())
			}
		})
	}
}
