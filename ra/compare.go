// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// privilegeWithdrawn (RFC 5280 section 5.3.1): nobody compromised the key, and
// nothing replaces the certificate.
const privilegeWithdrawn = 9

// compare hands out what conforms. What doesn't is withheld, revoked where
// the upstream can, and counted.
func compare(ctx context.Context, ca *CA, order Order, m made, identity string, out *Outcome) *Error {
	leaf := m.leaf
	var tolerated Tolerated
	if t, ok := ca.Upstream.(Tolerance); ok {
		tolerated = t.Tolerates()
	}
	err := conforms(leaf, order, tolerated, ca.signed(ctx, m))
	same := err == nil
	out.Conforms = &same
	if same {
		ca.conformed(out.Profile)
		out.Certificate = leaf
		return nil
	}
	out.Withheld = leaf
	reason := fmt.Sprintf("upstream %s: the certificate (serial %x) is withheld; %s", ca.Name, leaf.SerialNumber, withdraw(ctx, ca, order, leaf, out))
	if ca.canBeCompared(ctx) == nil && ca.differed(out.Profile, identity) {
		reason += fmt.Sprintf("; the upstream is stopped for profile %s", out.Profile)
	}
	return Fail(Nonconforming, reason, err)
}

// canBeCompared says why what the CA issues couldn't be compared now: its certificates
// aren't known, or none is valid, as when the clock is wrong. Then it isn't asked.
func (c *CA) canBeCompared(ctx context.Context) *Error {
	issuers, err := c.Issuers(ctx)
	switch {
	case err != nil:
		return asError(err)
	case len(issuers) == 0:
		return c.down(fmt.Sprintf("by the clock of this server (%s) none of its issuing certificates is valid", c.now().UTC().Format(time.RFC3339)), nil)
	}
	return nil
}

// signed tells whether one of the CA's issuing keys signed a certificate,
// asking the CA again when none that we know did: it may have begun a new one.
func (c *CA) signed(ctx context.Context, m made) bool {
	byOne := func() bool {
		issuers, err := c.Issuers(ctx)
		return err == nil && (m.by != nil && contains(issuers, m.by) || signedByOneOf(m.leaf, issuers))
	}
	return byOne() || c.Refresh(ctx) == nil && byOne()
}

// withdraw revokes a certificate that was issued against the decision, and
// says what came of it. One that has neither the request's key nor our serial
// number may be somebody else's, and stays.
func withdraw(ctx context.Context, ca *CA, order Order, leaf *x509.Certificate, out *Outcome) (what string) {
	revoker, ok := ca.Upstream.(Revoker)
	if !ok {
		return "this upstream can't revoke it"
	}
	ours := order.byCA || bytes.Equal(leaf.RawSubjectPublicKeyInfo, order.csr.RawSPKI) || leaf.SerialNumber.Cmp(order.serial) == 0
	if !ours {
		return "it isn't revoked, since it may not be for this request"
	}
	defer func() {
		if r := recover(); r != nil {
			what = fmt.Sprintf("revoking it failed: panic: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, ca.timeout())
	defer cancel()
	if err := revoker.Revoke(ctx, leaf, privilegeWithdrawn); err != nil {
		return fmt.Sprintf("revoking it failed: %v", err)
	}
	out.Withdrawn = true
	return "it has been revoked"
}

// identityOf tells devices apart, for the count of nonconforming
// certificates. Many devices may share an account: the names that they ask for
// differ.
func identityOf(who policy.Identity, request *csr.Request) string {
	if who.Cert != nil {
		return sha256Hex(who.Cert.Raw)
	}
	var parts []string
	for _, account := range who.Accounts {
		parts = append(parts, fmt.Sprintf("%q:%q", account.Method, account.User))
	}
	return strings.Join(append(parts, namesText(request)), " ")
}

func namesText(request *csr.Request) string {
	parts := []string{quote(request.Names.Subject.String())}
	for _, name := range request.Names.SAN {
		parts = append(parts, quote(name.String()))
	}
	return strings.Join(parts, " ")
}
