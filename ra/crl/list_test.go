// SPDX-License-Identifier: Apache-2.0

package crl_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/crl"
	"github.com/caddy-est/estra/ra/ratest"
)

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// template is a list of one revoked serial number, fresh for an hour.
func template() *x509.RevocationList {
	return &x509.RevocationList{
		Number:     big.NewInt(7),
		ThisUpdate: now.Add(-time.Hour),
		NextUpdate: now.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{
			{SerialNumber: big.NewInt(66), RevocationTime: now.Add(-2 * time.Hour), ReasonCode: 1},
			{SerialNumber: big.NewInt(67), RevocationTime: now.Add(-2 * time.Hour), ReasonCode: 6},
		},
	}
}

func sign(t testing.TB, s ratest.Signer, l *x509.RevocationList) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, l, s.Certificate, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func leaf(t testing.TB, s ratest.Signer, serial int64, points ...string) *x509.Certificate {
	t.Helper()
	return s.Device(t, "device.example", func(c *x509.Certificate) {
		c.SerialNumber = big.NewInt(serial)
		c.CRLDistributionPoints = points
	}).Leaf
}

// expired is a certificate that was valid until notAfter.
func expired(t testing.TB, s ratest.Signer, serial int64, notAfter time.Time) *x509.Certificate {
	t.Helper()
	return s.Device(t, "device.example", func(c *x509.Certificate) {
		c.SerialNumber, c.NotAfter = big.NewInt(serial), notAfter
	}).Leaf
}

// expiredCertsOnCRL is the extension of ITU-T X.509.
func expiredCertsOnCRL(date string) pkix.Extension {
	value := append([]byte{0x18, byte(len(date))}, date...)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 60}, Value: value}
}

func critical(id asn1.ObjectIdentifier, value ...byte) pkix.Extension {
	return pkix.Extension{Id: id, Critical: true, Value: value}
}

// point is an issuingDistributionPoint: [0] { [0] { [6] uri } } and more.
func point(uri string, more ...byte) pkix.Extension {
	name := append([]byte{0x86, byte(len(uri))}, uri...)
	name = append([]byte{0xa0, byte(len(name))}, name...)
	name = append([]byte{0xa0, byte(len(name))}, name...)
	body := append(name, more...)
	return critical(asn1.ObjectIdentifier{2, 5, 29, 28}, append([]byte{0x30, byte(len(body))}, body...)...)
}

func TestListAnswers(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	other := ratest.NewRoot(t, "Other CA")
	stepCA := template()
	stepCA.ExtraExtensions = []pkix.Extension{point("https://ca.example/1.0/crl")}
	userCerts := template()
	userCerts.ExtraExtensions = []pkix.Extension{point("https://ca.example/crl", 0x81, 1, 0xff, 0x82, 1, 0)}
	for name, test := range map[string]struct {
		list    *x509.RevocationList
		cert    *x509.Certificate
		at      time.Time
		revoked bool
		failure string
	}{
		"a serial number that isn't in the list is good":               {list: template(), cert: leaf(t, ca, 1)},
		"a serial number in the list is revoked":                       {list: template(), cert: leaf(t, ca, 66), revoked: true},
		"a certificate on hold is revoked":                             {list: template(), cert: leaf(t, ca, 67), revoked: true},
		"a list past its nextUpdate fails":                             {list: template(), cert: leaf(t, ca, 1), at: now.Add(time.Hour + time.Second), failure: "stale"},
		"a list past its nextUpdate still knows whom it revoked":       {list: template(), cert: leaf(t, ca, 66), at: now.Add(time.Hour + time.Second), revoked: true},
		"a list from the future fails":                                 {list: template(), cert: leaf(t, ca, 1), at: now.Add(-2 * time.Hour), failure: "begins"},
		"the list of another issuer fails":                             {list: template(), cert: leaf(t, other, 66), failure: "another issuer"},
		"step-ca's own URL doesn't exclude a certificate without any":  {list: stepCA, cert: leaf(t, ca, 66), revoked: true},
		"a certificate of the same distribution point is answered":     {list: stepCA, cert: leaf(t, ca, 66, "http://x", "https://ca.example/1.0/crl"), revoked: true},
		"a certificate of another distribution point isn't answered":   {list: stepCA, cert: leaf(t, ca, 1, "https://ca.example/part2"), failure: "distribution point"},
		"a list for user certificates only answers for an end entity":  {list: userCerts, cert: leaf(t, ca, 66), revoked: true},
		"a certificate with a distribution point and a list with none": {list: template(), cert: leaf(t, ca, 66, "http://x"), revoked: true},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := crl.Parse(sign(t, ca, test.list), []*x509.Certificate{other.Certificate, ca.Certificate})
			if err != nil {
				t.Fatal(err)
			}
			if test.at.IsZero() {
				test.at = now
			}
			revoked, err := l.Revoked(test.cert, test.at)
			if revoked != test.revoked || (err == nil) != (test.failure == "") || err != nil && !strings.Contains(err.Error(), test.failure) {
				t.Errorf("got %v, %v; want %v, %q", revoked, err, test.revoked, test.failure)
			}
		})
	}
}

// RFC 5280 section 3.3: a CA may drop an entry after the first list that was
// issued past the certificate's notAfter; step-ca does an hour after it.
func TestAListSaysNothingOfWhatExpiredBeforeIt(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	issued := template().ThisUpdate
	for name, test := range map[string]struct {
		extension string
		notAfter  time.Time
		serial    int64
		revoked   bool
		unsaid    bool
	}{
		"expired before the list was issued":              {notAfter: issued.Add(-time.Second), serial: 1, unsaid: true},
		"expired before the list was issued, and in it":   {notAfter: issued.Add(-time.Second), serial: 66, revoked: true},
		"expired at the second the list was issued":       {notAfter: issued, serial: 1},
		"expired after the list was issued":               {notAfter: issued.Add(time.Second), serial: 1},
		"a list with the expired ones since before":       {extension: "20200101000000Z", notAfter: issued.Add(-time.Hour), serial: 1},
		"a list with the expired ones since that second":  {extension: "20260504100000Z", notAfter: issued.Add(-time.Hour), serial: 1},
		"a list with the expired ones since a later one":  {extension: "20260504100001Z", notAfter: issued.Add(-time.Hour), serial: 1, unsaid: true},
		"a date with a fraction of a second (X.690 11.7)": {extension: "20260504095959.5Z", notAfter: issued.Add(-time.Hour), serial: 1},
	} {
		t.Run(name, func(t *testing.T) {
			list := template()
			if test.extension != "" {
				list.ExtraExtensions = []pkix.Extension{expiredCertsOnCRL(test.extension)}
			}
			var each crl.Each
			if err := each.Replace(sign(t, ca, list), []*x509.Certificate{ca.Certificate}, now); err != nil {
				t.Fatal(err)
			}
			revoked, err := each.Revoked(expired(t, ca, test.serial, test.notAfter), ca.Certificate, now)
			if revoked != test.revoked || errors.Is(err, crl.ErrExpired) != test.unsaid || (err != nil) != test.unsaid {
				t.Errorf("got %v, %v", revoked, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	impostor := ratest.NewRoot(t, "CA")
	noSigning := ratest.NewRoot(t, "Parent")
	key := ratest.NewKey(t)
	noSigning = ratest.Signer{Key: key, Certificate: noSigning.Device(t, "x", func(c *x509.Certificate) {
		c.Subject = ca.Certificate.Subject
	}).Leaf}
	with := func(change func(*x509.RevocationList)) []byte {
		l := template()
		change(l)
		return sign(t, ca, l)
	}
	extension := func(e pkix.Extension) []byte {
		return with(func(l *x509.RevocationList) { l.ExtraExtensions = []pkix.Extension{e} })
	}
	entry := func(e pkix.Extension) []byte {
		return with(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{e}
		})
	}
	good := sign(t, ca, template())
	sha1Signed := with(func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.ECDSAWithSHA1 })
	for name, test := range map[string]struct {
		der     []byte
		issuers []*x509.Certificate
		want    string
	}{
		"nothing":                              {der: nil, want: "crl:"},
		"bytes after the list":                 {der: append(sign(t, ca, template()), 0), want: "crl:"},
		"no issuer known":                      {der: good, issuers: []*x509.Certificate{}, want: "none of the known"},
		"the same name with another key":       {der: good, issuers: []*x509.Certificate{impostor.Certificate}, want: "signature"},
		"an issuer that is no CA":              {der: good, issuers: []*x509.Certificate{noSigning.Certificate}, want: "signature"},
		"a SHA-1 signature":                    {der: sha1Signed, want: "SHA1"},
		"a delta list":                         {der: extension(critical(asn1.ObjectIdentifier{2, 5, 29, 27}, 2, 1, 1)), want: "delta"},
		"a critical extension nobody knows":    {der: extension(critical(asn1.ObjectIdentifier{1, 2, 3}, 5, 0)), want: "1.2.3"},
		"an indirect list":                     {der: extension(point("http://x", 0x84, 1, 0xff)), want: "indirect"},
		"a list of CA certificates":            {der: extension(point("http://x", 0x82, 1, 0xff)), want: "indirect, or not for all"},
		"a list for some reasons":              {der: extension(point("http://x", 0x83, 2, 6, 0x40)), want: "not for all reasons"},
		"a list for reasons of one octet zero": {der: extension(point("http://x", 0x83, 1, 0)), want: "not for all reasons"},
		"an unreadable distribution point":     {der: extension(critical(asn1.ObjectIdentifier{2, 5, 29, 28}, 0x30, 5)), want: "distribution point"},
		"an empty distribution point name":     {der: extension(critical(asn1.ObjectIdentifier{2, 5, 29, 28}, 0x30, 4, 0xa0, 2, 0xa0, 0)), want: "no URI"},
		"a bad date of the expired ones":       {der: extension(expiredCertsOnCRL("2026")), want: "expiredCertsOnCRL"},
		"an entry with a certificate issuer":   {der: entry(critical(asn1.ObjectIdentifier{2, 5, 29, 29}, 0x30, 0)), want: "indirect"},
		"an entry with a critical extension":   {der: entry(critical(asn1.ObjectIdentifier{1, 2, 4}, 5, 0)), want: "1.2.4"},
		"an entry that says removeFromCRL": {der: with(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ReasonCode = 8
		}), want: "removeFromCRL"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.issuers == nil {
				test.issuers = []*x509.Certificate{ca.Certificate}
			}
			_, err := crl.Parse(test.der, test.issuers)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestDERTakesOnePEMBlockOrDER(t *testing.T) {
	der := sign(t, ratest.NewRoot(t, "CA"), template())
	block := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	for name, test := range map[string]struct {
		data []byte
		good bool
	}{
		"DER":                       {der, true},
		"PEM":                       {block, true},
		"two blocks":                {append(append([]byte{}, block...), block...), false},
		"a block of another type":   {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), false},
		"a block that ends nowhere": {block[:40], false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := crl.DER(test.data)
			if (err == nil) != test.good || err == nil && string(got) != string(der) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	ca := ratest.NewRoot(f, "CA")
	l := template()
	f.Add(sign(f, ca, l))
	l.ExtraExtensions = []pkix.Extension{point("http://x", 0x81, 1, 0xff)}
	f.Add(sign(f, ca, l))
	f.Add([]byte{0x30, 0})
	cert := leaf(f, ca, 66)
	f.Fuzz(func(t *testing.T, der []byte) {
		list, err := crl.Parse(der, []*x509.Certificate{ca.Certificate})
		if err != nil {
			return
		}
		// The CA signed two lists, and both revoke this one.
		if revoked, err := list.Revoked(cert, now); err != nil || !revoked {
			t.Errorf("a list that the CA didn't sign: %v, %v", revoked, err)
		}
	})
}
