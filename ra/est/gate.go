// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/certless"
)

// A pass says that somebody may try to enroll, and who it is. Only gate makes
// one; the zero value lets nobody through.
type pass struct {
	who   policy.Identity
	given bool
}

// An raPass says that a registration authority may try to enroll for others.
// Only gateOnBehalf makes one; the zero value lets nobody through.
type raPass struct{ by policy.Registrar }

// identify finds out who asks.
func (x *exchange) identify() *ra.Error {
	if x.r.TLS == nil && !x.in.TLSAhead {
		return ra.Fail(ra.Forbidden, "the request came without TLS, and no trusted proxy says that it ended one", nil)
	}
	if s := x.in.Certless; s != nil {
		x.who.Accounts = []policy.Account{policy.SRPAccount(s.Realm, s.User)}
	}
	var issuers []string
	x.unavailable, x.reasons, issuers = x.clientCert()
	if fail := x.devices(); fail != nil {
		return fail
	}
	if fail := x.inventory(); fail != nil {
		return fail
	}
	if fail := x.credentials(); fail != nil {
		return fail
	}
	x.by, x.noRA = policy.NewRegistrar(x.who, issuers)
	return nil
}

// gate is for those who ask for themselves. A pass that isn't given, without an
// error, is one that waits for the body: an otpChallenge there could open the
// gate. Otherwise it refuses, before the body is read, when no `who` line of the
// operation can match: nobody anonymous has us check a request's
// signature or learns the policy (RFC 7030 section 4.2.1 puts mutual
// authentication before enrolment). What anybody can ask for here is bounded by
// itself: signatures of certificates by anchor.Set.Verify, passwords by checks.
func (x *exchange) gate() (pass, *ra.Error) {
	g := x.profile.Gate(x.op(), x.who, x.now)
	switch {
	case g.Open:
		return pass{who: x.who, given: true}, nil
	case g.Body && x.s.Passwords != nil && x.r.ContentLength <= x.s.bodyLimit()/2:
		return pass{}, nil
	}
	return pass{}, x.shutOwn()
}

// gateOfBody asks again, with what the body has proven.
func (x *exchange) gateOfBody() (pass, *ra.Error) {
	if x.profile.Gate(x.op(), x.who, x.now).Open {
		return pass{who: x.who, given: true}, nil
	}
	return pass{}, x.shutOwn()
}

// shutOwn is the refusal of one who asks for himself. It also says why he is no
// RA that may ask for others.
func (x *exchange) shutOwn() *ra.Error {
	reasons := x.reasons
	if x.who.Cert != nil && x.noRA != nil && x.target.op == policy.SimpleEnroll && x.profile.OffersOnBehalf() {
		reasons = append(reasons, x.noRA.Error())
	}
	return x.shut(x.arrival().Gate(x.profile), x.unavailable, reasons)
}

// gateOnBehalf is the gate for an RA that the profile names: it never falls back
// to the lines for those who ask for themselves, and never waits for the body.
func (x *exchange) gateOnBehalf(by policy.Registrar) (raPass, *ra.Error) {
	x.onBehalf = true
	g := x.profile.GateOnBehalf(x.op(), by, x.now)
	if g.Open {
		return raPass{by}, nil
	}
	return raPass{}, x.shut(g, nil, nil)
}

// shut is the refusal of a closed gate. RFC 7030 section 3.2.3: 401 only
// where an HTTP credential could help. A client whose certificate couldn't be
// looked at is told to come again, and isn't called a stranger.
func (x *exchange) shut(g policy.Gate, unavailable, reasons []string) *ra.Error {
	uses := x.profile.UsesAnchors(x.op())
	for _, name := range unavailable {
		if slices.Contains(uses, name) {
			return ra.Fail(ra.UpstreamDown, strings.Join(append([]string{
				"anchor " + name + " could not be asked about the client certificate",
			}, reasons...), "; "), nil)
		}
	}
	if len(x.who.Accounts)+len(x.who.Passwords) == 0 && len(x.r.Header.Values("Authorization")) > 0 {
		// Without the user's name: people type passwords there.
		reasons = append(reasons, "the HTTP credentials did not verify")
	}
	kind := ra.Forbidden
	if g.Challenge && x.part == "" {
		x.challenge = x.challengeFor(g.Methods)
	}
	if len(x.challenge) > 0 {
		kind = ra.Unauthenticated
	}
	fail := ra.Fail(kind, strings.Join(append([]string{"no line of `who` matches"}, reasons...), "; "), nil)
	fail.Findings = g.Findings
	return fail
}

// clientCert verifies the TLS client certificate: on every request, since
// anchors, time and revocation change while a connection lives.
func (x *exchange) clientCert() (unavailable, reasons, raIssuers []string) {
	if x.r.TLS == nil || len(x.r.TLS.PeerCertificates) == 0 {
		return nil, nil, nil
	}
	return x.certified(x.r.TLS.PeerCertificates)
}

// certified verifies a certificate, with those that were sent beside it.
func (x *exchange) certified(presented []*x509.Certificate) (unavailable, reasons, raIssuers []string) {
	if x.s.Anchors == nil {
		return nil, []string{"no anchors for the client certificate"}, nil
	}
	found := x.s.Anchors.Verify(x.r.Context(), presented, x.now)
	x.unanswered = found.Unanswered
	if len(found.Names) > 0 {
		x.who.Cert, x.who.Anchors, x.who.AnchorEnds = presented[0], found.Names, found.Ends
		// Gate and decision both ask; what can't be read, the rule says.
		if names, err := csr.NamesOf(x.who.Cert); err == nil {
			x.who.CertNames = &names
		}
	}
	return found.Unavailable, found.Reasons, found.RAIssuers
}

// credentials verifies the HTTP credentials. A client that has failed too often
// is refused first, so that a throttled guess costs and tells nothing; the
// others wait their turn (see checks). Nothing counts where no credential is
// presented: most such requests present nothing, and what a provider reads of
// them only it knows.
func (x *exchange) credentials() *ra.Error {
	presented := x.presented()
	if x.in.Credentials == nil && x.s.Passwords == nil || !presented && !x.in.AnyHeader {
		return nil // nobody guesses, and nothing is hashed
	}
	checks := x.s.checks
	if checks == nil {
		checks = processChecks()
	}
	network := certless.NetworkOf(x.in.Remote)
	visit, fail := checks.enter(network)
	if fail != nil {
		return fail
	}
	defer visit.leave()
	ctx, cancel := context.WithTimeout(x.r.Context(), checks.wait)
	defer cancel()
	var attempt *attempt
	if presented {
		if attempt, fail = x.s.Attempts.begin(ctx, network, claimedUser(x.r), x.now); fail != nil {
			return fail
		}
	}
	became := failed // by a panic too
	defer func() { attempt.end(became) }()
	if fail := visit.place(ctx); fail != nil {
		became = returned
		return fail
	}
	became, fail = x.ask()
	return fail
}

// ask has the credentials verified.
func (x *exchange) ask() (outcome, *ra.Error) {
	once := false
	if presented, ok := x.basicOnce(); ok {
		var fail *ra.Error
		if once, fail = x.oneTime(presented, policy.ViaBasic); fail != nil {
			return returned, fail
		}
		if !x.in.AnyHeader && !anyOf(x.r, x.in.Headers) { // it is nobody's account
			return outcomeOf(once, once, nil), nil
		}
	}
	if x.in.Credentials == nil {
		return outcomeOf(once, once, nil), nil
	}
	side := sideWriter{}
	found, err := x.in.Credentials(side, x.r)
	x.challenges = challengesOf(http.Header(side))
	if err != nil {
		return returned, ra.Fail(ra.Fault, "the HTTP credentials could not be checked", err)
	}
	if len(found.Accounts) > 0 {
		x.who.Accounts, x.who.Claims = append(x.who.Accounts, found.Accounts...), found.Claims
	}
	return outcomeOf(once || len(found.Accounts) > 0, once, found.Failed), nil
}

// sideWriter is what a provider of credentials writes to: its headers are
// looked at, and nothing of it reaches the client.
type sideWriter http.Header

func (s sideWriter) Header() http.Header         { return http.Header(s) }
func (s sideWriter) Write(b []byte) (int, error) { return len(b), nil }
func (s sideWriter) WriteHeader(int)             {}
