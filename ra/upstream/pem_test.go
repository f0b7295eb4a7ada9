// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"encoding/pem"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
)

func TestATextOfCertificatesHasNothingElse(t *testing.T) {
	one := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ratest.NewRoot(t, "Root").Certificate.Raw}))
	for name, c := range map[string]struct {
		text string
		many int
		want string
	}{
		"one":                          {one, 1, ""},
		"two, with words between them": {"first\n" + one + "second\n" + one, 2, ""},
		"none":                         {"hello", 0, "there is no PEM certificate"},
		"a key beside it":              {one + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0, "a PEM block PRIVATE KEY"},
		"no certificate in it":         {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0, "certificate 1: "},
		"too many":                     {strings.Repeat(one, maxCertificates+1), 0, "more than 64"},
	} {
		certs, err := Certificates([]byte(c.text))
		if len(certs) != c.many || (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d certificates, %v", name, len(certs), err)
		}
	}
}

func FuzzCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if certs, err := Certificates(text); err == nil && len(certs) == 0 {
			t.Error("neither a certificate nor an error")
		}
	})
}
