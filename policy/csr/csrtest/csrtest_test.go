// SPDX-License-Identifier: Apache-2.0

package csrtest_test

import (
	"bytes"
	"crypto/x509"
	"math/rand/v2"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

func TestCryptoX509ReadsWhatIsMade(t *testing.T) {
	kinds := map[string]x509.SignatureAlgorithm{
		"P-256":         x509.ECDSAWithSHA256,
		"P-384":         x509.ECDSAWithSHA384,
		"P-521":         x509.ECDSAWithSHA512,
		"ed25519":       x509.PureEd25519,
		"rsa2048":       x509.SHA256WithRSA,
		"rsa2048/other": x509.SHA384WithRSAPSS,
	}
	for kind, algorithm := range kinds {
		t.Run(kind, func(t *testing.T) {
			der := csrtest.New(t, csrtest.Signer(csrtest.Key(t, kind)), csrtest.Signature(algorithm),
				csrtest.Subject(csrtest.CN("a"), csrtest.O("b")),
				csrtest.SAN(csrtest.DNS("a.example"), csrtest.IP("10.0.0.1")),
				csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("x")))
			got, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.CheckSignature(); err != nil {
				t.Error(err)
			}
			if got.Subject.String() != "CN=a,O=b" || len(got.DNSNames) != 1 || len(got.IPAddresses) != 1 {
				t.Errorf("names are %v %v %v", got.Subject, got.DNSNames, got.IPAddresses)
			}
			if got.SignatureAlgorithm != algorithm {
				t.Errorf("signature algorithm is %v", got.SignatureAlgorithm)
			}
		})
	}
}

func TestABadSignatureDoesNotVerify(t *testing.T) {
	got, err := x509.ParseCertificateRequest(csrtest.New(t, csrtest.BadSignature()))
	if err != nil {
		t.Fatal(err)
	}
	if got.CheckSignature() == nil {
		t.Error("it verifies")
	}
}

func TestAKeyIsSharedByItsName(t *testing.T) {
	if csrtest.Key(t, "P-256") != csrtest.Key(t, "P-256") {
		t.Error("two keys for one name")
	}
	if csrtest.Key(t, "P-256") == csrtest.Key(t, "P-256/second") || csrtest.Key(t, "P-256") == csrtest.NewKey(t, "P-256") {
		t.Error("one key for two names")
	}
}

func TestOddRequestsAreTheSameInEveryRun(t *testing.T) {
	first, second := csrtest.OddRequests(t), csrtest.OddRequests(t)
	seen := map[string]bool{}
	for i, odd := range first {
		if odd.Name != second[i].Name || seen[odd.Name] || len(odd.DER) == 0 {
			t.Errorf("%q stands twice, is empty, or stands elsewhere", odd.Name)
		}
		seen[odd.Name] = true
	}
}

func TestMutantsDifferAndAreTheSameFromOneState(t *testing.T) {
	der := csrtest.New(t, csrtest.SAN(csrtest.DNS("a.example")), csrtest.Extension("2.5.29.15", true, csrtest.BITS(7, 0x80)))
	donor := csrtest.New(t, csrtest.SAN(csrtest.URI("urn:a")))
	state := func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
	one, again := state(), state()
	different, parsed := map[string]bool{}, 0
	for range 1000 {
		mutant := csrtest.Mutate(one, der, donor)
		if !bytes.Equal(mutant, csrtest.Mutate(again, der, donor)) {
			t.Fatal("the same state of random gives two mutants")
		}
		different[string(mutant)] = true
		if _, err := csr.Parse(mutant); err == nil {
			parsed++
		}
	}
	if len(different) < 800 || parsed < 200 || parsed > 900 {
		t.Errorf("%d mutants of 1000 differ, and %d can be parsed", len(different), parsed)
	}
	if mutant := csrtest.Mutate(one, []byte("no DER"), nil); string(mutant) != "no DER" {
		t.Errorf("what is no DER becomes %q", mutant)
	}
}
