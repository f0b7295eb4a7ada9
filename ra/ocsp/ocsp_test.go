// SPDX-License-Identifier: Apache-2.0

package ocsp_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/ocsp"
	"github.com/caddy-est/estra/ra/ratest"
)

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func leaf(t testing.TB, s ratest.Signer, serial int64, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return s.Device(t, "device.example", append(change, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(serial) })...).Leaf
}

// responder is a delegated one.
func responder(t testing.TB, s ratest.Signer, change ...func(*x509.Certificate)) ratest.Signer {
	t.Helper()
	made := s.Device(t, "responder.example", append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
	}}, change...)...)
	return ratest.Signer{Certificate: made.Leaf, Key: made.PrivateKey.(crypto.Signer)}
}

func good(cert, issuer *x509.Certificate) ocsp.Single {
	return ocsp.Single{Cert: cert, Issuer: issuer, Status: ocsp.Good, This: now.Add(-time.Hour), Next: now.Add(time.Hour)}
}

func der(t testing.TB, f ocsp.Forge) []byte {
	t.Helper()
	out, err := f.DER()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func extension(critical bool, value []byte, id ...int) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier(id), Critical: critical, Value: value}
}

func cutoff(date string) []pkix.Extension {
	return []pkix.Extension{extension(false, append([]byte{0x18, byte(len(date))}, date...), 1, 3, 6, 1, 5, 5, 7, 48, 1, 6)}
}

// The rule of threats on OCSP: signed, fresh, right CertID; conflicting answers
// fail.
func TestThreat_NotAnyGoodOCSPAnswerIsGood(t *testing.T) {
	ca, twin, other := ratest.NewRoot(t, "CA"), ratest.NewRoot(t, "CA"), ratest.NewRoot(t, "Other CA")
	cert := leaf(t, ca, 7)
	direct := func(change ...func(*ocsp.Forge)) ocsp.Forge {
		f := ocsp.Forge{Names: ca.Certificate, Signs: ca.Key, Singles: []ocsp.Single{good(cert, ca.Certificate)}}
		for _, c := range change {
			c(&f)
		}
		return f
	}
	single := func(change func(*ocsp.Single)) ocsp.Forge {
		return direct(func(f *ocsp.Forge) { change(&f.Singles[0]) })
	}
	by := func(r ratest.Signer, certs ...*x509.Certificate) ocsp.Forge {
		return direct(func(f *ocsp.Forge) {
			f.Names, f.Signs, f.Certs = r.Certificate, r.Key, append(certs, r.Certificate)
		})
	}
	usages := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	also := func(s ocsp.Single) ocsp.Forge {
		return direct(func(f *ocsp.Forge) { f.Singles = append(f.Singles, s) })
	}
	revoked := good(cert, ca.Certificate)
	revoked.Status = ocsp.Revoked
	stale := good(cert, ca.Certificate)
	stale.Next = now.Add(-time.Minute)
	expired := leaf(t, ca, 7, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-72*time.Hour), now.Add(-48*time.Hour) })
	sub := ca.Sub(t, "Sub CA")
	for name, test := range map[string]struct {
		forge   ocsp.Forge
		cert    *x509.Certificate // nil: cert
		revoked bool
		want    string // of the error
	}{
		"good, signed by the issuer":                      {forge: direct()},
		"good, the issuer named by its key":               {forge: direct(func(f *ocsp.Forge) { f.ByKey = true })},
		"good, CertID by SHA-256":                         {forge: single(func(s *ocsp.Single) { s.Hash = crypto.SHA256 })},
		"good, by a delegated responder":                  {forge: by(responder(t, ca))},
		"good, the responder's certificate is the second": {forge: by(responder(t, ca), other.Certificate)},
		"revoked":                                          {forge: single(func(s *ocsp.Single) { s.Status = ocsp.Revoked }), revoked: true},
		"good, and other certificates beside":              {forge: also(good(leaf(t, ca, 8), ca.Certificate))},
		"revoked after good in one answer":                 {forge: also(revoked), revoked: true},
		"good, and stale in one answer":                    {forge: also(stale), want: "stale"},
		"unknown":                                          {forge: single(func(s *ocsp.Single) { s.Status = ocsp.Unknown }), want: "doesn't know"},
		"good with content is not good":                    {forge: single(func(s *ocsp.Single) { s.Status = asn1.RawValue{Class: 2, Tag: 0, Bytes: []byte{1}} }), want: "doesn't know"},
		"a status nobody knows is not good":                {forge: single(func(s *ocsp.Single) { s.Status = asn1.RawValue{Class: 2, Tag: 7} }), want: "doesn't know"},
		"another serial number":                            {forge: single(func(s *ocsp.Single) { s.Cert = leaf(t, ca, 8) }), want: "another certificate"},
		"the serial number of another issuer's":            {forge: single(func(s *ocsp.Single) { s.Issuer = other.Certificate }), want: "another certificate"},
		"the serial number of a namesake's":                {forge: single(func(s *ocsp.Single) { s.Issuer = twin.Certificate }), want: "another certificate"},
		"signed by a namesake of the issuer":               {forge: direct(func(f *ocsp.Forge) { f.Signs = twin.Key }), want: "nobody signed"},
		"signed by a namesake, whose certificate is there": {forge: direct(func(f *ocsp.Forge) { f.Signs, f.Certs = twin.Key, []*x509.Certificate{twin.Certificate} }), want: "isn't authorized"},
		"signed by the certificate itself":                 {forge: by(ratest.Signer(responder(t, ca, usages(x509.ExtKeyUsageClientAuth)))), want: "OCSPSigning"},
		"a responder with anyExtendedKeyUsage":             {forge: by(responder(t, ca, usages(x509.ExtKeyUsageAny))), want: "OCSPSigning"},
		"a responder without extended key usage":           {forge: by(responder(t, ca, usages())), want: "OCSPSigning"},
		"a responder of another CA":                        {forge: by(responder(t, other)), want: "another issuer"},
		"a responder of a namesake":                        {forge: by(responder(t, twin)), want: "isn't authorized"},
		"a responder of a CA below the issuer":             {forge: by(responder(t, sub), sub.Certificate), want: "another issuer"},
		"a responder that has expired":                     {forge: by(responder(t, ca, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })), want: "isn't valid now"},
		"a responder that may not sign":                    {forge: by(responder(t, ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })), want: "may not sign"},
		"a responder whose key didn't sign":                {forge: func() ocsp.Forge { f := by(responder(t, ca)); f.Signs = other.Key; return f }(), want: "signature of the answer"},
		"a responder whose certificate isn't there":        {forge: func() ocsp.Forge { f := by(responder(t, ca)); f.Certs = nil; return f }(), want: "nobody signed"},
		"a SHA-1 signature":                                {forge: direct(func(f *ocsp.Forge) { f.Hash, f.Algorithm = crypto.SHA1, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1} }), want: "isn't accepted"},
		"an answer from the future":                        {forge: single(func(s *ocsp.Single) { s.This = now.Add(2 * time.Minute) }), want: "begins"},
		"a clock that is half a minute ahead":              {forge: single(func(s *ocsp.Single) { s.This = now.Add(30 * time.Second) })},
		"a stale answer":                                   {forge: single(func(s *ocsp.Single) { s.Next = now.Add(-time.Second) }), want: "stale"},
		"a stale revocation":                               {forge: single(func(s *ocsp.Single) { s.Status, s.Next = ocsp.Revoked, now.Add(-time.Second) }), want: "stale"},
		"no nextUpdate, just now":                          {forge: single(func(s *ocsp.Single) { s.This, s.Next = now.Add(-time.Minute), time.Time{} })},
		"no nextUpdate, an hour ago":                       {forge: single(func(s *ocsp.Single) { s.Next = time.Time{} }), want: "stale"},
		"nextUpdate before thisUpdate":                     {forge: single(func(s *ocsp.Single) { s.Next = s.This.Add(-time.Second) }), want: "before thisUpdate"},
		"an unknown critical extension of the status":      {forge: single(func(s *ocsp.Single) { s.Extensions = []pkix.Extension{extension(true, []byte{5, 0}, 1, 2, 3)} }), want: "1.2.3"},
		"an unknown critical extension of the answer":      {forge: direct(func(f *ocsp.Forge) { f.Extensions = []pkix.Extension{extension(true, []byte{5, 0}, 1, 2, 3)} }), want: "1.2.3"},
		"a nonce that nobody asked for": {forge: direct(func(f *ocsp.Forge) {
			f.Extensions = []pkix.Extension{extension(false, []byte{4, 1, 1}, 1, 3, 6, 1, 5, 5, 7, 48, 1, 2)}
		})},
		"an error with an answer":                            {forge: direct(func(f *ocsp.Forge) { f.Status = 6 }), want: "unauthorized"},
		"an error nobody knows":                              {forge: direct(func(f *ocsp.Forge) { f.Status = 99 }), want: "error 99"},
		"an answer of another type":                          {forge: direct(func(f *ocsp.Forge) { f.Type = asn1.ObjectIdentifier{1, 2, 3} }), want: "id-pkix-ocsp-basic"},
		"more statuses than anybody sends":                   {forge: direct(func(f *ocsp.Forge) { f.Singles = append(make([]ocsp.Single, 0), many(f.Singles[0], 17)...) }), want: "more than 16"},
		"good of what had expired":                           {forge: single(func(s *ocsp.Single) { s.Cert = expired }), cert: expired, want: "archiveCutoff"},
		"revoked of what had expired":                        {forge: single(func(s *ocsp.Single) { s.Cert, s.Status = expired, ocsp.Revoked }), cert: expired, revoked: true},
		"good of what had expired, kept since before":        {forge: single(func(s *ocsp.Single) { s.Cert, s.Extensions = expired, cutoff("20260101000000Z") }), cert: expired},
		"good of what had expired, kept since a later day":   {forge: single(func(s *ocsp.Single) { s.Cert, s.Extensions = expired, cutoff("20260503000000Z") }), cert: expired, want: "archiveCutoff"},
		"an archiveCutoff that can't be read":                {forge: single(func(s *ocsp.Single) { s.Extensions = cutoff("2026") }), want: "archiveCutoff"},
		"a status of a certificate by a hash nobody accepts": {forge: single(func(s *ocsp.Single) { s.Hash = crypto.SHA224 }), want: "another certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.cert == nil {
				test.cert = cert
			}
			a, err := ocsp.Parse(der(t, test.forge), test.cert, ca.Certificate, now)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %+v, %v; want the error %q", a, err, test.want)
			}
			if err == nil && a.Revoked != test.revoked {
				t.Errorf("revoked %v, want %v", a.Revoked, test.revoked)
			}
			if delegated := len(test.forge.Certs) > 0; err == nil && (a.Responder != nil) != delegated {
				t.Errorf("the responder %v", a.Responder)
			}
		})
	}
}

func many(s ocsp.Single, n int) []ocsp.Single {
	all := make([]ocsp.Single, n)
	for i := range all {
		all[i] = s
	}
	return all
}

func TestErrorsTellWhatNoWaitingChanges(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	cert := leaf(t, ca, 7)
	s := good(cert, ca.Certificate)
	s.Status = ocsp.Unknown
	f := ocsp.Forge{Names: ca.Certificate, Signs: ca.Key, Singles: []ocsp.Single{s}}
	if _, err := ocsp.Parse(der(t, f), cert, ca.Certificate, now); !errors.Is(err, ocsp.ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
	old := leaf(t, ca, 7, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-72*time.Hour), now.Add(-48*time.Hour) })
	f.Singles[0].Status = ocsp.Good
	if _, err := ocsp.Parse(der(t, f), old, ca.Certificate, now); !errors.Is(err, ocsp.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

func TestAnAnswerCountsFromThisUpdateToNextUpdate(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	cert := leaf(t, ca, 7)
	a, err := ocsp.Parse(der(t, ocsp.Forge{Names: ca.Certificate, Signs: ca.Key, Singles: []ocsp.Single{good(cert, ca.Certificate)}}), cert, ca.Certificate, now)
	if err != nil {
		t.Fatal(err)
	}
	for at, fresh := range map[time.Duration]bool{-2 * time.Hour: false, -time.Hour: true, 0: true, time.Hour: true, time.Hour + time.Second: false} {
		if err := a.Fresh(now.Add(at)); (err == nil) != fresh {
			t.Errorf("after %s: %v", at, err)
		}
	}
}

// What golang.org/x/crypto makes is understood, and the other way round.
func TestRequestsAndAnswersAgreeWithAnotherImplementation(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	cert := leaf(t, ca, 7)
	request, err := ocsp.Request(cert, ca.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := xocsp.ParseRequest(request)
	if err != nil || asked.SerialNumber.Cmp(cert.SerialNumber) != 0 {
		t.Fatalf("%+v, %v", asked, err)
	}
	delegate := responder(t, ca)
	for _, r := range []ratest.Signer{ca, delegate} {
		for status, revoked := range map[int]bool{xocsp.Good: false, xocsp.Revoked: true} {
			made := xocsp.Response{Status: status, SerialNumber: cert.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour), RevokedAt: now}
			if r.Certificate != ca.Certificate {
				made.Certificate = r.Certificate
			}
			answer, err := xocsp.CreateResponse(ca.Certificate, r.Certificate, made, r.Key)
			if err != nil {
				t.Fatal(err)
			}
			if a, err := ocsp.Parse(answer, cert, ca.Certificate, now); err != nil || a.Revoked != revoked {
				t.Errorf("status %d: %+v, %v", status, a, err)
			}
		}
	}
}

func TestAnAnswerThatIsTooLargeIsNotRead(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	if _, err := ocsp.Parse(bytes.Repeat([]byte{0x30}, ocsp.MaxAnswer+1), leaf(t, ca, 7), ca.Certificate, now); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	ca := ratest.NewRoot(f, "CA")
	cert := leaf(f, ca, 7)
	revoked := good(cert, ca.Certificate)
	revoked.Status = ocsp.Revoked
	r := responder(f, ca)
	f.Add(der(f, ocsp.Forge{Names: ca.Certificate, Signs: ca.Key, Singles: []ocsp.Single{revoked}}))
	f.Add(der(f, ocsp.Forge{Names: r.Certificate, ByKey: true, Signs: r.Key, Certs: []*x509.Certificate{r.Certificate}, Singles: []ocsp.Single{revoked}}))
	f.Add(xocsp.UnauthorizedErrorResponse)
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, answer []byte) {
		a, err := ocsp.Parse(answer, cert, ca.Certificate, now)
		if err == nil && !a.Revoked { // all that was signed says revoked
			t.Error("an answer that nobody signed is good")
		}
	})
}
