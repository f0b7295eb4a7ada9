// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/x509"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/wire"
)

// An answer is a response before it is written.
type answer struct {
	status      int
	contentType string
	base64      bool // the body is base64
	body        []byte
	allow       []string      // of a 405
	challenge   []string      // of a 401
	retryAfter  time.Duration // 0: no Retry-After
	linking     string        // of a 403 for want of linking: the type of binding
	secret      bool          // the body has a private key
}

// caCerts is /cacerts (RFC 7030 section 4.1). Nobody is asked who they are.
func (x *exchange) caCerts() (answer, *ra.Error) {
	ca, ok := x.s.Authority.CAs[x.profile.Upstream()]
	if !ok {
		return answer{}, ra.Fail(ra.Fault, "no upstream "+x.profile.Upstream(), nil)
	}
	chain, err := ca.Chain(x.r.Context())
	if err != nil {
		return answer{}, asFailure(err)
	}
	return x.certsOnly(x.s.Quirks.CACertsType(), chain...)
}

// csrAttrs is /csrattrs (RFC 7030 section 4.5, RFC 9908): what the profile says
// to everybody, with what its CA demands, as far as the client can read it.
func (x *exchange) csrAttrs() (answer, *ra.Error) {
	var demand policy.Demand
	if ca, ok := x.s.Authority.CAs[x.profile.Upstream()]; ok {
		demand = ca.Demand(x.r.Context())
	}
	hints, _ := x.profile.HintsWith(policy.SimpleEnroll, demand)
	if hints.Off {
		return answer{}, ra.Fail(ra.OperationOff, "profile "+x.profile.Name()+" has csrattrs off", nil)
	}
	if x.s.Quirks.PlainCSRAttrs(x.r.UserAgent()) {
		hints = csrattrs.Plain(hints)
	}
	der, err := csrattrs.Encode(hints)
	if err != nil {
		return answer{}, ra.Fail(ra.Fault, "csrattrs", err)
	}
	return x.success(wire.TypeCSRAttrs, der), nil
}

// certsOnly is a success with certificates.
func (x *exchange) certsOnly(contentType string, certs ...*x509.Certificate) (answer, *ra.Error) {
	der, err := cms.CertsOnly(certs...)
	if err != nil {
		return answer{}, ra.Fail(ra.Fault, "answer", err)
	}
	return x.success(contentType, der), nil
}

func (x *exchange) success(contentType string, der []byte) answer {
	wrapped := x.s.Quirks.Wraps(x.r.UserAgent())
	return answer{status: http.StatusOK, contentType: contentType, base64: true, body: wire.EncodeBody(der, wrapped)}
}

// refusal is the answer to a request that wasn't granted: short text (RFC 8951
// section 5.1), and nothing at all in a 401, which old Bouncy Castle leaves
// unread.
func (x *exchange) refusal(fail *ra.Error) answer {
	if a, ok := x.cmcRefusal(fail); ok {
		return a
	}
	a := answer{status: fail.Kind.HTTPStatus(), contentType: wire.TypeText, retryAfter: fail.RetryAfter, linking: x.wantedLinking(fail)}
	switch fail.Kind {
	case ra.Unauthenticated:
		a.challenge = x.challenge
		return a
	case ra.Pending:
		// RFC 7030 section 4.2.3 lets a 202 have a body; old Bouncy Castle leaves
		// one unread, and fails. The log and the admin API have the text.
		return a
	case ra.Method:
		a.allow = methods[x.target.op]
	default: // no further header
	}
	a.body = []byte(fail.Public + " (" + x.id + ")\n")
	return a
}

// wantedLinking is the binding that a refusal for want of linking names. Without
// TLS here there is none that a client could compute.
func (x *exchange) wantedLinking(fail *ra.Error) string {
	if fail.Kind != ra.LinkRequired || x.r.TLS == nil {
		return ""
	}
	return binding.TypeOf(x.r.TLS.Version)
}

// write sends the answer. Clients read headers byte for byte, so those that
// they look at are put into the map as they want them spelled (libest), and
// Content-Length is always there.
func (x *exchange) write(a answer) {
	x.settle()
	h := x.w.Header()
	dropChallenges(h)
	if len(a.challenge) > 0 {
		h[headerChallenge] = a.challenge
	}
	h.Set("X-Request-Id", x.id)
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	h.Set("Cache-Control", "no-store")
	if a.base64 && !x.s.Quirks.NoTransferEncoding {
		h.Set("Content-Transfer-Encoding", "base64")
	}
	if len(a.allow) > 0 {
		h.Set("Allow", strings.Join(a.allow, ", "))
	}
	if a.retryAfter > 0 {
		// Whole seconds: libest knows no date (RFC 9110 section 10.2.3).
		h.Set("Retry-After", strconv.FormatInt(int64((x.s.spread(a)+time.Second-1)/time.Second), 10))
	}
	if a.linking != "" {
		h[binding.HeaderRequired] = []string{a.linking}
	}
	closing := x.closing || x.s.Leaving != nil && x.s.Leaving()
	if closing && x.r.ProtoMajor < 3 {
		h.Set("Connection", "close") // HTTP/2: GOAWAY; invalid on HTTP/3
	}
	// Without full duplex net/http would close the body before the answer.
	lingers := x.overlong && x.r.ProtoMajor == 1 && http.NewResponseController(x.w).EnableFullDuplex() == nil
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(a.body) // the client may be gone; net/http drops it for HEAD
	if a.secret {
		clear(a.body)
	}
	if lingers {
		x.linger()
	}
}

// A fleet that is turned away together, such as at a power cut's end, would come
// back together. So the wait of a 503 is drawn from a span that begins with it:
// as long again, within these.
const (
	leastSpread = 4 * time.Second
	mostSpread  = 5 * time.Minute
)

// spread is how long the client of an answer is told to wait.
func (s *Server) spread(a answer) time.Duration {
	if a.status != http.StatusServiceUnavailable {
		return a.retryAfter
	}
	span := min(max(a.retryAfter, leastSpread), mostSpread)
	draw := rand.Int64N
	if s.Draw != nil {
		draw = s.Draw
	}
	return a.retryAfter + time.Duration(draw(int64(span)+1))
}

// headerChallenge as libest compares it; Go would spell it Www-Authenticate.
const headerChallenge = "WWW-Authenticate"

// challengeRoom is what all challenges together may take: strongSwan reads
// 1,024 bytes of header.
const challengeRoom = 512

// challengeFor is what a 401 says: the configured values, then those of
// providers.
func (x *exchange) challengeFor(methods []string) []string {
	var configured, all []string
	if x.s.Challenge != nil {
		configured = x.s.Challenge(x.r, methods)
	}
	room := challengeRoom
	for _, v := range slices.Concat(configured, x.challenges) {
		if slices.Contains(all, v) || len(v) > room {
			continue
		}
		all, room = append(all, v), room-len(v)
	}
	return all
}

// challengesOf are the challenges in a header, however their name is spelled.
func challengesOf(h http.Header) []string {
	var all []string
	for name, values := range h {
		if strings.EqualFold(name, headerChallenge) {
			all = append(all, values...)
		}
	}
	return all
}

// dropChallenges takes out what others wrote before us.
func dropChallenges(h http.Header) {
	for name := range h {
		if strings.EqualFold(name, headerChallenge) {
			delete(h, name)
		}
	}
}
