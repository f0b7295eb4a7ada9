// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ratest"
)

func TestThreat_ATrustFileHoldsCertificatesAndNothingElse(t *testing.T) {
	a, b := ratest.NewRoot(t, "A").Certificate, ratest.NewRoot(t, "B").Certificate
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	one, two := block("CERTIFICATE", a.Raw), block("CERTIFICATE", b.Raw)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	secret := []byte("0123456789 secret")
	for name, test := range map[string]struct {
		data []byte
		n    int
		want string
	}{
		"one certificate":                       {data: one, n: 1},
		"two, with blank lines around":          {data: join([]byte("\n\n"), one, []byte("\n"), two, []byte(" \n\n")), n: 2},
		"text before a certificate":             {data: join([]byte("# factory root\n"), one, []byte("subject=CN=B\n"), two), n: 2},
		"an empty file":                         {want: "no certificate"},
		"text alone":                            {data: []byte("# to do: put the root here\n"), want: "no certificate"},
		"DER":                                   {data: a.Raw, want: "no certificate"},
		"text after the last certificate":       {data: join(one, []byte("the end\n")), want: "after certificate 1"},
		"a private key":                         {data: join(one, block("EC PRIVATE KEY", secret)), want: "private key"},
		"a private key in PKCS #8":              {data: join(block("PRIVATE KEY", secret), one), want: "private key"},
		"a certification request":               {data: join(one, block("CERTIFICATE REQUEST", a.Raw)), want: "isn't a CERTIFICATE"},
		"a block that isn't a certificate":      {data: block("CERTIFICATE", secret), want: "certificate 1"},
		"a broken block before a good one":      {data: join(one[:len(one)/2], []byte("\n"), two), want: "before certificate 1"},
		"a broken block between good ones":      {data: join(one, bytes.Replace(two, []byte("\n"), []byte("\n*"), 2), one), want: "before certificate 2"},
		"a broken block after a good one":       {data: join(one, two[:len(two)/2]), want: "after certificate 1"},
		"a block with a signature that is junk": {data: join(one, block("CERTIFICATE", a.Raw[:40])), want: "certificate 2"},
	} {
		t.Run(name, func(t *testing.T) {
			certs, err := anchor.ParsePEM("idevid.pem", test.data)
			if len(certs) != test.n || (err == nil) != (test.want == "") {
				t.Fatalf("got %d certificates, %v", len(certs), err)
			}
			source, err := anchor.NewFile("idevid.pem", test.data)
			if test.want == "" {
				if got, _, err := source.Certificates(t.Context()); err != nil || len(got) != test.n {
					t.Errorf("the source has %d, %v", len(got), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "idevid.pem: ") {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("content in the message: %v", err)
			}
		})
	}
}

func FuzzParsePEM(f *testing.F) {
	cert := ratest.NewRoot(f, "A").Certificate
	one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	f.Add(one)
	f.Add(append([]byte("text\n"), one...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := anchor.ParsePEM("f", data)
		if (err == nil) != (len(certs) > 0) {
			t.Fatalf("%d certificates and %v", len(certs), err)
		}
		if err == nil && bytes.Count(data, []byte("-----BEGIN ")) != len(certs) {
			t.Errorf("%d of %d blocks were read", len(certs), bytes.Count(data, []byte("-----BEGIN ")))
		}
		for _, c := range certs {
			if _, err := x509.ParseCertificate(c.Raw); err != nil {
				t.Error(err)
			}
		}
	})
}

// A sibling below the same root is a stranger: an anchor of issuing keys stands
// for what they signed themselves.
func TestIssuersStandForWhatTheirOwnKeysSigned(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	issuing := root.Sub(t, "Issuing CA")
	for name, c := range map[string]struct {
		listed []*x509.Certificate
		by     ratest.Signer
		want   bool
	}{
		"the issuing CA":               {[]*x509.Certificate{issuing.Certificate}, issuing, true},
		"beside its root":              {[]*x509.Certificate{root.Certificate, issuing.Certificate}, issuing, true},
		"the root that signed":         {[]*x509.Certificate{root.Certificate}, root, true},
		"a CA that the root certified": {[]*x509.Certificate{root.Certificate}, issuing, false},
		"a sibling":                    {[]*x509.Certificate{root.Certificate, issuing.Certificate}, root.Sub(t, "Sibling"), false},
	} {
		t.Run(name, func(t *testing.T) {
			set := &anchor.Set{Anchors: []anchor.Anchor{{Name: "ras", Source: anchor.Issuers(anchor.File(c.listed)), RAIssuer: true}}}
			device := c.by.Device(t, "ra.example")
			chain := []*x509.Certificate{device.Leaf, c.by.Certificate}
			r := set.Verify(t.Context(), chain, time.Now())
			if got := len(r.Names) == 1 && slices.Equal(r.RAIssuers, r.Names); got != c.want {
				t.Errorf("%+v", r)
			}
		})
	}
}
