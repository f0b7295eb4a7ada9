// SPDX-License-Identifier: Apache-2.0

package est

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/wire"
)

// An exchange is one request and what is found out about it. It is made anew
// for each request, so nothing of one reaches the next on a connection.
type exchange struct {
	s  *Server
	w  http.ResponseWriter
	r  *http.Request
	in Incoming

	id      string
	now     time.Time // of the request: one time for all its decisions
	target  target
	profile *policy.Profile // nil until the label is known

	who      policy.Identity
	by       policy.Registrar // the zero value where the client is no RA
	noRA     error            // why it is none, where it has a certificate
	onBehalf bool             // it is an RA that asks for another
	// unavailable are anchors that couldn't be asked; reasons say what of the
	// identity wasn't proven, for operators.
	unavailable, reasons []string
	unanswered           map[string]error // as of anchor.Result
	challenges           []string         // of providers, for a 401
	challenge            []string         // of the 401
	channel              binding.Channel
	linking              policy.Linking
	csr                  *csr.Request // nil until it was read
	keyless              *csr.Keyless // of a request to /serverkeygen, and csr its view
	armoured             bool
	asked                bool // the authority was asked, about request
	request              policy.Arrival
	outcome              ra.Outcome

	cmc   *cmcMessage // of /fullcmc, once the body is looked at
	part  policy.Op   // what a request in it is for; "" outside of /fullcmc
	parts []*exchange // one for each request in it
	// until is when an RA wants the certificate to have ended.
	until          time.Time
	challengeGiven bool // to the key of a part
	// unsigned is what goes along with the request of a part.
	unsigned []cmc.UnsignedData
	// relayed says that an RA brought on its connection what another has signed.
	relayed bool
	waits   string    // the request that waits which a part asks about
	failed  *ra.Error // of a part

	read     bool // the body was read to its end, or given up
	overlong bool // it was given up for its length, and is on its way
	closing  bool // the connection is used up
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request, in Incoming) *exchange {
	s.opening.Do(s.open)
	return &exchange{s: s, w: w, r: r, in: in, id: s.newID(), now: s.now()}
}

func (s *Server) newID() string {
	if s.NewID != nil {
		return s.NewID()
	}
	return ra.NewID(s.now())
}

// run takes the request through its steps. What a step refuses, no later one
// sees (design: the order of refusals).
func (x *exchange) run() (a answer, fail *ra.Error) {
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				panic(v)
			}
			a, fail = answer{}, ra.Fail(ra.Fault, "a panic in the request", panicked(v))
		}
	}()
	if fail := x.locate(); fail != nil {
		return answer{}, fail
	}
	if fail := x.early(); fail != nil {
		return answer{}, fail
	}
	if fail := x.keepable(); fail != nil {
		return answer{}, fail
	}
	if fail := x.hopeless(); fail != nil {
		return answer{}, fail
	}
	switch x.target.op {
	case policy.CACerts:
		return x.placed(x.s.other, x.caCerts)
	case policy.CSRAttrs:
		return x.placed(x.s.other, x.csrAttrs)
	case policy.SimpleEnroll, policy.SimpleReenroll, policy.ServerKeygen:
		return x.enroll()
	case policy.FullCMC:
		return x.fullCMC()
	default: // every operation has its way above
		return answer{}, ra.Fail(ra.OperationOff, "this version does not offer "+string(x.target.op), nil)
	}
}

// A Panic is the cause of the Fault that a panic becomes.
type Panic struct {
	Value string
	Stack []byte // as of debug.Stack
}

// Error is without the stack.
func (p *Panic) Error() string { return "panic: " + p.Value }

func panicked(v any) error { return &Panic{Value: fmt.Sprint(v), Stack: debug.Stack()} }

// locate finds operation and profile: 404 for what is no path of ours, 405,
// then 404 for a label or an operation that the policy doesn't have.
func (x *exchange) locate() *ra.Error {
	t, ok := parsePath(x.r.URL.EscapedPath())
	if !ok {
		return ra.Fail(ra.OperationOff, fmt.Sprintf("the path %.200q is not [label/]operation (RFC 7030 section 3.2.2)", x.r.URL.EscapedPath()), nil)
	}
	x.target = t
	if !t.allows(x.r.Method) {
		return ra.Fail(ra.Method, "this method does not call "+string(t.op), nil)
	}
	p, ok := x.s.Policy.Profile(t.label)
	if !ok {
		return ra.Fail(ra.NoProfile, "no profile has this label", nil)
	}
	x.profile = p
	if t.enrolls() && !p.Offers(t.op) {
		return ra.Fail(ra.OperationOff, "profile "+p.Name()+" does not offer "+string(t.op), nil)
	}
	return nil
}

// early refuses what needs nothing but the header.
func (x *exchange) early() *ra.Error {
	r := x.r
	// RFC 8470 section 5.2: early data can be replayed, an enrolment may not.
	// Section 5.1: so says a proxy that ends TLS, however often and with what.
	early := len(r.Header.Values("Early-Data")) > 0 || r.TLS != nil && !r.TLS.HandshakeComplete
	if r.Method == http.MethodPost && early {
		return ra.Fail(ra.EarlyData, "the request came in TLS early data", nil)
	}
	if limit := x.limit(); r.ContentLength > limit {
		return ra.Fail(ra.TooLarge, fmt.Sprintf("Content-Length is %d, the limit %d bytes", r.ContentLength, limit), nil)
	}
	return nil
}

// enroll is /simpleenroll and /simplereenroll (RFC 7030 section 4.2), and
// /serverkeygen (section 4.4). The gate
// comes before a place is taken: strangers who wait there take none. An RA that
// asks for another goes through a gate of its own (RFC 7030 section 3.7).
func (x *exchange) enroll() (answer, *ra.Error) {
	if fail := x.identify(); fail != nil {
		return answer{}, fail
	}
	if on, is := x.arrival().OnBehalf(x.profile); is {
		pass, fail := x.gateOnBehalf(on.By)
		if fail != nil {
			return answer{}, fail
		}
		return x.decide(func() (answer, *ra.Error) { return x.issued(x.issueOnBehalf(pass)) })
	}
	pass, fail := x.gate()
	if fail != nil {
		return answer{}, fail
	}
	if !pass.given {
		// What the gate waits for stands in the body. It closes right after
		// reading it: nobody anonymous has us check a signature.
		if fail := x.receive(x.s.bodyLimit() / 2); fail != nil {
			return answer{}, fail
		}
		if pass, fail = x.gateOfBody(); fail != nil {
			return answer{}, fail
		}
	}
	return x.decide(func() (answer, *ra.Error) {
		pass.who = x.who // with what the body has proven
		if x.keyless != nil {
			return x.keygen(pass)
		}
		return x.issued(x.issue(pass))
	})
}

// decide reads the request, unless the gate had to, and has it decided by the
// way that the gate let it in.
func (x *exchange) decide(issue func() (answer, *ra.Error)) (answer, *ra.Error) {
	if x.csr == nil { // a slow body takes no place
		if fail := x.receive(x.s.bodyLimit()); fail != nil {
			return answer{}, fail
		}
	}
	return x.placed(x.s.enrolling, func() (answer, *ra.Error) {
		if x.keyless == nil {
			if err := x.csr.CheckPOP(); err != nil {
				return answer{}, ra.Fail(ra.POPFailed, "certification request", err)
			}
		}
		if fail := x.link(); fail != nil {
			return answer{}, fail
		}
		return issue()
	})
}

// op is the operation, as the policy has it.
func (x *exchange) op() policy.Op {
	if x.part != "" {
		return x.part
	}
	return x.target.op
}

// arrival is the request as far as it is known.
func (x *exchange) arrival() policy.Arrival {
	a := policy.Arrival{By: x.by, Request: policy.Request{
		Op: x.op(), Label: x.target.label, Who: x.who, CSR: x.csr, Linking: x.linking, Until: x.until, Now: x.now,
	}}
	if x.keyless != nil {
		a.CSR, a.Keyless = nil, x.keyless
	}
	return a
}

// issue asks the authority. The pass is the gate's word: without one nothing
// is asked.
func (x *exchange) issue(pass pass) (ra.Outcome, error) {
	if !pass.given {
		return ra.Outcome{}, ra.Fail(ra.Fault, "the authentication gate was not passed", nil)
	}
	x.asked, x.request = true, x.arrival()
	x.request.Who = pass.who
	return x.s.Authority.Enroll(x.r.Context(), x.profile, ra.Request{
		Request: x.request.Request, ID: x.id, Channel: x.channel, Remote: x.in.Remote, Waits: x.waits, Unsigned: x.unsigned,
	})
}

// issueOnBehalf asks the authority for what an RA brings.
func (x *exchange) issueOnBehalf(pass raPass) (ra.Outcome, error) {
	if !pass.by.Proven() {
		return ra.Outcome{}, ra.Fail(ra.Fault, "the authentication gate was not passed", nil)
	}
	x.asked, x.request = true, x.arrival()
	return x.s.Authority.EnrollOnBehalf(x.r.Context(), x.profile, ra.OnBehalf{
		OnBehalf: policy.OnBehalf{CMC: x.part != "", Label: x.target.label, By: pass.by, CSR: x.csr, Linking: x.linking, Until: x.until, Now: x.now},
		ID:       x.id, Channel: x.channel, Remote: x.in.Remote, Waits: x.waits, Unsigned: x.unsigned,
	})
}

// took takes what the authority gave: a certificate, or why not.
func (x *exchange) took(out ra.Outcome, err error) *ra.Error {
	x.outcome = out
	x.countRefusal()
	if err != nil {
		return asFailure(err)
	}
	if out.Certificate == nil {
		x.outcome.Status = ra.StatusFailed
		return ra.Fail(ra.Fault, "the authority gave neither a certificate nor an error", nil)
	}
	return nil
}

// issued is the answer with what the authority gave.
func (x *exchange) issued(out ra.Outcome, err error) (answer, *ra.Error) {
	if fail := x.took(out, err); fail != nil {
		return answer{}, fail
	}
	// RFC 7030 section 4.2.3: only the certificate that was issued.
	return x.certsOnly(wire.TypeCertsOnly, out.Certificate)
}

// asFailure is for errors that are *ra.Error by contract.
func asFailure(err error) *ra.Error {
	if fail, ok := errors.AsType[*ra.Error](err); ok {
		return fail
	}
	return ra.Fail(ra.Fault, "an error without a kind", err)
}
