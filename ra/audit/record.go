// SPDX-License-Identifier: Apache-2.0

// Package audit holds the audit record: what is kept of every request.
//
// A record tells who asked for what, what the policy said, what the CA was
// told and what it issued, so that the decision can be followed and repeated
// later. It never holds a password, a token, a private key, or the value of
// challengePassword and the other challenges of a PKCS #10 request.
package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/caddy-est/estra/policy"
)

// A Sink takes records. An error means that the record isn't kept.
type Sink interface {
	Write(ctx context.Context, r *Record) error
}

// A Keeper is a Sink that tells whether it can keep records. Ready says why it can't
// now. Where they are Required nothing is issued then, and no CA is asked.
type Keeper interface {
	Sink
	Ready(ctx context.Context) error
	Required() bool
}

// Required gives the Keeper without whose record nothing is issued, where the sink is
// such a one.
func Required(s Sink) (Keeper, bool) {
	k, is := s.(Keeper)
	return k, is && k.Required()
}

// Version is the version of the record's JSON form. It grows when a field
// changes its meaning or goes away; a new field alone doesn't change it.
const Version = 1

// OpSelf is the Op of a record that no request of a client has: this server got
// its own certificate, by the built-in profile policy.SelfProfile.
const OpSelf policy.Op = "self"

// OpProbe is the Op of a record that no request of a client has: an operator had a
// CA issue a certificate to see whether it can, by policy.ProbeProfile.
const OpProbe policy.Op = "probe"

// OpApproval is the Op of a record that no request of a client has: somebody has
// approved or denied one that waits.
const OpApproval policy.Op = "approval"

// OpHandshake is the Op of a record that no request has: a TLS handshake without
// certificates was refused.
const OpHandshake policy.Op = "handshake"

// OpRevoke is the Op of a record that no request of a client has: an operator had a
// certificate of the inventory revoked.
const OpRevoke policy.Op = "certs.revoke"

// A Record is what is kept of one request to an enrolling operation, granted
// or not. New makes one. In JSON, what doesn't apply is left out; times are
// RFC 3339; serial numbers are lower-case hex (Serial); hashes are SHA-256 in
// lower-case hex; DER is base64; text is cut at MaxText bytes.
type Record struct {
	// V is the version of this form: Version.
	V int `json:"v"`
	// TS is when the request came, in UTC.
	TS time.Time `json:"ts"`
	// Node is the name of the server that handled the request.
	Node Text `json:"node,omitempty"`
	// ID is the request id, as in the answer's X-Request-Id and in logs.
	ID Text `json:"id"`
	// Op is the EST operation, self for this server's own certificate, approval
	// for what somebody says of a request that waits, or handshake for a TLS
	// handshake with SRP that was refused. Of a
	// message to /fullcmc that could be read it is what was asked for:
	// fullcmc.enroll, fullcmc.reenroll or fullcmc.revoke.
	Op policy.Op `json:"op"`
	// Label is the label of the path; empty on the path without one.
	Label Text `json:"label"`
	// Profile is the name of the profile that decided.
	Profile Text `json:"profile,omitempty"`
	// Policy is the policy file in force.
	Policy *Policy `json:"policy,omitempty"`

	// Who is the proven identity; left out when there was none.
	Who *Who `json:"who,omitempty"`
	// Remote is the client's address.
	Remote netip.Addr `json:"remote,omitzero"`
	// TLS is the connection.
	TLS *TLS `json:"tls,omitempty"`

	// CSR is what was asked for; left out when it could not be read.
	CSR *CSR `json:"csr,omitempty"`

	// Decision is what the policy said.
	Decision *Decision `json:"decision,omitempty"`
	// Plan is the certificate that the CA was told to issue or, after a
	// refusal, would have been told.
	Plan *Plan `json:"plan,omitempty"`

	// Shadow is what the shadow policy decides otherwise; left out where it
	// agrees, or there is none.
	Shadow *Shadow `json:"shadow,omitempty"`

	// Upstream is the exchange with the CA; left out when it wasn't asked.
	Upstream *Upstream `json:"upstream,omitempty"`
	// Input is what the policy decided upon, for a replay.
	Input *Input `json:"input,omitempty"`
	// Cert is the certificate that the CA issued, withheld ones too.
	Cert *Cert `json:"cert,omitempty"`
	// Made is the key that was made for the device.
	Made *Made `json:"made,omitempty"`
	// Pending is the request as it waits, or has waited, for approval.
	Pending *Pending `json:"pending,omitempty"`
	// Outcome is what became of the request: issued, revoked, pending (it waits
	// for a decision), refused (the answer is no), failed (it could not be done), or
	// unknown (the CA may have issued and its answer was lost); approved or denied
	// where the operation is approval.
	Outcome Text `json:"outcome"`
	// Serial is the serial number that we chose: where the outcome is
	// unknown, the one to look for at the CA.
	Serial string `json:"serial,omitempty"`
	// Conforms says whether the certificate is the one that was planned;
	// left out when there was none to compare.
	Conforms *bool `json:"conforms,omitempty"`

	// Status is the HTTP status of the answer.
	Status int `json:"status,omitempty"`
	// Kind is the kind of the error; left out on success.
	Kind Text `json:"kind,omitempty"`
	// FailInfo is the CMCFailInfo of the error (RFC 5272 section 6.1.4).
	FailInfo Text `json:"fail_info,omitempty"`
	// Reason is the error's reason for operators. The client doesn't see it.
	Reason Text `json:"reason,omitempty"`
	// MS is how long the request took, in milliseconds.
	MS int64 `json:"ms"`

	// ReplacesSerial is the serial number of the certificate that a
	// reenrolment replaces.
	ReplacesSerial string `json:"replaces_serial,omitempty"`
	// RevokesSerial is the serial number of the certificate whose revocation was
	// asked for.
	RevokesSerial string `json:"revokes_serial,omitempty"`
	// Replays is the id of the request that the certificate was issued for: this
	// one is the same, sent again, and the CA wasn't asked.
	Replays Text `json:"replays,omitempty"`
	// Doubts are certificates that the CA may have issued for the same request
	// before, without anybody knowing.
	Doubts []Doubt `json:"doubts,omitempty"`
}

// New makes the record of a request that came at a time.
func New(id string, op policy.Op, at time.Time) *Record {
	return &Record{V: Version, TS: at.UTC(), ID: Text(id), Op: op}
}

// Enrolls says whether the record is of an operation that may issue or revoke.
func (r *Record) Enrolls() bool {
	return r.Op != "" && r.Op != policy.CACerts && r.Op != policy.CSRAttrs
}

// JSON is the record as it is logged: on one line, without HTML's escapes.
func (r *Record) JSON() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Policy names a policy file.
type Policy struct {
	// Name is the file's `name:`.
	Name Text `json:"name"`
	// SHA256 is the hash of the file's bytes.
	SHA256 string `json:"sha256"`
}

// Who is a proven identity.
type Who struct {
	// Method is client_cert, http_basic, digest, bearer:NAME, one_time_password or the name of
	// a provider; several
	// that were proven together are joined by "+".
	Method Text `json:"method"`
	// ID is the certificate's subject, the account's user name, the id of the
	// one-time password, or several of them, joined by " + ".
	ID Text `json:"id"`
	// Anchor is the trust anchor that vouches for the certificate; several
	// are joined by "+", in the configuration's order.
	Anchor Text `json:"anchor,omitempty"`
	// CertSerial is the serial number of the client certificate.
	CertSerial string `json:"cert_serial,omitempty"`
	// CertSHA256 is the hash of the whole client certificate.
	CertSHA256 string `json:"cert_sha256,omitempty"`
	// Devices are the entries of device registries that the client certificate
	// is of, as REGISTRY/ISSUER/IDENTITY (STATE).
	Devices []Text `json:"devices,omitempty"`
	// RevocationUnknown says, for each anchor that takes the certificate although
	// nobody could say whether it is revoked, why: "ANCHOR: REASON".
	RevocationUnknown []Text `json:"revocation_unknown,omitempty"`
	// Role is "ra" for a registration authority that asks on behalf of
	// others (RFC 7030 section 3.7).
	Role Text `json:"role,omitempty"`
}

// TLS is the connection that a request came on.
type TLS struct {
	// Version is "1.2" or "1.3"; empty without TLS.
	Version string `json:"version,omitempty"`
	// Linked is what the channel-binding check found: absent, matched,
	// mismatched or uncomputable (RFC 7030 section 3.5).
	Linked string `json:"linked"`
}

// CSR is a certification request in short.
type CSR struct {
	// SHA256 is the hash of the whole request.
	SHA256 string `json:"sha256"`
	// SPKISHA256 is the hash of its SubjectPublicKeyInfo.
	SPKISHA256 string `json:"spki_sha256,omitempty"`
	// Key is the key's kind with its size or curve, such as "rsa 3072",
	// "ecdsa P-256" or "ed25519"; "unknown" otherwise.
	Key string `json:"key,omitempty"`
	// Sig is the signature algorithm as csr.Request.SignatureName has it, such
	// as "ECDSA-SHA256".
	Sig Text `json:"sig,omitempty"`
	// Subject is the subject as text.
	Subject Text `json:"subject"`
	// SAN is the subjectAltName, each name as "form:value". At most MaxList.
	SAN []Text `json:"san,omitempty"`
	// ExtOIDs are the OIDs of the requested extensions. At most MaxList.
	ExtOIDs []Text `json:"ext_oids,omitempty"`
}

// Decision is what the policy said.
type Decision struct {
	// Verdict is allow, deny, defer or fault.
	Verdict string `json:"verdict"`
	// Findings are what the policy's lines had to say. At most MaxList.
	Findings []Finding `json:"findings,omitempty"`
	// FindingsMore counts the findings that are left out beyond that.
	FindingsMore int `json:"findings_more,omitempty"`
}

// Finding is what one line of the policy had to say.
type Finding struct {
	// Path is the policy path, such as profiles.routers.san.dns.allow.
	Path Text `json:"path"`
	// Line is the line in the policy file, from 1.
	Line int `json:"line,omitempty"`
	// Effect is refused, required, rewritten, dropped or warned.
	Effect string `json:"effect"`
	// Got is what the request has.
	Got Text `json:"got,omitempty"`
	// Want is what the line wants.
	Want Text `json:"want,omitempty"`
	// Check is the id of the policy's check, where it was one.
	Check Text `json:"check,omitempty"`
	// Message says what is wrong where none of Got, Want and Check does, as of
	// a line of `who`.
	Message Text `json:"message,omitempty"`
}

// Upstream is the exchange with the CA.
type Upstream struct {
	// Name is the upstream's name in the Caddyfile.
	Name Text `json:"name"`
	// Ref is the CA's own reference for the certificate.
	Ref Text `json:"ref,omitempty"`
	// MS is how long the CA took, in milliseconds.
	MS int64 `json:"ms"`
	// Error is why the CA didn't issue.
	Error Text `json:"error,omitempty"`
}

// Made is a key that was made for a device, without anything of it but its hash.
type Made struct {
	// Key is its kind, as in CSR.
	Key string `json:"key"`
	// SPKISHA256 is the hash of its SubjectPublicKeyInfo.
	SPKISHA256 string `json:"spki_sha256"`
	// By is who made it: ra or upstream.
	By string `json:"by"`
	// Form is how it was given out: clear, symmetric, asymmetric or pkcs12.
	Form string `json:"form"`
	// KeyID is the identifier of the key that it was encrypted for, in
	// hexadecimal.
	KeyID string `json:"key_id,omitempty"`
	// Superseded are the certificates that the same request had before.
	Superseded []Superseded `json:"superseded,omitempty"`
}

// Superseded is a certificate in whose place a new one came.
type Superseded struct {
	Serial  string `json:"serial"`
	Revoked bool   `json:"revoked"`
	// Error is why it isn't revoked.
	Error Text `json:"error,omitempty"`
}

// Doubt is a certificate that the CA may have issued.
type Doubt struct {
	// ID is that of the request which was under way.
	ID Text `json:"id"`
	// Serial is its serial number, where it was chosen here.
	Serial  string `json:"serial,omitempty"`
	Revoked bool   `json:"revoked"`
	// Error is why it isn't revoked.
	Error Text `json:"error,omitempty"`
}

// Cert is a certificate that was issued.
type Cert struct {
	// Serial is its serial number, which may differ from the one we chose.
	Serial string `json:"serial"`
	// SHA256 is the hash of the whole certificate.
	SHA256 string `json:"sha256"`
	// Issuer is the issuer's name as text.
	Issuer Text `json:"issuer"`
	// NotBefore and NotAfter are its validity, both inclusive.
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}
