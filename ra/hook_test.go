// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"errors"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// hook says what it was told to.
type hook struct {
	advice ra.Advice
	err    error
	asked  []string // "PROFILE USER"
}

func (h *hook) Consult(_ context.Context, req ra.Consulted) (ra.Advice, error) {
	h.asked = append(h.asked, req.Profile+" "+req.Who.Accounts[0].User)
	return h.advice, h.err
}

func TestAHookIsAskedBeforeThePolicy(t *testing.T) {
	facts, err := policy.ParseFacts([]byte(`{"site":"berlin"}`))
	if err != nil {
		t.Fatal(err)
	}
	s, h := newScene(t), &hook{advice: ra.Advice{Allow: true, Data: facts}}
	s.authority.Hook = h
	out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
	if err != nil || out.Status != ra.StatusIssued || string(out.Data.JSON()) != `{"site":"berlin"}` || len(h.asked) != 1 || h.asked[0] != "any "+ratest.User {
		t.Errorf("%+v, asked %v: %v", out, h.asked, err)
	}
}

func TestThreat_WithoutTheHooksYesNothingIsIssued(t *testing.T) {
	for name, c := range map[string]struct {
		hook hook
		kind ra.Kind
		want ra.Status
	}{
		"no":       {hook{advice: ra.Advice{Reason: "no"}}, ra.Refused, ra.StatusRefused},
		"the zero": {hook{}, ra.Refused, ra.StatusRefused},
		"an error": {hook{err: errors.New("no route")}, ra.Busy, ra.StatusFailed},
		"both":     {hook{advice: ra.Advice{Allow: true}, err: errors.New("late")}, ra.Busy, ra.StatusFailed},
	} {
		s := newScene(t)
		s.authority.Hook = &c.hook
		out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
		e := check(t, out, err, c.kind, c.want)
		if len(s.upstream.Orders()) != 0 || out.Decision.Profile != "" || (c.kind == ra.Busy) != (e.RetryAfter > 0) {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

// What a caller says isn't what a hook says.
func TestThreat_DataComeFromTheHookAlone(t *testing.T) {
	forged, err := policy.ParseFacts([]byte(`{"site":"forged"}`))
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t)
	req := request(t, policy.SimpleEnroll, ratest.User)
	req.Who.Data = forged
	out, err := s.authority.Enroll(t.Context(), s.profile, req)
	if err != nil || out.Data.JSON() != nil {
		t.Errorf("%s: %v", out.Data.JSON(), err)
	}
}
