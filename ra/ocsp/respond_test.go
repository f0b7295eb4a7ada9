// SPDX-License-Identifier: Apache-2.0

package ocsp_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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

// asks is a request of another implementation.
func asks(t testing.TB, cert, issuer *x509.Certificate, hash crypto.Hash) *ocsp.Question {
	t.Helper()
	der, err := xocsp.CreateRequest(cert, issuer, &xocsp.RequestOptions{Hash: hash})
	if err != nil {
		t.Fatal(err)
	}
	request, err := ocsp.ParseQuestion(der)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func TestTheAnswerOfAResponderIsUnderstoodByAnotherImplementation(t *testing.T) {
	root := ratest.NewRoot(t, "CA")
	cert := leaf(t, root, 7)
	signer := ocsp.Signer{Issuer: root.Certificate, Key: root.Key}
	revoked := now.Add(-time.Hour)
	for name, test := range map[string]struct {
		status ocsp.Status
		want   xocsp.Response
	}{
		"good":                         {ocsp.Status{Known: true}, xocsp.Response{Status: xocsp.Good}},
		"unknown":                      {ocsp.Status{}, xocsp.Response{Status: xocsp.Unknown}},
		"revoked":                      {ocsp.Status{Known: true, Revoked: revoked, Reason: 4}, xocsp.Response{Status: xocsp.Revoked, RevokedAt: revoked, RevocationReason: 4}},
		"revoked without a reason":     {ocsp.Status{Known: true, Revoked: revoked}, xocsp.Response{Status: xocsp.Revoked, RevokedAt: revoked}},
		"revoked before it was issued": {ocsp.Status{Revoked: revoked, Reason: 1}, xocsp.Response{Status: xocsp.Revoked, RevokedAt: revoked, RevocationReason: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				der, err := asks(t, cert, root.Certificate, hash).Answer(signer, []ocsp.Status{test.status}, now, now.Add(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				got, err := xocsp.ParseResponseForCert(der, cert, root.Certificate)
				if err != nil {
					t.Fatal(err)
				}
				if got.Status != test.want.Status || !got.RevokedAt.Equal(test.want.RevokedAt) || got.RevocationReason != test.want.RevocationReason {
					t.Errorf("got %d, revoked at %s for %d", got.Status, got.RevokedAt, got.RevocationReason)
				}
				if !got.ThisUpdate.Equal(now.Truncate(time.Second)) || !got.NextUpdate.Equal(now.Add(time.Hour).Truncate(time.Second)) {
					t.Errorf("it counts from %s to %s", got.ThisUpdate, got.NextUpdate)
				}
				own, err := ocsp.Parse(der, cert, root.Certificate, now)
				if unknown := errors.Is(err, ocsp.ErrUnknown); unknown != (test.want.Status == xocsp.Unknown) || !unknown && (err != nil || own.Revoked != (test.want.Status == xocsp.Revoked)) {
					t.Errorf("by our own reading: %+v, %v", own, err)
				}
			}
		})
	}
}

func TestEachKindOfKeySignsAnswers(t *testing.T) {
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		keys[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	keys["RSA"], _ = rsa.GenerateKey(rand.Reader, 2048)
	_, keys["Ed25519"], _ = ed25519.GenerateKey(rand.Reader)
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: now, NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			root, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := asks(t, root, root, crypto.SHA1).Answer(ocsp.Signer{Issuer: root, Key: key}, []ocsp.Status{{Known: true}}, now, now.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ocsp.Parse(answer, root, root, now); err != nil {
				t.Error(err)
			}
		})
	}
}

// nonced puts extensions into a request, and a second certificate if wanted.
func nonced(t testing.TB, der []byte, extensions ...pkix.Extension) []byte {
	t.Helper()
	var request struct {
		TBS struct {
			List       []asn1.RawValue
			Extensions []pkix.Extension `asn1:"explicit,tag:2,optional"`
		}
	}
	if _, err := asn1.Unmarshal(der, &request); err != nil {
		t.Fatal(err)
	}
	request.TBS.Extensions = extensions
	out, err := asn1.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func octets(n int) []byte {
	der, _ := asn1.Marshal(bytes.Repeat([]byte{7}, n))
	return der
}

var nonceID = []int{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}

func TestANonceComesBackAndAWrongOneIsMalformed(t *testing.T) {
	root := ratest.NewRoot(t, "CA")
	cert := leaf(t, root, 7)
	plain, err := xocsp.CreateRequest(cert, root.Certificate, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		extensions []pkix.Extension
		bad        string
	}{
		"none":                     {nil, ""},
		"of 16 octets":             {[]pkix.Extension{extension(false, octets(16), nonceID...)}, ""},
		"of 128 octets":            {[]pkix.Extension{extension(false, octets(128), nonceID...)}, ""},
		"of 129 octets":            {[]pkix.Extension{extension(false, octets(129), nonceID...)}, "nonce"},
		"empty":                    {[]pkix.Extension{extension(false, octets(0), nonceID...)}, "nonce"},
		"not an OCTET STRING":      {[]pkix.Extension{extension(false, []byte("raw"), nonceID...)}, "nonce"},
		"twice":                    {[]pkix.Extension{extension(false, octets(16), nonceID...), extension(false, octets(16), nonceID...)}, "nonce"},
		"another extension":        {[]pkix.Extension{extension(false, octets(16), 1, 2, 3)}, ""},
		"an unknown critical one":  {[]pkix.Extension{extension(true, octets(16), 1, 2, 3)}, "unknown critical extension 1.2.3"},
		"critical, though no need": {[]pkix.Extension{extension(true, octets(16), nonceID...)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := ocsp.ParseQuestion(nonced(t, plain, test.extensions...))
			if test.bad != "" {
				if err == nil || !strings.Contains(err.Error(), test.bad) {
					t.Fatalf("got %v, want %q", err, test.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			der, err := request.Answer(ocsp.Signer{Issuer: root.Certificate, Key: root.Key}, []ocsp.Status{{Known: true}}, now, now.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			var value []byte
			nonce := len(test.extensions) > 0 && test.extensions[0].Id.Equal(nonceID)
			if len(test.extensions) > 0 {
				value = test.extensions[0].Value
			}
			if back := len(value) > 0 && bytes.Contains(der, value); request.HasNonce() != nonce || back != nonce {
				t.Errorf("it has a nonce: %v; it came back: %v", request.HasNonce(), back)
			}
		})
	}
}

func TestARequestIsReadOrRefused(t *testing.T) {
	root, other := ratest.NewRoot(t, "CA"), ratest.NewRoot(t, "CA")
	cert := leaf(t, root, 7)
	good, err := xocsp.CreateRequest(cert, root.Certificate, nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := ocsp.ParseQuestion(good)
	if err != nil || len(request.Asked) != 1 || request.Asked[0].Serial().Int64() != 7 {
		t.Fatalf("%+v, %v", request, err)
	}
	if !request.Asked[0].Of(root.Certificate) || request.Asked[0].Of(other.Certificate) {
		t.Error("it is a certificate of another key with the same name")
	}
	if _, err := request.Answer(ocsp.Signer{Issuer: root.Certificate, Key: root.Key}, nil, now, now); err == nil {
		t.Error("an answer without a status")
	}
	foreign, err := request.Answer(ocsp.Signer{Issuer: other.Certificate, Key: other.Key}, []ocsp.Status{{Known: true}}, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := xocsp.ParseResponse(foreign, other.Certificate); err != nil || got.Status != xocsp.Unknown {
		t.Errorf("of another issuer's certificate it says %+v, %v", got, err)
	}
	for name, der := range map[string][]byte{
		"empty":          nil,
		"something else": []byte("GET / HTTP/1.1"),
		"cut off":        good[:len(good)-1],
		"with more":      append(bytes.Clone(good), 0),
		"too large":      make([]byte, ocsp.MaxRequest+1),
		"about nothing":  {0x30, 4, 0x30, 2, 0x30, 0},
	} {
		if _, err := ocsp.ParseQuestion(der); err == nil {
			t.Errorf("one that is %s was taken", name)
		}
	}
}

func FuzzParseQuestion(f *testing.F) {
	root := ratest.NewRoot(f, "CA")
	cert := leaf(f, root, 7)
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		der, err := xocsp.CreateRequest(cert, root.Certificate, &xocsp.RequestOptions{Hash: hash})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
		f.Add(nonced(f, der, extension(false, octets(16), nonceID...)))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		request, err := ocsp.ParseQuestion(der)
		if err != nil {
			return
		}
		// Whatever is asked, there is an answer that can be read, and it isn't good
		// for what isn't known.
		answer, err := request.Answer(ocsp.Signer{Issuer: root.Certificate, Key: root.Key}, make([]ocsp.Status, len(request.Asked)), now, now.Add(time.Hour))
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if a, err := ocsp.Parse(answer, cert, root.Certificate, now); err == nil {
			t.Errorf("of what isn't known it says %+v", a)
		}
	})
}
