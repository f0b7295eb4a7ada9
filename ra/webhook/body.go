// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.step.sm/crypto/x509util"

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
	csr, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		return nil, fmt.Errorf("the request can't be told to a webhook: %w", err)
	}
	b := body{
		Timestamp: now, ProvisionerName: req.Profile, AuthorizationRole: req.Role,
		X509CertificateRequest: &certificateRequest{
			CertificateRequest: x509util.NewCertificateRequestFromX509(csr),
			PublicKey:          req.CSR.RawSPKI, PublicKeyAlgorithm: csr.PublicKeyAlgorithm.String(), Raw: raw,
		},
	}
	if len(req.CSR.RawSPKI) == 0 { // the key is made here, once this is decided
		b.X509CertificateRequest.PublicKeyAlgorithm = ""
	}
	if who := audit.OfIdentity(req.Who); who != nil {
		b.AuthorizationPrincipal = string(who.ID)
	}
	if c := req.Who.Cert; c != nil {
		b.X5CCertificate = &certificate{c.Raw, c.RawSubjectPublicKeyInfo, c.PublicKeyAlgorithm.String(), c.NotBefore, c.NotAfter}
	}
	return json.Marshal(b)
}
