// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// About the account, not the names: no certificate is issued until somebody
// mends it (RFC 8555 section 6.7).
var ofAccount = []string{
	acme.ProblemTypeAccountDoesNotExist, acme.ProblemTypeExternalAccountRequired, acme.ProblemTypeUserActionRequired,
	acme.ProblemTypeInvalidContact, acme.ProblemTypeUnsupportedContact, acme.ProblemTypeBadSignatureAlgorithm,
}

// A step is what was being done when it failed: the same type of problem is about
// the account in one, and about the names in another.
type step struct {
	what string
	// account says that all that is refused is about our account.
	account bool
}

var (
	stepAccount  = step{"account", true}
	stepOrder    = step{"order", false}
	stepRevoke   = step{"revocation", false}
	stepFinalize = step{"finalization", false}
)

// failed maps an error of the ACME client.
func (u *Upstream) failed(ctx context.Context, n *note, at step, err error) *ra.Error {
	if own, ok := errors.AsType[*ra.Error](err); ok {
		return upstream.RetryIn(ra.Fail(own.Kind, own.Reason, own.Err), own.RetryAfter)
	}
	if p, ok := errors.AsType[acme.Problem](err); ok {
		return u.problem(n, at, p)
	}
	if ctx.Err() != nil {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s: no answer in time from %s", at.what, name), ctx.Err())
	}
	e := ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s: %s", at.what, upstream.Line(err.Error())), nil)
	status, header := n.last()
	if status == http.StatusTooManyRequests {
		e.Kind = ra.Busy
	}
	return upstream.Retry(e, header, u.cfg.Now())
}

// problem maps a problem document (RFC 8555 section 6.7).
func (u *Upstream) problem(n *note, at step, p acme.Problem) *ra.Error {
	said := fmt.Sprintf("%s: %s answered %s", at.what, name, problemText(p))
	_, header := n.last()
	again := func(e *ra.Error) *ra.Error { return upstream.Retry(e, header, u.cfg.Now()) }
	switch {
	case p.Type == acme.ProblemTypeRateLimited || p.Status == http.StatusTooManyRequests:
		return again(ra.Fail(ra.Busy, said, nil))
	case p.Status >= http.StatusInternalServerError, p.Type == acme.ProblemTypeServerInternal, p.Type == acme.ProblemTypeBadNonce:
		return again(ra.Fail(ra.UpstreamDown, said, nil))
	case at.account, slices.Contains(ofAccount, p.Type), at == stepOrder && p.Type == acme.ProblemTypeUnauthorized:
		// A deactivated account may order nothing (RFC 8555 section 7.3.6).
		return again(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential))
	}
	return ra.Fail(ra.UpstreamRefused, said, nil)
}

// problemText is a problem for operators: its type, and the CA's own words.
func problemText(p acme.Problem) string {
	var text strings.Builder
	text.WriteString(strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace))
	if p.Type == "" {
		text.WriteString("a problem without a type")
	}
	if p.Status != 0 {
		fmt.Fprintf(&text, " (%d)", p.Status)
	}
	detail := p.Detail
	if detail == "" {
		detail = p.Title
	}
	text.WriteString(": " + detail)
	for _, sub := range p.Subproblems {
		fmt.Fprintf(&text, "; %s: %s: %s", sub.Identifier.Value, strings.TrimPrefix(sub.Type, acme.ProblemTypeNamespace), sub.Detail)
	}
	return upstream.Line(text.String())
}
