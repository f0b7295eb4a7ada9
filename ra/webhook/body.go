// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.step.sm/crypto/x509util"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
)

// The types of step-ca's package webhook, with its names in JSON.
type (
	body struct {
		Timestamp              time.Time           `json:"timestamp"`
		ProvisionerName        string              `json:"provisionerName,omitempty"`
		X509CertificateRequest *certificateRequest `json:"x509CertificateRequest,omitempty"`
		X5CCertificate         *certificate        `json:"x5cCertificate,omitempty"`
		AuthorizationPrincipal string              `json:"authorizationPrincipal,omitempty"`
		// AuthorizationRole is not step-ca's: "ra" where the principal asks on
		// behalf of another.
		AuthorizationRole string `json:"authorizationRole,omitempty"`
	}
	certificateRequest struct {
		*x509util.CertificateRequest
		PublicKey          []byte `json:"publicKey"`
		PublicKeyAlgorithm string `json:"publicKeyAlgorithm"`
		Raw                []byte `json:"raw"`
	}
	certificate struct {
		Raw                []byte    `json:"raw"`
		PublicKey          []byte    `json:"publicKey"`
		PublicKeyAlgorithm string    `json:"publicKeyAlgorithm"`
		NotBefore          time.Time `json:"notBefore"`
		NotAfter           time.Time `json:"notAfter"`
	}
)

// requestBody tells a request as step-ca does. The profile stands where the
// provisioner does, who asks where the principal does.
func requestBody(req ra.Consulted, now time.Time) ([]byte, error) {
	raw, ok := req.CSR.PKCS10()
	if !ok {
		return nil, errors.New("the request is CRMF, and a webhook is told of PKCS #10 alone")
	}
	keyless := len(req.CSR.RawSPKI) == 0 // the key is made here, once this is decided
	readable := raw
	if keyless {
		var err error
		if readable, err = standIn(req.CSR); err != nil {
			return nil, fmt.Errorf("the request can't be told to a webhook: %w", err)
		}
	}
	parsed, err := x509.ParseCertificateRequest(readable)
	if err != nil {
		return nil, fmt.Errorf("the request can't be told to a webhook: %w", err)
	}
	b := body{
		Timestamp: now, ProvisionerName: req.Profile, AuthorizationRole: req.Role,
		X509CertificateRequest: &certificateRequest{
			CertificateRequest: x509util.NewCertificateRequestFromX509(parsed),
			PublicKey:          req.CSR.RawSPKI, PublicKeyAlgorithm: parsed.PublicKeyAlgorithm.String(), Raw: raw,
		},
	}
	if keyless {
		told := b.X509CertificateRequest
		told.CertificateRequest.PublicKey, told.CertificateRequest.PublicKeyAlgorithm, told.Signature, told.PublicKeyAlgorithm = nil, 0, nil, ""
	}
	if who := audit.OfIdentity(req.Who); who != nil {
		b.AuthorizationPrincipal = string(who.ID)
	}
	if c := req.Who.Cert; c != nil {
		b.X5CCertificate = &certificate{c.Raw, c.RawSubjectPublicKeyInfo, c.PublicKeyAlgorithm.String(), c.NotBefore, c.NotAfter}
	}
	return json.Marshal(b)
}

// standIn is a request that has the subject and the extensions of one whose key and
// signature nobody looks at (RFC 7030 section 4.4.1), and a key that crypto/x509 can
// read.
func standIn(r *csr.Request) ([]byte, error) {
	extensions, err := csr.MarshalExtensions(r.Extensions)
	if err != nil {
		return nil, err
	}
	ed25519 := func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 101, 112}) })
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddBytes(r.RawSubject)
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				ed25519(b)
				b.AddASN1BitString(make([]byte, 32))
			})
			b.AddASN1(der.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				if len(r.Extensions) == 0 {
					return
				}
				b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}) // extensionRequest
					b.AddASN1(der.SET, func(b *cryptobyte.Builder) { b.AddBytes(extensions) })
				})
			})
		})
		ed25519(b)
		b.AddASN1BitString(make([]byte, 64))
	})
	return b.Bytes()
}
