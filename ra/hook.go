// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// A Hook is somebody outside who is asked about each request that was read and
// linked, before the policy decides. It can refuse, and its data go to the
// policy as `who.data`. An error is a refusal: nothing is issued that it didn't
// allow. It is safe for concurrent use and honours ctx.
type Hook interface {
	Consult(ctx context.Context, req Consulted) (Advice, error)
}

// Consulted is the request about which a Hook is asked.
type Consulted struct {
	ID      string
	Profile string
	// Who asks; an RA where Role is policy.RoleRA, on behalf of another.
	Who  policy.Identity
	Role string
	CSR  *csr.Request
}

// Advice is what a Hook says. The zero value refuses.
type Advice struct {
	Allow bool
	Data  policy.Facts
	// Reason is why not, for operators.
	Reason string
}

// hookRetry is when a client may come again after a Hook has failed.
const hookRetry = 30 * time.Second

// consult asks the Hook.
func (a *Authority) consult(ctx context.Context, t task, out *Outcome) (policy.Facts, *Error) {
	if t.polling != nil {
		return t.who.Data, nil // as it was; when the client comes, it is asked
	}
	if a.Hook == nil {
		return policy.Facts{}, nil
	}
	advice, err := a.Hook.Consult(ctx, Consulted{ID: t.evidence.RequestID, Profile: out.Profile, Who: t.who, Role: t.role, CSR: t.csr})
	switch {
	case err != nil:
		return policy.Facts{}, Fail(Busy, "the webhook gave no answer, and without one nothing is issued", err).After(hookRetry)
	case !advice.Allow:
		return policy.Facts{}, Fail(Refused, "the webhook refused: "+advice.Reason, nil)
	}
	out.Data = advice.Data
	return advice.Data, nil
}
