// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Input is what a decision depends on, beside the policy file and what the
// record says elsewhere: with it the decision can be repeated. It is not cut.
type Input struct {
	// Time is the time that the policy was told.
	Time time.Time `json:"time"`
	// CSR is the request, without the values of most of its attributes.
	CSR *InputCSR `json:"csr,omitempty"`
	// Cert is the verified client certificate, DER.
	Cert []byte `json:"cert,omitempty"`
	// Anchors are the names of the anchors that vouch for Cert.
	Anchors []string `json:"anchors,omitempty"`
	// AnchorEnds are the notAfter of those anchors, in the same order.
	AnchorEnds []time.Time `json:"anchor_ends,omitempty"`
	// RAIssuers are, of Anchors, those by which Cert is that of a registration
	// authority; left out where it is none. Whether it asks for others, the
	// policy says.
	RAIssuers []string `json:"ra_issuers,omitempty"`
	// Accounts are the verified HTTP credentials.
	Accounts []Account `json:"accounts,omitempty"`
	// Claims are those of the token that was verified.
	Claims json.RawMessage `json:"claims,omitempty"`
	// Data is what the webhook said.
	Data json.RawMessage `json:"data,omitempty"`
	// Passwords are the one-time passwords that were proven, by their ids.
	Passwords []Password `json:"passwords,omitempty"`
	// Devices are the entries of device registries that Cert is of.
	Devices []Device `json:"devices,omitempty"`
	// IssuedUnder is the profile under which the inventory has Cert, where a line
	// of the policy asks for it.
	IssuedUnder Text `json:"issued_under,omitempty"`
	// Linking is what the channel-binding check found.
	Linking string `json:"linking"`
	// Renews is the certificate that a reenrolment replaces, DER.
	Renews []byte `json:"renews,omitempty"`
	// Until is when a registration authority wants the certificate to have ended.
	Until time.Time `json:"until,omitzero"`
	// KeyHolder is for whom the key of the request was certified before; left
	// out where it is new.
	KeyHolder *KeyHolder `json:"key_holder,omitempty"`
	// Chain is how Cert goes back to an enrolment, where the policy counts
	// renewals.
	Chain *Chain `json:"chain,omitempty"`
}

// Chain is how a certificate goes back to an enrolment by other credentials.
type Chain struct {
	// Renewals is how many there were in a row since then.
	Renewals int `json:"renewals"`
	// Since is when the enrolment was.
	Since time.Time `json:"since"`
}

// KeyHolder is for whom a key was certified.
type KeyHolder struct {
	// Names is the hash of the names, as csr.Names.Digest has it.
	Names string `json:"names"`
	// Serial is the serial number of the certificate.
	Serial string `json:"serial,omitempty"`
}

// Account is one verified HTTP credential, without its secret.
type Account struct {
	Method string `json:"method"`
	User   string `json:"user"`
}

// Password is a one-time password that was proven, without its secret.
type Password struct {
	ID  string `json:"id"`
	Via string `json:"via"` // basic or otp_challenge
	// Subject and SAN are the names that it was made for, in DER; left out
	// where they are free.
	Subject []byte `json:"subject,omitempty"`
	SAN     []byte `json:"san,omitempty"`
}

// Device is an entry of a device registry.
type Device struct {
	Registry string `json:"registry"`
	Issuer   string `json:"issuer"` // key identifier, in hex
	Identity string `json:"identity"`
	State    string `json:"state"` // expected, enrolled or blocked
	// Again says that the first enrolment could be repeated.
	Again bool `json:"again,omitempty"`
}

// InputCSR is a certification request as the policy sees it. The signature is
// left out, and so are the values of attributes, save of those on which the
// decision depends.
type InputCSR struct {
	Version int `json:"version"`
	// Bytes is the size of the whole request in DER.
	Bytes   int    `json:"bytes"`
	Subject []byte `json:"subject"` // Name, DER
	SPKI    []byte `json:"spki"`    // SubjectPublicKeyInfo, DER
	// Extensions are those of extensionRequest in the order sent, the
	// subjectAltName among them.
	Extensions []Extension `json:"extensions,omitempty"`
	// Attributes are the OIDs of the other attributes in the order sent.
	Attributes []string `json:"attributes,omitempty"`
	// Values are those of the attributes that the policy puts into the
	// certificate or reads, and of changeSubjectName. No challenge is among
	// them.
	Values []AttributeValues `json:"values,omitempty"`
	// Sig is the signature algorithm as csr.Request.SignatureName has it, such
	// as "ECDSA-SHA256".
	Sig string `json:"sig"`
}

// AttributeValues are all values of one attribute.
type AttributeValues struct {
	OID    string   `json:"oid"`
	Values [][]byte `json:"values"` // DER
}

// secrets are attributes whose values no record ever has, whatever a policy
// says: challengePassword (RFC 2985 section 5.4.1), which holds the linking
// value or a password, and the attributes of RFC 7894 section 3.
var secrets = []string{
	csr.OIDChallengePassword,
	"1.2.840.113549.1.9.16.2.56", // otpChallenge
	"1.2.840.113549.1.9.16.2.57", // revocationChallenge
	"1.2.840.113549.1.9.16.2.58", // estIdentityLinking
}

// OfInput tells what was put before the policy. needs says of an attribute
// whether the decision depends on its values; nil is none.
func OfInput(q policy.Arrival, needs func(asn1.ObjectIdentifier) bool) *Input {
	in := &Input{
		Time:      q.Now.UTC(),
		CSR:       ofInputCSR(q.Asked(), needs),
		Anchors:   q.Who.Anchors,
		Linking:   q.Linking.String(),
		RAIssuers: q.By.Issuers(),
	}
	if q.Who.Cert != nil {
		in.Cert = q.Who.Cert.Raw
	}
	if !q.Until.IsZero() {
		in.Until = q.Until.UTC()
	}
	if q.Renews != nil {
		in.Renews = q.Renews.Raw
	}
	for _, end := range q.Who.AnchorEnds {
		in.AnchorEnds = append(in.AnchorEnds, end.UTC())
	}
	if held := q.KeyHolder; held != nil {
		in.KeyHolder = &KeyHolder{Names: hex.EncodeToString(held.Names[:]), Serial: held.Serial}
	}
	if q.Chain != nil {
		in.Chain = &Chain{q.Chain.Renewals, q.Chain.Since.UTC()}
	}
	in.IssuedUnder = Text(q.Who.IssuedUnder)
	in.Data, in.Claims = q.Who.Data.JSON(), q.Who.Claims.JSON()
	for _, a := range q.Who.Accounts {
		in.Accounts = append(in.Accounts, Account{Method: a.Method, User: a.User})
	}
	for _, p := range q.Who.Passwords {
		in.Passwords = append(in.Passwords, ofPassword(p))
	}
	for _, d := range q.Who.Devices {
		in.Devices = append(in.Devices, Device{d.Registry, d.Issuer, d.Identity, string(d.State), d.Again})
	}
	return in
}

// ofPassword leaves out names that can't be written, which no password has.
func ofPassword(p policy.OneTimePassword) Password {
	out := Password{ID: p.ID, Via: p.Via}
	if p.Bound.Subject {
		out.Subject, _ = p.Bound.Names.Subject.MarshalDER()
	}
	if p.Bound.SAN {
		out.SAN, _ = csr.MarshalSAN(p.Bound.Names.SAN)
	}
	return out
}

func ofInputCSR(r *csr.Request, needs func(asn1.ObjectIdentifier) bool) *InputCSR {
	if r == nil {
		return nil
	}
	in := &InputCSR{
		Version:    r.Version,
		Bytes:      len(r.Raw),
		Subject:    r.RawSubject,
		SPKI:       r.RawSPKI,
		Extensions: extensions(r.Extensions),
		Sig:        r.SignatureName(),
	}
	for _, a := range r.Attributes {
		oid := a.Type.String()
		in.Attributes = append(in.Attributes, oid)
		if needs != nil && needs(a.Type) && !slices.Contains(secrets, oid) {
			in.Values = append(in.Values, AttributeValues{OID: oid, Values: a.Values})
		}
	}
	return in
}
