// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// forgeries are certificates in place of the one that was ordered.
var forgeries = map[string]func(*x509.Certificate){
	"with one more name":       func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "boss.example") },
	"with another subject":     func(c *x509.Certificate) { c.RawSubject, c.Subject = nil, pkix.Name{CommonName: "boss.example"} },
	"that lives longer":        func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(48 * time.Hour) },
	"that began long ago":      func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-48 * time.Hour) },
	"that has ended":           func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(-time.Second) },
	"with another key usage":   func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement },
	"with another purpose":     func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) },
	"with no purpose":          func(c *x509.Certificate) { c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, nil },
	"that is a CA's":           func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign },
	"with one more extension":  func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, unplanned) },
	"for another key":          nil,
	"of a CA with another key": nil,
}

var unplanned = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 99}, Value: []byte{5, 0}}

// testForged gives certificates that aren't as planned: the upstream must let none
// through, be it by an error or by how the authority compares.
func (s Subject) testForged(t *testing.T) {
	front := s.line(t)
	stranger := ratest.NewRoot(t, "Somebody Else")
	for name, change := range forgeries {
		t.Run(name, func(t *testing.T) {
			issuer := s.CA.Issuer
			if issuer.Key == nil || name == "of a CA with another key" {
				issuer.Certificate, issuer.Key = namesake(t, stranger, issuer.Certificate), stranger.Key
			}
			made := false
			front.spoilGift(signed(func(a *Asked) {
				body, err := s.CA.Reissue(a.Body, func(c *x509.Certificate) *x509.Certificate {
					made = true
					key := c.PublicKey
					if name == "for another key" {
						key = ratest.NewKey(t).Public()
					}
					return forge(t, issuer, c, key, change)
				})
				if err != nil {
					t.Errorf("no other certificate can be put into the answer: %v", err)
				}
				a.Body = body
				a.Answer()
			}))
			defer front.spoilGift(nil)
			up := s.Open(t, Place{URL: front.URL})
			leaf, err := issue(t.Context(), up, plain(t, up))
			if !made {
				t.Fatal("there was no answer to forge")
			}
			if err == nil {
				t.Fatalf("it is taken: %s, until %s, by %s", leaf.Subject, leaf.NotAfter, leaf.Issuer)
			}
			if kind, ok := kindOf(err); ok && kind != ra.UpstreamTimeout && kind != ra.UpstreamRefused {
				t.Errorf("%v: there is a certificate", err)
			}
		})
	}
}

// forge signs a certificate like one that there is.
func forge(t testing.TB, issuer ratest.Signer, c *x509.Certificate, key any, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := *c
	template.PublicKey, template.AuthorityKeyId = nil, nil
	for _, e := range c.Extensions {
		if !writtenByCrypto[e.Id.String()] {
			template.ExtraExtensions = append(template.ExtraExtensions, e)
		}
	}
	if change != nil {
		change(&template)
	}
	return issuer.Sign(t, &template, key)
}

// writtenByCrypto are the extensions that crypto/x509 makes of fields.
var writtenByCrypto = map[string]bool{
	"2.5.29.14": true, "2.5.29.15": true, "2.5.29.17": true, "2.5.29.19": true, "2.5.29.35": true, "2.5.29.37": true, "2.5.29.31": true, "1.3.6.1.5.5.7.1.1": true, "2.5.29.32": true,
}

// namesake is a CA certificate of the same name for another key.
func namesake(t testing.TB, signer ratest.Signer, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	if c == nil {
		return signer.Certificate
	}
	copied := *c
	copied.PublicKey = signer.Key.Public()
	return &copied
}

// strangerCertificate is for a server on 127.0.0.1, of a CA that nobody trusts.
func strangerCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	return ServerCertificate(t, ratest.NewRoot(t, "Somebody Else"))
}
