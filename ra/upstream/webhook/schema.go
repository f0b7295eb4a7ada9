// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/upstream"
)

// Schema is the version of what is sent (docs/upstream-webhook.md). Members may be
// added to it; what a member means, or that it is there, changes with the number.
const Schema = "estra-ca/1"

// The bodies that are sent.
type (
	// head is what every body has. Time is when it was sent: a service needs to
	// take no old ones.
	head struct {
		Schema string    `json:"schema"`
		Time   time.Time `json:"time"`
	}
	issueRequest struct {
		head

		RequestID string `json:"request_id"`
		// Ref is what the service called this order when it decided later.
		Ref string `json:"ref,omitempty"`
		// CSR is PEM, and absent where the request is CRMF.
		CSR string `json:"csr,omitempty"`
		// PublicKey is the SubjectPublicKeyInfo, DER.
		PublicKey []byte `json:"public_key"`
		// Plan is for who decides, as the audit record has it; Certificate is the
		// same for who encodes.
		Plan        *audit.Plan `json:"plan"`
		Certificate certificate `json:"certificate"`
		Evidence    evidence    `json:"evidence"`
	}
	// certificate is what is to be issued, so that nothing is left to decide.
	certificate struct {
		// Serial is decimal, and absent where the service numbers them.
		Serial    string    `json:"serial,omitempty"`
		NotBefore time.Time `json:"not_before"`
		NotAfter  time.Time `json:"not_after"`
		// Subject is DER, and RDNs the same, with the tag of each text.
		Subject []byte        `json:"subject"`
		RDNs    [][]attribute `json:"rdns"`
		// Extensions are all but those that follow from the CA: SAN, key usage and
		// extended key usage are among them. ExtensionsDER is the same, as the
		// ASN.1 type Extensions.
		Extensions    []audit.Extension `json:"extensions"`
		ExtensionsDER []byte            `json:"extensions_der"`
	}
	attribute struct {
		Type  string `json:"type"`
		Value string `json:"value"`
		// Tag is the ASN.1 type: 12 is UTF8String, 19 PrintableString, 22
		// IA5String.
		Tag int `json:"tag"`
		// DER is the value whole, for one that is no text.
		DER []byte `json:"der"`
	}
	// evidence is what was found out about the request; see ra.Evidence.
	evidence struct {
		Linking   string `json:"linking"`
		Binding   string `json:"binding,omitempty"`
		Registrar string `json:"registrar,omitempty"`
		// Self is true for this server's own certificate.
		Self bool `json:"self,omitempty"`
	}
	revokeRequest struct {
		head

		Serial string `json:"serial"` // decimal
		// Certificate is PEM, and absent where nobody has it.
		Certificate string `json:"certificate,omitempty"`
		// Reason is the CRLReason (RFC 5280 section 5.3.1).
		Reason int `json:"reason"`
	}
	cacertsRequest struct{ head }
)

// The answers. Of those to an order one member is there.
type (
	issueAnswer struct {
		// Certificate is PEM: the certificate, and those above it if the service
		// likes.
		Certificate string   `json:"certificate"`
		Ref         string   `json:"ref"`
		Pending     *pending `json:"pending"`
		Refused     *refused `json:"refused"`
	}
	pending struct {
		RetryAfter int64  `json:"retry_after"` // seconds
		Ref        string `json:"ref"`
	}
	refused struct {
		Reason string `json:"reason"`
	}
	revokeAnswer struct {
		Refused *refused `json:"refused"`
	}
	cacertsAnswer struct {
		Certificates string `json:"certificates"` // PEM
	}
)

func (u *Upstream) head() head {
	return head{Schema, u.cfg.Now().UTC().Truncate(time.Millisecond)}
}

// requestOf writes an order down.
func (u *Upstream) requestOf(o ra.Order) (*issueRequest, error) {
	plan := o.Plan()
	told := audit.OfPlan(plan)
	told.NotBefore, told.NotAfter = o.NotBefore(), o.NotAfter()
	e := o.Evidence()
	r := &issueRequest{
		head: u.head(), RequestID: o.RequestID(), Ref: o.Ref(), PublicKey: o.CSR().RawSPKI, Plan: told,
		Evidence: evidence{Linking: e.Linking.String(), Binding: e.Binding, Registrar: e.Registrar, Self: o.Self()},
	}
	if der, ok := o.CSR().PKCS10(); ok {
		r.CSR = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	}
	r.Certificate = certificate{NotBefore: o.NotBefore(), NotAfter: o.NotAfter(), RDNs: [][]attribute{}, Extensions: []audit.Extension{}}
	c := &r.Certificate
	if !u.cfg.OwnSerials {
		c.Serial = o.Serial().String()
	}
	extensions, err := upstream.Extensions(plan)
	if err != nil {
		return nil, err
	}
	for _, x := range extensions {
		c.Extensions = append(c.Extensions, audit.Extension{OID: audit.Text(x.ID.String()), Critical: x.Critical, Value: x.Value})
	}
	if c.ExtensionsDER, err = csr.MarshalExtensions(extensions); err != nil {
		return nil, err
	}
	return r, c.subject(plan.Names.Subject)
}

// subject writes the name twice. The texts are read from what was encoded, which
// has chosen the types of those that a policy sets.
func (c *certificate) subject(planned csr.Name) error {
	var err error
	if c.Subject, err = planned.MarshalDER(); err != nil {
		return fmt.Errorf("the planned subject: %w", err)
	}
	names, err := csr.NamesOf(&x509.Certificate{RawSubject: c.Subject})
	if err != nil {
		return fmt.Errorf("the planned subject: %w", err)
	}
	for _, rdn := range names.Subject {
		var list []attribute
		for _, a := range rdn {
			list = append(list, attribute{Type: a.Type.String(), Value: a.Value, Tag: a.Tag, DER: a.Raw})
		}
		c.RDNs = append(c.RDNs, list)
	}
	return nil
}
