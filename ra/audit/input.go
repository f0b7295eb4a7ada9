// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Input is what a decision depends on, beside the policy file and what the
// record says elsewhere: with it the decision can be repeated. It is not cut.
type Input struct {
	// Time is the time that the policy was told.
	Time time.Time `json:"time"`
	// CSR is the request without the values of its attributes.
	CSR *InputCSR `json:"csr,omitempty"`
	// Cert is the verified client certificate, DER.
	Cert []byte `json:"cert,omitempty"`
	// Anchors are the names of the anchors that vouch for Cert.
	Anchors []string `json:"anchors,omitempty"`
	// Accounts are the verified HTTP credentials.
	Accounts []Account `json:"accounts,omitempty"`
	// Linking is what the channel-binding check found.
	Linking string `json:"linking"`
	// Renews is the certificate that a reenrolment replaces, DER.
	Renews []byte `json:"renews,omitempty"`
}

// Account is one verified HTTP credential, without its secret.
type Account struct {
	Method string `json:"method"`
	User   string `json:"user"`
}

// InputCSR is a certification request as the policy sees it. Attribute
// values and the signature are left out: challengePassword is among them.
type InputCSR struct {
	Version int    `json:"version"`
	Subject []byte `json:"subject"` // Name, DER
	SPKI    []byte `json:"spki"`    // SubjectPublicKeyInfo, DER
	// Extensions are those of extensionRequest in the order sent, the
	// subjectAltName among them.
	Extensions []Extension `json:"extensions,omitempty"`
	// Attributes are the OIDs of the other attributes in the order sent.
	Attributes []string `json:"attributes,omitempty"`
	// Sig is the signature algorithm as csr.Request.SignatureName has it, such
	// as "ECDSA-SHA256".
	Sig string `json:"sig"`
}

// OfInput tells what was put before the policy.
func OfInput(q policy.Request) *Input {
	in := &Input{
		Time:    q.Now.UTC(),
		CSR:     ofInputCSR(q.CSR),
		Anchors: q.Who.Anchors,
		Linking: q.Linking.String(),
	}
	if q.Who.Cert != nil {
		in.Cert = q.Who.Cert.Raw
	}
	if q.Renews != nil {
		in.Renews = q.Renews.Raw
	}
	for _, a := range q.Who.Accounts {
		in.Accounts = append(in.Accounts, Account{Method: a.Method, User: a.User})
	}
	return in
}

func ofInputCSR(r *csr.Request) *InputCSR {
	if r == nil {
		return nil
	}
	in := &InputCSR{
		Version:    r.Version,
		Subject:    r.RawSubject,
		SPKI:       r.RawSPKI,
		Extensions: extensions(r.Extensions),
		Sig:        r.SignatureName(),
	}
	for _, a := range r.Attributes {
		in.Attributes = append(in.Attributes, a.Type.String())
	}
	return in
}
