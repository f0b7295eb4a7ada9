// SPDX-License-Identifier: Apache-2.0

// Package est is an EST server (RFC 7030, RFC 8951) over net/http: paths, the
// order of refusals, and the answers as real clients need them. It decides
// nothing about certificates: that is for package policy, through [ra.Authority].
package est

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/room"
	"github.com/caddy-est/estra/ra/wire"
)

// A Server answers everything under /.well-known/est. Policy and Authority
// are required. It must not be copied, and its fields not changed, after the
// first request.
type Server struct {
	Policy    *policy.Policy
	Authority *ra.Authority
	// Shadow is a policy that is decided beside the one in force, and whose
	// differences are recorded; nil: none. No client ever sees anything of it.
	Shadow *policy.Policy
	// Anchors verify client certificates; nil: none is ever accepted.
	Anchors *anchor.Set
	Limits  Limits
	Quirks  wire.Quirks
	// Attempts throttles guesses at passwords; nil: no limit. How many are
	// verified at once is bounded beside it, for all servers of the process:
	// one for each core (two at least), half of them for one address. Who waits
	// for more than 10 s, or has 128 before him from his own address, gets 503.
	Attempts *Attempts
	// Passwords verifies one-time passwords; nil: none is ever good.
	Passwords Passwords
	// Devices finds the devices of client certificates; nil: there are no
	// registries.
	Devices Devices
	// Inventory has what was issued, for lines that ask for it; nil: it has nothing.
	Inventory Inventory
	// Challenge gives the WWW-Authenticate values of a 401 (RFC 9110 section
	// 11.6.1), such as `Basic realm="estra", charset="UTF-8"`, for the methods
	// that could help (policy.Account.Method): many clients read no other
	// challenge than the first. None, or nil: the answer is 403 instead (RFC
	// 7030 section 3.2.3), unless Credentials brought a challenge of its own.
	Challenge func(r *http.Request, methods []string) []string
	// Certificate is this server's own, for id-kp-cmcRA, with its chain: it signs
	// Full PKI Responses (RFC 5272 section 4.2). nil: there is none, and what takes one is answered by
	// a short text.
	Certificate func(r *http.Request) (*tls.Certificate, error)
	// Sink takes one record for every request, before the answer is sent. An
	// error of the Sink is in the Report. It holds the answer back where the Sink
	// is an audit.Keeper and the operation enrols. nil: no audit.
	Sink audit.Sink
	// Node is this server's name in audit records.
	Node string
	// Leaving says that another server takes over: answers close their connections,
	// so that few are idle when this one ends. nil: never.
	Leaving func() bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// NewID makes request ids; nil: 48 bits of time in milliseconds and 80
	// random ones, in hex.
	NewID func() string
	// Draw gives a number from 0 to below n, which spreads the Retry-After of a
	// 503; nil: a random one.
	Draw func(n int64) int64
	// Observe is told of every request after its answer; nil: nobody is.
	Observe func(ctx context.Context, rep Report)

	checks           *checks // nil: processChecks
	opening          sync.Once
	enrolling, other *room.Room // those of Limits.Concurrency
}

// Limits bound what one request, and all of them together, may cost.
type Limits struct {
	// Body is the longest request body in bytes; default 64 KiB. The policy's
	// csr_bytes may make it shorter.
	Body int64
	// Concurrency is how many requests are worked on at once; default 32. An
	// enrolment counts once its client is authenticated and its request was read,
	// and what everybody may ask for (/cacerts, /csrattrs) has as many places of
	// its own: so strangers take none of a device's. Eight times as many wait,
	// first who renews a certificate that ends soon; the others get 503.
	Concurrency int
	// Patience is how long a request waits for a place; default 5 s.
	Patience time.Duration
	// BodyTimeout is how long a client may take to send its body; default 10 s.
	BodyTimeout time.Duration
}

// Incoming is what the caller knows of a request beyond net/http.
type Incoming struct {
	// Remote is the client's address: the caller says which proxies it trusts.
	Remote netip.Addr
	// TLSAhead says that a proxy which the caller trusts has ended the client's
	// TLS. Without it, and without TLS here, nobody is authenticated: HTTP
	// credentials are for TLS alone (RFC 7030 section 3.2.3).
	TLSAhead bool
	// Certless is who is on the TLS connection itself, without a certificate; nil:
	// nobody. Linking is then with its channel, and the TLS state of the request
	// isn't asked.
	Certless *certless.Session
	// Credentials verifies the HTTP credentials. It is called at most once
	// per request, only by an operation that authenticates (not by /cacerts
	// and /csrattrs), and only for one of the process's places (see
	// Server.Attempts). The challenge that it sets on w is used for a 401;
	// whatever else it does to w is thrown away. An err is a broken provider,
	// not a wrong password. nil: no HTTP credentials.
	Credentials func(w http.ResponseWriter, r *http.Request) (Proven, error)
	// Headers are those, beside Authorization, that are known to bring a
	// credential. A request that has one of them, or Authorization, and proves
	// nobody is a failed attempt.
	Headers []string
	// AnyHeader says that Credentials may know a request by something else
	// than these headers, or has a challenge of its own for it. It is then
	// called without them too; no account is no failed attempt there, since
	// nobody but Credentials can tell a guess from a request that presents
	// nothing. false: such a request isn't asked, and waits for no place.
	AnyHeader bool
}

// Proven is what HTTP credentials prove.
type Proven struct {
	Accounts []policy.Account
	// Claims are those of the token among the accounts.
	Claims policy.Facts
	// Failed are the headers, of those that the request has, whose credential
	// proved nobody: an account that another one proves is no licence to guess.
	// Where there is no account at all, they needn't be told.
	Failed []string
}

// A Report is what became of a request, for metrics, logs and events.
type Report struct {
	Op      policy.Op // "" where the path has none
	Label   string    // "other" unless the policy knows it
	Profile string
	Status  int    // of the HTTP answer
	Kind    string // "ok", or that of Err
	Verdict string // the policy's; "" when it wasn't asked
	// Identity is who asked, as far as proven: "METHOD:ID" with the words of
	// audit.Who; "" is nobody.
	Identity  string
	RequestID string
	Upstream  string
	// Took is the whole request up to its answer; UpstreamTook the CA's part.
	Took, UpstreamTook time.Duration
	Outcome            ra.Outcome
	Err                *ra.Error // nil on success
	// Audit is the Sink's error: the record isn't kept.
	Audit error
	// ShadowDiffers says that the shadow policy decides otherwise.
	ShadowDiffers bool
	// RevocationUnknown are the anchors that took the client certificate although
	// nobody could say whether it is revoked.
	RevocationUnknown []string
	// PEMArmoured says that the request came in PEM armour, which RFC 8951
	// section 3 doesn't allow and some clients send.
	PEMArmoured bool
}

// Serve answers one request. The path must be one that [Owns] it; any other
// gets 404. A panic below is answered with 500 and ends here, all but
// http.ErrAbortHandler.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, in Incoming) {
	x := s.begin(w, r, in)
	a, fail := x.run()
	if fail != nil {
		a = x.refusal(fail)
	}
	kept := x.keepAll(a.status, fail)
	if lost := x.unkept(kept); lost != nil {
		a = x.refusal(lost)
		for i := range kept {
			kept[i].fail = lost
		}
	}
	took := s.now().Sub(x.now)
	x.write(a)
	if s.Observe == nil {
		return
	}
	for _, k := range kept {
		s.Observe(r.Context(), k.x.report(a.status, k.fail, k.record, k.err, took))
	}
}

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}
