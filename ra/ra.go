// SPDX-License-Identifier: Apache-2.0

// Package ra is the registration authority: the order of steps from a
// request to a certificate, and the comparison of what was issued with what
// was decided.
package ra

import (
	"context"
	"crypto/x509"
	"math/big"
	"net/netip"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/cmc"
)

// A Request is one enrolment as it reached us.
type Request struct {
	policy.Request
	// ID is the request id: in the answer, the audit record and every log.
	ID string
	// Channel is the zero value where the request has no linking value.
	Channel binding.Channel
	Remote  netip.Addr
	// Unsigned is as in Evidence.
	Unsigned []cmc.UnsignedData
	// Waits is the id of the request that waits which this one asks about: it is
	// that one, of the same identity, or nothing is granted. "": it stands for
	// itself.
	Waits string
}

// An OnBehalf is one enrolment that a registration authority brought for
// somebody else (RFC 7030 section 3.7).
type OnBehalf struct {
	policy.OnBehalf
	ID      string
	Channel binding.Channel // as in Request
	Remote  netip.Addr
	// Unsigned is as in Evidence.
	Unsigned []cmc.UnsignedData
	Waits    string // as in Request
}

// Status is what became of an enrolment, in the words of the audit record.
type Status string

// The statuses. Unknown means that the CA may have signed and its answer
// was lost: Serial says what to look for.
const (
	StatusIssued  Status = "issued"
	StatusRefused Status = "refused"
	StatusFailed  Status = "failed"
	StatusUnknown Status = "unknown"
	StatusRevoked Status = "revoked" // a revocation that was asked for
	StatusPending Status = "pending" // it waits for a decision, of people or of the CA
)

// An Outcome is all that is known of an enrolment, also where it failed: the
// audit record is made from it.
type Outcome struct {
	Status   Status
	Profile  string
	Decision policy.Decision
	// Certificate is the one to hand out; nil unless Status is issued.
	Certificate *x509.Certificate
	// Withheld is what the CA issued against the decision, or nil.
	Withheld *x509.Certificate
	// Conforms is nil when there was nothing to compare.
	Conforms *bool
	Replaces *x509.Certificate
	// KeyHolder is for whom the key was certified before; nil for nobody.
	KeyHolder *policy.KeyHolder
	// Chain is that of the client certificate; nil where nobody counts.
	Chain *policy.Chain
	// Data is what the Hook said.
	Data policy.Facts
	// Serial is the serial number that we chose, NotBefore and NotAfter the
	// validity as ordered; zero before the intent.
	Serial              *big.Int
	NotBefore, NotAfter time.Time
	Upstream            string
	Ref                 string // the CA's own reference
	Took                time.Duration
	// Made is the key that was made for the device; nil: none was.
	Made *Made
	// Pended is the request as it waits, or has waited, for approval; nil where
	// the policy wants none.
	Pended *Pended
	// Replays is the id of the request that the certificate was issued for: this
	// one is the same, sent again, and the CA wasn't asked. "": it was.
	Replays string
	// Doubts are the certificates that the CA may have issued for the same request
	// before.
	Doubts []Doubt
	// Withdrawn says that the CA has revoked the one withheld.
	Withdrawn bool
	// Unsettled is why the store couldn't be told what became of the request.
	Unsettled error
}

// An Order is permission to issue one certificate. Authority alone makes
// one; the zero value issues nothing (Valid is false).
type Order struct {
	plan      policy.Plan
	serial    *big.Int
	notBefore time.Time
	notAfter  time.Time
	csr       *csr.Request
	evidence  Evidence
	self      bool // for this server's own certificate
	// takesSerial: the CA said that it uses our serial number.
	takesSerial bool
	made        bool
	ref         string
	waited      time.Duration // since the CA was first asked for it
	// byCA: the CA makes the key, of this kind.
	byCA    bool
	keyKind csr.Key
}

// Valid tells an order of an Authority from a zero value. Every upstream
// asks first.
func (o Order) Valid() bool { return o.made }

// Plan is the certificate wanted.
func (o Order) Plan() policy.Plan { return o.plan }

// Serial is the serial number for CAs that take one from us: positive, 20
// octets. Nil in the zero Order.
func (o Order) Serial() *big.Int {
	if o.serial == nil {
		return nil
	}
	return new(big.Int).Set(o.serial)
}

// NotBefore is in UTC, whole seconds.
func (o Order) NotBefore() time.Time { return o.notBefore }

// NotAfter is in UTC, whole seconds, inclusive.
func (o Order) NotAfter() time.Time { return o.notAfter }

// CSR is the request as the device signed it. Where the key is made here for the
// device it is a request of ours; where the CA is to make it (KeyMaker), the
// device's, as if it had neither key nor signature.
func (o Order) CSR() *csr.Request { return o.csr }

// Key is the kind of the key that the CA is to make, in an order for a KeyMaker.
func (o Order) Key() csr.Key { return o.keyKind }

// RequestID ties the CA's records to ours.
func (o Order) RequestID() string { return o.evidence.RequestID }

// Ref is the CA's own reference of the order, which it has taken before and didn't
// decide at once (Later); "": it is asked for the first time.
func (o Order) Ref() string { return o.ref }

// Evidence is what was found out about the request.
func (o Order) Evidence() Evidence { return o.evidence }

// Evidence is what a CA is told beside the certificate wanted: what was found
// out about the request, for its own records and rules (RFC 7030 section 3.5
// recommends to pass on the result of linking).
type Evidence struct {
	// RequestID ties the CA's records to ours.
	RequestID string
	// Linking is what the channel-binding check found.
	Linking policy.Linking
	// Binding is the type of binding that matched, such as
	// binding.TLSExporter; "" unless Linking is Matched.
	Binding string
	// Registrar is the subject of the RA that brought the request, which then
	// may have any Linking; "" where the client asked for itself.
	Registrar string
	// Unsigned is what went along with a request in a message of CMC, covered by no
	// signature (RFC 5272 section 3.2.3). Nobody here acts on it: it is for who the
	// request goes on to. The first id of each path is the request's.
	Unsigned []cmc.UnsignedData
}

// Self tells the order of this server's own certificate (policy.SelfProfile):
// an upstream that shows that certificate to the CA can't need it for this.
func (o Order) Self() bool { return o.self }

// Issued is a CA's answer.
type Issued struct {
	Certificate *x509.Certificate
	// Ref is the CA's own reference, for the audit record.
	Ref string
	// Issuer is the identifier of the issuing key, in lower-case hexadecimal, where an
	// InProcess upstream knows its certificates by the Ledger: without an entry there,
	// none is given out, and no serial number is used twice.
	Issuer string

	made made // by Sign
}

// An Upstream is a certification authority that issues what it is told. It
// is safe for concurrent use and honours ctx. Errors are *Error, made by
// Fail with UpstreamDown, UpstreamRefused, UpstreamTimeout, Busy or Fault, or by
// Later where the CA decides later: then Issue is called again, for an order with
// the same RequestID and serial number and with what Later was given as Ref, until
// the CA has decided.
// Any other becomes UpstreamRefused.
type Upstream interface {
	// CACerts returns all CA certificates: roots, intermediates, and
	// cross certificates of a root change. Unchecked.
	CACerts(ctx context.Context) ([]*x509.Certificate, error)
	Issue(ctx context.Context, o Order) (Issued, error)
	Carries() policy.Capabilities
}

// A Revoker is an Upstream that can revoke. Reason is the CRLReason of RFC
// 5280 section 5.3.1. One that only may be able to, by its configuration, has
// CanRevoke() bool as well.
type Revoker interface {
	Revoke(ctx context.Context, c *x509.Certificate, reason int) error
}

// A SerialRevoker is an Upstream that can revoke a certificate which nobody has:
// the CA may have issued it, with a serial number that we chose, and its answer
// was lost. What it never issued is revoked all the same, so that it can't come
// later. Issuer is the issuing certificate, or nil: the one that issues now.
// NotAfter is when the certificate would end; zero: unknown. Reason is as for a
// Revoker. To revoke again is no error.
type SerialRevoker interface {
	RevokeSerial(ctx context.Context, serial *big.Int, issuer *x509.Certificate, notAfter time.Time, reason int) error
}

// A Deferrer is an Upstream whose CA may take an order and decide later (Later). Defers
// says whether this one may, by its configuration.
type Deferrer interface{ Defers() bool }

// A Demander is an Upstream whose CA says what a request should carry (RFC 7030
// section 4.5). It is asked as often as for its certificates. A CA that says nothing
// is no error.
type Demander interface {
	Demand(ctx context.Context) (policy.Demand, error)
}

// A KeyMaker is an Upstream that makes keys for devices (Carries says so by
// Keygen). The private key is passed on as it comes, unopened: it is encrypted
// where the request of the order asks for that (csr.Request.DecryptKey), and only
// there.
type KeyMaker interface {
	IssueWithKey(ctx context.Context, o Order) (Issued, PrivateKey, error)
}

// A CRLSource is an Upstream that publishes a CRL.
type CRLSource interface {
	CRL(ctx context.Context) ([]byte, error) // DER
}

// A WholeLister is a CRLSource whose list has the certificates of every key that the
// CA had under the list's name, since it is made of what the CA has on file under that
// name. Of other lists the key that signed one is the key that it speaks of.
type WholeLister interface {
	CRLSource
	ListsEveryKey() bool
}

// A RevocationChecker is an Upstream that knows by itself what it has revoked: it is
// asked in place of its CRL, which is behind.
type RevocationChecker interface {
	Revoked(ctx context.Context, c *x509.Certificate) (bool, error)
}

// A Tolerance says how an upstream's certificates may differ from the plan:
// the adapter's own, closed list.
type Tolerance interface {
	Tolerates() Tolerated
}

// Tolerated is the tolerated part of the conformity check.
type Tolerated struct {
	// Backdate is how much before the planned notBefore the CA may begin.
	Backdate time.Duration
	// Shorter is how much before the planned notAfter it may end, beyond that:
	// for a CA that can't be told how long a certificate lives.
	Shorter time.Duration
	// SubjectOrder says that the CA writes the RDNs of a subject in an order of
	// its own.
	SubjectOrder bool
	// Extensions are OIDs (dotted) that the CA adds by itself.
	Extensions []string
}

// A Memory keeps the issuing certificates of an upstream over restarts.
type Memory interface {
	Remember(ctx context.Context, upstream string, c *x509.Certificate) error
	Recall(ctx context.Context, upstream string) ([]*x509.Certificate, error)
}
