// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
)

// The extended key usages of our own certificate: it is shown to devices, to
// the CA, and by id-kp-cmcRA (RFC 6402 section 2.10) it says what we are.
var (
	oidServerAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	oidClientAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
	oidCMCRA      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// SelfUsages are the extended key usages that policy.SelfProfile plans.
func SelfUsages() []asn1.ObjectIdentifier {
	return []asn1.ObjectIdentifier{oidServerAuth, oidClientAuth, oidCMCRA}
}

// A SelfRequest asks for this server's own certificate. The one who makes it
// is the configuration, not a client: there is nobody to authenticate, and
// nothing of it is open to choice but the name and the validity.
type SelfRequest struct {
	ID       string // for the audit record and the CA's log
	Name     string // a host name or an IP address of the site
	CSR      *csr.Request
	Validity time.Duration
	Now      time.Time // zero: the Authority's clock
}

// EnrollSelf issues this server's own certificate by the built-in profile
// policy.SelfProfile: the names of the site, fixed key usages, no approval. It
// is the only maker of an Order beside Enroll, and what it orders is compared
// with what is issued in the same way. The error is always *Error.
func (a *Authority) EnrollSelf(ctx context.Context, ca *CA, req SelfRequest) (Outcome, error) {
	out := Outcome{Profile: policy.SelfProfile, Upstream: ca.Name}
	if e := a.enrollSelf(ctx, ca, req, &out); e != nil {
		if out.Status == "" {
			out.Status = statusOf(e.Kind)
		}
		return out, e
	}
	out.Status = StatusIssued
	return out, nil
}

func (a *Authority) enrollSelf(ctx context.Context, ca *CA, self SelfRequest, out *Outcome) (e *Error) {
	if self.CSR == nil {
		return Fail(Malformed, "there is no certification request", nil)
	}
	if err := self.CSR.CheckPOP(); err != nil {
		return Fail(POPFailed, "our own request isn't signed by its key", err)
	}
	plan, err := SelfPlan(self.Name, self.Validity)
	if err != nil {
		return Fail(Fault, "our own certificate can't be planned", err)
	}
	plan.Upstream = ca.Name
	if !asksFor(self.CSR.Names, plan.Names) {
		return Fail(Refused, fmt.Sprintf("our own request asks for %s, and the site is %s", sanText(self.CSR.Names), self.Name), nil)
	}
	return a.issueBuiltIn(ctx, ca, builtIn{policy.SelfProfile, plan, self.CSR, self.ID, self.Now}, out)
}

// A builtIn is what a profile of this program orders, and no policy file.
type builtIn struct {
	profile string
	plan    policy.Plan
	csr     *csr.Request
	id      string
	now     time.Time // zero: the Authority's clock
}

// issueBuiltIn orders and compares, as enroll does.
func (a *Authority) issueBuiltIn(ctx context.Context, ca *CA, b builtIn, out *Outcome) (e *Error) {
	out.Decision = policy.Decision{Verdict: policy.Allow, Profile: b.profile, Plan: b.plan}
	t := task{csr: b.csr, now: b.now, identity: b.profile, evidence: evidenceOf(b.id, policy.Absent, binding.Channel{})}
	if t.now.IsZero() {
		t.now = a.now()
	}
	holder, end, e := a.takeKey(ctx, ca, t)
	if e != nil {
		return e
	}
	defer func() { end(out, e) }()
	out.KeyHolder = holder
	l, e := a.newEntry(ca, policy.Op(b.profile), "", t, out)
	if e != nil {
		return e
	}
	if ca.Stopped(out.Profile) {
		return ca.down(fmt.Sprintf("it is stopped for profile %s after nonconforming certificates; "+
			"`caddy est upstream resume %s %s` lets it issue again", out.Profile, ca.Name, out.Profile), nil)
	}
	if _, err := ca.Issuers(ctx); err != nil { // without them nothing could be compared
		return asError(err)
	}
	order, err := a.order(t, b.plan, ca.Upstream.Carries().Serial)
	if err != nil {
		return Fail(Fault, "no order can be made", err)
	}
	order.self = b.profile == policy.SelfProfile
	out.Serial, out.NotBefore, out.NotAfter = order.Serial(), order.NotBefore(), order.NotAfter()
	ctx = context.WithoutCancel(ctx)
	return a.issueOnce(ctx, ca, order, t, l, out)
}

// asksFor: a CSR of ours has the one SAN of the plan, and its subject is that
// of the plan or empty.
func asksFor(asked, planned csr.Names) bool {
	if len(asked.Subject) == 0 {
		asked.Subject = planned.Subject
	}
	return asked.Equal(planned)
}

// maxCommonName is ub-common-name (RFC 5280 appendix A.1).
const maxCommonName = 64

// SelfPlan is the certificate of policy.SelfProfile for one name of a site.
func SelfPlan(name string, validity time.Duration) (policy.Plan, error) {
	form := csr.DNS
	if _, err := netip.ParseAddr(name); err == nil {
		form = csr.IP
	}
	san, err := csr.NewName(form, name)
	if err != nil {
		return policy.Plan{}, err
	}
	if validity < time.Second {
		return policy.Plan{}, errors.New("it has no validity")
	}
	plan := policy.Plan{
		Names:       csr.Names{SAN: []csr.GeneralName{san}, HasSAN: true},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: SelfUsages(),
		Validity:    validity,
	}
	if len(name) <= maxCommonName {
		plan.Names.Subject = csr.Name{csr.RDN{csr.NewAttributeValue(oidCommonName, name)}}
	}
	plan.SANCritical = len(plan.Names.Subject) == 0
	return plan, nil
}

// Path returns the certificates between one that this CA issued and a root,
// the issuer's first, the root left out: what a TLS server sends after its own
// (RFC 8446 section 4.4.2). Error as of Chain.
func (c *CA) Path(ctx context.Context, leaf *x509.Certificate) ([]*x509.Certificate, error) {
	h, err := c.hierarchy(ctx)
	if err != nil {
		return nil, err
	}
	var path []*x509.Certificate
	for at := leaf; ; {
		next := issuerAmong(at, c.valid(h.issuers))
		if next == nil {
			next = issuerAmong(at, c.valid(h.chain))
		}
		if next == nil || bytes.Equal(next.RawSubject, next.RawIssuer) || contains(path, next) {
			return path, nil
		}
		path, at = append(path, next), next
	}
}

func issuerAmong(c *x509.Certificate, issuers []*x509.Certificate) *x509.Certificate {
	for _, issuer := range issuers {
		if !issuer.Equal(c) && signedBy(c, issuer) {
			return issuer
		}
	}
	return nil
}
