// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// Op is an EST operation (RFC 7030 section 3.2.2).
type Op string

// The operations, as paths name them: a label may not be spelled like one of them.
const (
	CACerts        Op = "cacerts"
	SimpleEnroll   Op = "simpleenroll"
	SimpleReenroll Op = "simplereenroll"
	FullCMC        Op = "fullcmc"
	ServerKeygen   Op = "serverkeygen"
	CSRAttrs       Op = "csrattrs"
)

// What a message to /fullcmc asks for. Each is an operation of its own in a
// policy; none is a path.
const (
	CMCEnroll   Op = "fullcmc.enroll"
	CMCReenroll Op = "fullcmc.reenroll"
	CMCRevoke   Op = "fullcmc.revoke"
)

// Verdict is what a profile says of a request. The zero value denies.
type Verdict uint8

// The verdicts.
const (
	Deny Verdict = iota
	Allow
	Defer // nothing refuses it, and people have to approve it
	Fault // the policy itself failed; nothing is issued
)

// String gives the word that audit records use.
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Defer:
		return "defer"
	case Fault:
		return "fault"
	default:
		return "deny"
	}
}

// A Request is what is put before a profile. It is complete: Decide asks
// nobody else, neither clock nor network.
type Request struct {
	Op    Op
	Label string
	Who   Identity
	CSR   *csr.Request
	// Keyless stands in the place of CSR in a request to /serverkeygen, and
	// nowhere else.
	Keyless *csr.Keyless
	Linking Linking
	// Renews is the certificate that a reenroll replaces. The caller has
	// made sure that this CA issued it.
	Renews *x509.Certificate
	// KeyHolder is for whom the key of the CSR was certified before; nil for
	// nobody, as far as is known.
	KeyHolder *KeyHolder
	// Until is when the certificate must have ended, where a registration
	// authority asks for less than the profile would give; zero: it doesn't say.
	Until time.Time
	// Chain is that of Who.Cert, where this CA has issued it; nil: nobody has
	// counted.
	Chain *Chain
	Now   time.Time
}

// A KeyHolder is for whom a key was certified.
type KeyHolder struct {
	// Names are those of the certificate, as csr.Names.Digest has them.
	Names [sha256.Size]byte
	// Serial is the certificate's serial number, for people.
	Serial string
}

// An Identity is who asks, as far as it has been proven. The zero value is
// nobody.
type Identity struct {
	// Cert is the TLS client certificate, present only when its chain was
	// verified under at least one of Anchors. It may be past its notAfter:
	// then only a reenroll with `expired` counts it.
	Cert *x509.Certificate
	// CertNames are the names of Cert, where they have been read already; nil:
	// each rule that asks reads them.
	CertNames *csr.Names
	// Anchors are the names of the anchors under which Cert verified, in
	// the configuration's order.
	Anchors []string
	// AnchorEnds are the notAfter of those anchors' own certificates, in the
	// same order; of several that vouch the last to end.
	AnchorEnds []time.Time
	// Accounts are the verified HTTP credentials, and the user of the connection.
	Accounts []Account
	// Claims are those of the token among Accounts.
	Claims Facts
	// Data is what the webhook says of the request. It is there once the
	// request was read: the gate doesn't have it.
	Data Facts
	// Passwords are the one-time passwords that were proven, each in a way of
	// its own.
	Passwords []OneTimePassword
	// Devices are the entries of device registries that Cert is of.
	Devices []Device
	// IssuedUnder is the name of the profile under which the inventory has Cert;
	// empty: it hasn't, or no line asks.
	IssuedUnder string
}

// An Account is one verified HTTP credential, or by SRPAccount the user of a
// connection without certificates.
type Account struct {
	// Method is "http_basic", "digest", BearerMethod of a token, SRPMethod, or
	// the name of a `provider`.
	Method string
	User   string
}

// Linking is what the channel-binding check found (RFC 7030 section 3.5,
// RFC 7894). The zero value is Absent.
type Linking uint8

// The results of the check.
const (
	Absent Linking = iota
	Matched
	Mismatched
	Uncomputable // a value is there, but this connection has none to compare it with
	// Unproven is as Matched, in a request whose signature nobody has verified:
	// one to /serverkeygen. Who can send the request could have written it.
	Unproven
)

// String gives the word that audit records use.
func (l Linking) String() string {
	switch l {
	case Matched:
		return "matched"
	case Mismatched:
		return "mismatched"
	case Uncomputable:
		return "uncomputable"
	case Unproven:
		return "unproven"
	default:
		return "absent"
	}
}

// Pos is a place in the policy file. Lines and columns count from 1.
type Pos struct {
	File string
	Line int
	Col  int
}

// String gives file:line:col, as editors read it.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Effect is what a finding does to the request.
type Effect string

// The effects. Refused and Required make the verdict Deny.
const (
	Refused   Effect = "refused"   // it was asked for and may not be
	Required  Effect = "required"  // it must be there and is not
	Rewritten Effect = "rewritten" // the plan has another value than was asked for
	Dropped   Effect = "dropped"   // asked for, and left out of the plan
	Warned    Effect = "warned"    // recorded only
)

// Class says which error a refusing finding becomes (design: errors table).
// The zero value is an ordinary refusal by policy.
type Class uint8

// The classes.
const (
	ByPolicy     Class = iota
	BadKey             // key not accepted
	KeyReuse           // key must change
	BadExtension       // extension not accepted
	BadRenewal         // certificate can't be renewed here
	LinkMissing        // linking required and absent
	LinkFailed         // linking present and wrong
	BadIdentity        // no `who` line matches
	Broken             // the policy itself can't be evaluated
)

// A Finding is one thing that a profile has to say about a request.
type Finding struct {
	Pos     Pos    // the policy line that says so
	Path    string // the policy path, such as "profiles.routers.san.dns.allow"
	Effect  Effect
	Class   Class
	Got     string // what the request has; never a secret
	Want    string // what the line wants
	Message string // a sentence for operators
	// Disclose says that Message may be shown to the client.
	Disclose bool
	// Check is the id of a `checks` entry, or empty.
	Check string
	// Lint is the stable id of a warning about the policy file itself (see
	// Lints). A finding about a request has none.
	Lint string
}

// String gives "file:line:col: message (path)".
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s (%s)", f.Pos, f.Effect, f.Message, f.Path)
}

// A Step is one rule that a decision asked, in the order asked.
type Step struct {
	Pos  Pos
	Path string
	Got  string // what the request has, where that is one value
	Want string // what the rule wants
	// Outcome is the effect of a finding, or: holds, sets, decides, does not
	// apply.
	Outcome string
}

// A Plan is the whole certificate wanted, not a patch to the CSR. Subject,
// SAN, key usage and the rest are to be just as here.
type Plan struct {
	Names csr.Names
	// SANCritical is true when the subject is empty (RFC 5280 section
	// 4.2.1.6).
	SANCritical bool
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []asn1.ObjectIdentifier
	// Extensions are those beyond SAN, KU, EKU, basicConstraints, SKI and
	// AKI, which follow from the rest.
	Extensions []csr.Extension
	// Validity is how long, notAfter inclusive (RFC 5280 section 4.1.2.5).
	Validity time.Duration
	// Upstream is the name in the Caddyfile; empty means the only one.
	Upstream string
}

// A Decision is a profile's answer. With Allow and Defer the plan is complete; with
// any other verdict it is what would have been planned, for explain.
type Decision struct {
	Verdict  Verdict
	Profile  string
	Policy   string // name of the policy file's `name:` key
	Findings []Finding
	Plan     Plan
	// Uses is what the request uses up, where it is granted.
	Uses []Use
	// Chain is that of the certificate, where the profile counts renewals. It
	// is to be kept, so that the next request for a renewal has it.
	Chain *Chain
	// Keygen is the key that is to be made, of a request to /serverkeygen; nil
	// of any other, and where it isn't clear how it would be given out.
	Keygen *Keygen
	// Approval is what the request waits for, with Defer; else nil.
	Approval *Approval
}

// Grants tells a decision with a complete plan: Allow, or Defer.
func (d Decision) Grants() bool { return d.Verdict.Grants() }

// Grants tells Allow and Defer.
func (v Verdict) Grants() bool { return v == Allow || v == Defer }

// Gate is the answer of the authentication gate, before the body is read.
// The zero value is closed.
type Gate struct {
	// Open is true when one `who` line of the operation can match.
	Open bool
	// Challenge is true when the gate is shut, and an HTTP credential could
	// open it: the answer is 401 with WWW-Authenticate, else 403 (RFC 7030
	// section 3.2.3).
	Challenge bool
	// Methods are the Account.Method of those that could.
	Methods []string
	// Body is true when the gate is shut, and what is in the request's body
	// could open it: an otpChallenge (RFC 7894 section 3.1).
	Body bool
	// Findings say why no line matched, one for each line.
	Findings []Finding
}

// Digest is what an Environment has of `digest`.
type Digest struct {
	Users []string
	// Unread says that the accounts aren't known: their file can't be read
	// here.
	Unread bool
	// MD5 says that answers with MD5 count.
	MD5 bool
}

// An Environment is what the Caddyfile offers to a policy.
type Environment struct {
	Anchors   []string
	Users     []string // accounts of `basic`
	Providers []string
	// Digest are the accounts of `digest`.
	Digest    Digest
	Upstreams map[string]Capabilities
	// Bearers are the names of `bearer`.
	Bearers []string
	// Webhook says that a webhook is asked about each request.
	Webhook    bool
	Registries []string // device registries
	// Store says that what a policy counts survives a restart.
	Store bool
	// Unrevoked are the anchors without a source of revocation.
	Unrevoked []string
	// AnyEKU are the anchors that take certificates without clientAuth.
	AnyEKU []string
	// Issuing has, of the anchors that are an upstream's issuing keys, the
	// name of the upstream.
	Issuing map[string]string
	// RAIssuers are the other anchors whose certificates for id-kp-cmcRA are
	// those of RAs.
	RAIssuers []string
}
