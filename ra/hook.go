// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"time"

	"github.com/caddy-est/estra/policy"
)

// A Hook is somebody outside who is asked about each request that was read and
// linked, before the policy decides. It can refuse, and its data go to the
// policy as `who.data`. An error is a refusal: nothing is issued that it didn't
// allow. It is safe for concurrent use and honours ctx.
type Hook interface {
	Consult(ctx context.Context, req Request, profile string) (Advice, error)
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
func (a *Authority) consult(ctx context.Context, req *Request, out *Outcome) *Error {
	req.Who.Data = policy.Facts{}
	if a.Hook == nil {
		return nil
	}
	advice, err := a.Hook.Consult(ctx, *req, out.Profile)
	switch {
	case err != nil:
		return Fail(Busy, "the webhook gave no answer, and without one nothing is issued", err).After(hookRetry)
	case !advice.Allow:
		return Fail(Refused, "the webhook refused: "+advice.Reason, nil)
	}
	req.Who.Data, out.Data = advice.Data, advice.Data
	return nil
}
