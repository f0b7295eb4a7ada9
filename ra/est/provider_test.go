// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
)

// byKey is a provider that reads a header of its own, and challenges with it.
func byKey(w http.ResponseWriter, r *http.Request) ([]policy.Account, error) {
	if r.Header.Get("X-Api-Key") == "estkey" {
		return []policy.Account{{Method: "staff", User: "robot"}}, nil
	}
	w.Header().Set("WWW-Authenticate", `ApiKey realm="staff"`)
	return nil, nil
}

func TestAProviderMayReadAnotherHeader(t *testing.T) {
	x := newSite(t, func(x *site) {
		x.anyHeader, x.provider, x.Challenge = true, byKey, nil
	})
	for _, c := range []struct {
		name   string
		call   call
		status int
	}{
		{"nothing", call{path: "staff/simpleenroll"}, 401},
		{"its key", call{path: "staff/simpleenroll", header: apiKey("estkey")}, 200},
		{"a wrong key", call{path: "staff/simpleenroll", header: apiKey("wrong")}, 401},
		{"its key beside another credential", call{path: "staff/simpleenroll", header: apiKey("estkey"), user: "a:b"}, 200},
		{"nothing, where no credential helps", call{path: "cert/simpleenroll"}, 403},
	} {
		g := x.do(c.call)
		var want []string
		if c.status == 401 {
			want = []string{`ApiKey realm="staff"`}
		}
		if got := challengesOf(g.Header); g.StatusCode != c.status || !slices.Equal(got, want) {
			t.Errorf("%s: %d with the challenges %q, want %d %q", c.name, g.StatusCode, got, c.status, want)
		}
	}
}

func TestNo401WhereAProviderBringsNoChallenge(t *testing.T) {
	x := newSite(t, func(x *site) { x.anyHeader, x.Challenge = true, nil })
	x.refused(t, x.do(call{path: "staff/simpleenroll"}), 403, "unauthenticated", "authentication required")
}

// Devices post without credentials first. That must not use up the attempts of
// those who know theirs.
func TestNothingCountsWithoutAnAuthorizationHeader(t *testing.T) {
	x := newSite(t, func(x *site) { x.anyHeader, x.Attempts = true, NewAttempts(1, time.Hour) })
	for range 2 * attemptsOfAddress {
		for _, c := range []call{{}, {header: apiKey("wrong")}} {
			if g := x.do(c); g.StatusCode != 401 {
				t.Fatal(g.StatusCode, g.body)
			}
		}
	}
	if n := len(x.Attempts.clients.kept) + len(x.Attempts.addresses.kept); n != 0 {
		t.Errorf("%d windows", n)
	}
	if g := x.do(call{user: right}); g.StatusCode != 200 {
		t.Errorf("%d with the right password", g.StatusCode)
	}
	if g := x.do(call{path: "staff/simpleenroll", header: apiKey("estkey")}); g.StatusCode != 200 {
		t.Errorf("%d with the right key", g.StatusCode)
	}
}

// Where it is known which header a provider reads, a guess there counts as any
// other; an account of one's own beside it is no licence to guess.
func TestThreat_GuessesInAProvidersHeaderAreThrottled(t *testing.T) {
	for name, c := range map[string]struct {
		guess, good call
		throttled   int // guesses that are let through
	}{
		"alone":                     {call{header: apiKey("wrong")}, call{header: apiKey("estkey")}, 1},
		"beside an account":         {call{user: right, header: apiKey("wrong")}, call{user: right}, attemptsOfAddress},
		"of a password beside one":  {call{user: "estuser:wrong", header: apiKey("estkey")}, call{header: apiKey("estkey")}, 1},
		"of both, a password named": {call{user: "estuser:wrong", header: apiKey("wrong")}, call{header: apiKey("estkey")}, 1},
	} {
		x := newSite(t, func(x *site) {
			x.anyHeader, x.headers, x.Attempts = true, []string{"X-Api-Key"}, NewAttempts(1, time.Hour)
		})
		for n := range c.throttled {
			if g := x.do(c.guess); g.StatusCode == 429 {
				t.Errorf("%s: the guess %d is throttled", name, n)
			}
			if n == 0 && c.throttled > 1 { // it clears nothing of the address
				x.do(c.good)
			}
		}
		if g := x.do(c.guess); g.StatusCode != 429 {
			t.Errorf("%s: %d for one guess too many", name, g.StatusCode)
		}
	}
}

// A provider may look for its token in all Authorization headers.
func TestThreat_AnEmptyAuthorizationHeaderHidesNoGuess(t *testing.T) {
	for _, values := range [][]string{{"", "Bearer guess"}, {""}} {
		x := newSite(t, func(x *site) { x.anyHeader, x.Attempts = true, NewAttempts(1, time.Hour) })
		guess := call{header: http.Header{"Authorization": values}}
		for i, want := range []int{401, 429} {
			if g := x.do(guess); g.StatusCode != want {
				t.Errorf("%q, guess %d: %d, want %d", values, i, g.StatusCode, want)
			}
		}
	}
}

// bare is an enrolment without an Authorization header from another address.
func (x *site) bare(ctx context.Context, remote, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, root+"/simpleenroll", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/pkcs10")
	w := httptest.NewRecorder()
	x.Serve(w, r, Incoming{Remote: netip.MustParseAddr(remote), TLSAhead: true, Credentials: x.credentials, AnyHeader: x.anyHeader})
	return w
}

// What a provider costs nobody here knows, so without credentials, too, nobody
// has it run more often at once than there are places.
func TestThreat_ProvidersRunInTheirPlacesWithoutCredentialsToo(t *testing.T) {
	h := &hashing{}
	x := newSite(t, func(x *site) { x.anyHeader, x.checks, x.provider = true, newChecks(4), h.verify })
	body := csrBody(t)
	got := statuses(40, func(int) *httptest.ResponseRecorder { return x.bare(t.Context(), "192.0.2.1", body) })
	if got[401] != 40 || h.all.Load() != 40 || h.most.Load() > 2 || x.checks.leftOver() != 0 {
		t.Errorf("%v: %d asked, %d at once, %d places left over", got, h.all.Load(), h.most.Load(), x.checks.leftOver())
	}
}

// Where nobody is asked for them, those who present nothing don't wait for
// others' passwords.
func TestWithoutCredentialsNobodyWaitsForPasswords(t *testing.T) {
	for anyHeader, want := range map[bool]int{false: 401, true: 503} {
		h := &hashing{started: make(chan bool, 10), end: make(chan struct{})}
		x := newSite(t, func(x *site) { x.anyHeader, x.checks, x.provider = anyHeader, newChecks(2), h.verify })
		body, first := csrBody(t), make(chan *httptest.ResponseRecorder, 2)
		for _, remote := range []string{"192.0.2.1", "192.0.2.2"} {
			go func() { first <- x.from(t.Context(), remote, "estuser", "estpwd", body) }()
			<-h.started
		}
		got := make(chan int, 1)
		go func() { got <- x.bare(soonOver(t), "192.0.2.3", body).Code }()
		select {
		case status := <-got:
			if status != want {
				t.Errorf("any header %v: %d while all places are taken, want %d", anyHeader, status, want)
			}
		case <-h.started:
			t.Error("somebody is asked without a place")
		}
		close(h.end)
		for range 2 {
			if w := <-first; w.Code != 200 {
				t.Errorf("%d for one who was in", w.Code)
			}
		}
		if n := x.checks.leftOver(); n != 0 {
			t.Errorf("%d places are not given back", n)
		}
	}
}
