// SPDX-License-Identifier: Apache-2.0

package ratest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// A Signer is a CA certificate with its key.
type Signer struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// Validity of the CA certificates, wide enough for any test clock.
var (
	begin = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	end   = time.Date(2119, 12, 31, 23, 59, 59, 0, time.UTC)
)

// issue signs the whole plan of an order, and nothing of the CSR but its key.
func (s Signer) issue(o ra.Order, mutate func(*x509.Certificate)) (*x509.Certificate, error) {
	plan := o.Plan()
	subject, err := plan.Names.Subject.MarshalDER()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		RawSubject:            subject,
		SerialNumber:          o.Serial(),
		NotBefore:             o.NotBefore(),
		NotAfter:              o.NotAfter(),
		KeyUsage:              plan.KeyUsage,
		BasicConstraintsValid: true,
	}
	if plan.Names.HasSAN {
		san, err := csr.MarshalSAN(plan.Names.SAN)
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: plan.SANCritical, Value: san,
		})
	}
	if len(plan.ExtKeyUsage) > 0 {
		eku, err := asn1.Marshal(plan.ExtKeyUsage)
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: eku,
		})
	}
	for _, e := range plan.Extensions {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: e.ID, Critical: e.Critical, Value: e.Value})
	}
	if mutate != nil {
		mutate(template)
	}
	key := o.CSR().Key.Public
	if template.PublicKey != nil { // a Mutate that swaps the key
		key = template.PublicKey
	}
	if key == nil {
		return nil, errors.New("the request's key is of no known kind")
	}
	return s.sign(template, key)
}

func (s Signer) sign(template *x509.Certificate, key crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, s.Certificate, key, s.Key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// NewKey makes a P-256 key.
func NewKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("ratest: %v", err)
	}
	return key
}

// NewRoot makes a self-signed CA.
func NewRoot(t testing.TB, name string) Signer {
	t.Helper()
	key := NewKey(t)
	template := caTemplate(t, name)
	s := Signer{Certificate: template, Key: key}
	return Signer{Certificate: s.Sign(t, template, key.Public()), Key: key}
}

// Sub makes a CA under s.
func (s Signer) Sub(t testing.TB, name string) Signer {
	t.Helper()
	key := NewKey(t)
	return Signer{Certificate: s.Sign(t, caTemplate(t, name), key.Public()), Key: key}
}

// Cross certifies the key and name of another CA under s (RFC 4210 section
// 4.4).
func (s Signer) Cross(t testing.TB, other *x509.Certificate) *x509.Certificate {
	t.Helper()
	template := caTemplate(t, other.Subject.CommonName)
	template.RawSubject = other.RawSubject
	return s.Sign(t, template, other.PublicKey)
}

// Sign makes any certificate.
func (s Signer) Sign(t testing.TB, template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	c, err := s.sign(template, key)
	if err != nil {
		t.Fatalf("ratest: %v", err)
	}
	return c
}

// Device makes a client certificate for TLS tests: CN and one dNSName of
// name, clientAuth, 2020 to 2119 unless change says otherwise. The chain
// holds s too.
func (s Signer) Device(t testing.TB, name string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := NewKey(t)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		SerialNumber:          serial(t),
		NotBefore:             begin,
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, f := range change {
		f(template)
	}
	leaf := s.Sign(t, template, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, s.Certificate.Raw}, PrivateKey: key, Leaf: leaf}
}

func caTemplate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		SerialNumber:          serial(t),
		NotBefore:             begin,
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		t.Fatalf("ratest: %v", err)
	}
	return n.Add(n, big.NewInt(1))
}
