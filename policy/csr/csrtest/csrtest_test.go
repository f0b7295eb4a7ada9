// SPDX-License-Identifier: Apache-2.0

package csrtest_test

import (
	"crypto/x509"
	"testing"

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
