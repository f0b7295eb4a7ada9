// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ratest"
)

// hostile makes a leaf and n CA certificates of a stranger, all with the
// anchor's name and one key, each of which signs each other one: crypto/x509
// tries all ways through them. They differ in a SAN, or it would see them as
// one.
func hostile(t testing.TB, curve elliptic.Curve, name string, n int) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func(i int, ca bool) *x509.Certificate {
		template := &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(int64(i + 1)),
			DNSNames:  []string{fmt.Sprintf("%d.example", i)},
			NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
			IsCA: ca, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: template.Subject}, key.Public(), crypto.Signer(key))
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	presented := []*x509.Certificate{made(0, false)}
	for i := range n {
		presented = append(presented, made(i+1, true))
	}
	return presented
}

func TestThreat_AStrangersChainCostsFewSignatures(t *testing.T) {
	root := ratest.NewRoot(t, "Factory")
	set := &anchor.Set{Anchors: []anchor.Anchor{{Name: "factory", Source: anchor.File([]*x509.Certificate{root.Certificate})}}}
	for n, want := range map[int]string{
		anchor.MaxPresented - 1: "signed by unknown authority", // and not that a limit of signatures was reached
		anchor.MaxPresented:     "at most 8",
		101:                     "at most 8",
	} {
		got := set.Verify(t.Context(), hostile(t, elliptic.P521(), "Factory", n), now)
		if len(got.Names)+len(got.Unavailable) != 0 || len(got.Reasons) != 1 || !strings.Contains(got.Reasons[0], want) {
			t.Errorf("a leaf and %d: %+v, want %q", n, got, want)
		}
	}
}

// The stranger's certificates don't hide the genuine ones among them.
func TestAGenuineChainIsFoundAmongOthers(t *testing.T) {
	root := ratest.NewRoot(t, "Factory")
	upper := root.Sub(t, "Factory")
	lower := upper.Sub(t, "Factory")
	device := lower.Device(t, "device.example").Leaf
	others := hostile(t, elliptic.P521(), "Factory", anchor.MaxPresented-4)
	presented := append([]*x509.Certificate{device}, others[1:]...)
	presented = append(presented, lower.Certificate, upper.Certificate, root.Certificate)
	set := &anchor.Set{Anchors: []anchor.Anchor{{Name: "factory", Source: anchor.File([]*x509.Certificate{root.Certificate})}}}
	if len(presented) != anchor.MaxPresented {
		t.Fatalf("%d presented", len(presented))
	}
	if got := set.Verify(t.Context(), presented, now); len(got.Names) != 1 {
		t.Errorf("got %+v", got)
	}
}

func BenchmarkVerifyOfAStranger(b *testing.B) {
	root := ratest.NewRoot(b, "Factory")
	set := &anchor.Set{Anchors: []anchor.Anchor{{Name: "factory", Source: anchor.File([]*x509.Certificate{root.Certificate})}}}
	for _, n := range []int{1, 8, 102} {
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P521()} { // the root's, and a slow one
			presented := hostile(b, curve, "Factory", n-1)
			b.Run(fmt.Sprintf("%d presented, %s", n, curve.Params().Name), func(b *testing.B) {
				for b.Loop() {
					set.Verify(b.Context(), presented, now)
				}
			})
		}
	}
}
