// SPDX-License-Identifier: Apache-2.0

package est

import (
	"encoding/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/diff"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
)

// shadow tells what the shadow policy decides otherwise of this request, or
// nil. It is asked where the policy in force was: at the gate, and about the
// request that the authority was asked about. Nothing of it reaches the client,
// and a panic of it is a fault of the shadow alone.
func (x *exchange) shadow(fail *ra.Error) (found *audit.Shadow) {
	shadow := x.s.Shadow
	if shadow == nil || x.profile == nil || !x.target.enrolls() {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			found = audit.OfDifference(shadow, diff.Difference{New: policy.Fault})
		}
	}()
	live, ok := x.liveDecision(fail)
	if !ok {
		return nil
	}
	d, differs := diff.Decisions(live, x.shadowDecision(shadow))
	if !differs {
		return nil
	}
	return audit.OfDifference(shadow, d)
}

// gatePath is the reason of a gate that is shut in one policy alone.
const gatePath = "gate"

func shutGate() policy.Decision {
	return policy.Decision{Findings: []policy.Finding{{Path: gatePath, Effect: policy.Refused}}}
}

// liveDecision is what the policy in force said. It is false where it wasn't
// asked, or where something else than the policy refused.
func (x *exchange) liveDecision(fail *ra.Error) (policy.Decision, bool) {
	switch {
	case x.outcome.Decision.Profile != "":
		return x.outcome.Decision, true
	case !x.asked && fail != nil && (fail.Kind == ra.Forbidden || fail.Kind == ra.Unauthenticated) && len(fail.Findings) > 0:
		return shutGate(), true
	}
	return policy.Decision{}, false
}

// shadowDecision: where the gate in force was shut there is no request yet, so
// the gates are compared.
func (x *exchange) shadowDecision(shadow *policy.Policy) policy.Decision {
	profile, ok := shadow.Profile(x.target.label)
	if !ok {
		return policy.Decision{Findings: []policy.Finding{{Path: "profiles", Effect: policy.Refused}}}
	}
	if !x.asked {
		if x.arrival().Gate(profile).Open {
			return policy.Decision{Verdict: policy.Allow}
		}
		return shutGate()
	}
	return x.decided().Decide(profile)
}

// decided is the request as the authority put it before the policy.
func (x *exchange) decided() policy.Arrival {
	request := x.request
	request.Renews, request.KeyHolder, request.Who.Data, request.Chain = x.outcome.Replaces, x.outcome.KeyHolder, x.outcome.Data, x.outcome.Chain
	return request
}

// needsValue tells whether a decision depends on the values of an attribute,
// that of the shadow too.
func (x *exchange) needsValue(oid asn1.ObjectIdentifier) bool {
	if x.profile.NeedsValue(oid) || x.s.Shadow == nil {
		return x.profile.NeedsValue(oid)
	}
	shadow, ok := x.s.Shadow.Profile(x.target.label)
	return ok && shadow.NeedsValue(oid)
}
