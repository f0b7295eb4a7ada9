// SPDX-License-Identifier: Apache-2.0

package est

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/wire"
)

// Defaults of Limits.
const (
	defaultBody        = 64 << 10
	defaultBodyTimeout = 10 * time.Second
)

// bodyLimit is the longest body in bytes: a CSR of the policy's size in
// base64 (4/3) with CRLF after every 64 columns and PEM armour, when that is
// less than Limits.Body.
func (s *Server) bodyLimit() int64 {
	limit := s.Limits.Body
	if limit <= 0 {
		limit = defaultBody
	}
	if n := s.Policy.CSRBytes(); n > 0 {
		limit = min(limit, n+n/2+256)
	}
	return limit
}

// limit is the longest body of the request. A CMC message has more in it than
// a certification request, whose size it is held to afterwards.
func (x *exchange) limit() int64 {
	if x.target.op != policy.FullCMC {
		return x.s.bodyLimit()
	}
	if x.s.Limits.Body > 0 {
		return x.s.Limits.Body
	}
	return defaultBody
}

func (s *Server) bodyTimeout() time.Duration {
	if s.Limits.BodyTimeout > 0 {
		return s.Limits.BodyTimeout
	}
	return defaultBodyTimeout
}

// receive reads the certification request, within a limit in bytes of its
// body, and what it proves of the client.
func (x *exchange) receive(limit int64) *ra.Error {
	if !wire.IsPKCS10(x.r.Header.Get("Content-Type")) {
		return ra.Fail(ra.MediaType, "the Content-Type is not "+wire.TypePKCS10, nil)
	}
	body, fail := x.body(limit)
	if fail != nil {
		return fail
	}
	// RFC 8951 section 3: base64, whatever Content-Transfer-Encoding says.
	der, armoured, err := wire.DecodeBody(body)
	if err != nil {
		return ra.Fail(ra.Malformed, "body", err)
	}
	x.armoured = armoured
	if n := x.s.Policy.CSRBytes(); n > 0 && int64(len(der)) > n {
		return ra.Fail(ra.TooLarge, fmt.Sprintf("the certification request has %d bytes, the policy's limit is %d", len(der), n), nil)
	}
	if x.target.op == policy.ServerKeygen {
		x.keyless, err = csr.ParseKeyless(der)
		x.csr = x.keyless.Unkeyed()
	} else {
		x.csr, err = csr.Parse(der)
	}
	if err != nil {
		return ra.Fail(ra.Malformed, "certification request", err)
	}
	return x.otpChallenge()
}

// body reads all of the body, within limit and time.
func (x *exchange) body(limit int64) ([]byte, *ra.Error) {
	x.deadline(time.Now().Add(x.s.bodyTimeout()))
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, limit))
	if err == nil {
		x.read = true
		// Nothing of ours stays on the connection, nor ends a slow request.
		x.deadline(time.Time{})
		return body, nil
	}
	x.abandon()
	if over, ok := errors.AsType[*http.MaxBytesError](err); ok {
		x.overlong = true
		return nil, ra.Fail(ra.TooLarge, fmt.Sprintf("the body is longer than %d bytes", over.Limit), nil)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, ra.Fail(ra.Malformed, fmt.Sprintf("the body did not come within %s", x.s.bodyTimeout()), err)
	}
	return nil, ra.Fail(ra.Malformed, "the body broke off", err)
}

// settle takes in a body that was refused unread, so that the client has sent
// it all when the answer comes, and can use the connection again: libest
// always posts first without credentials. What is too long, too slow or
// waits for a 100 (RFC 9110 section 10.1.1) is not taken in.
func (x *exchange) settle() {
	r := x.r
	if x.read || r.Body == nil || r.Body == http.NoBody {
		return
	}
	if r.ContentLength > x.limit() || r.Header.Get("Expect") != "" {
		x.abandon()
		x.overlong = r.Header.Get("Expect") == ""
		return
	}
	_, _ = x.body(x.limit())
}

// abandon gives up the body. Without the past deadline net/http would read on
// after the answer, for as long as the client keeps it waiting.
func (x *exchange) abandon() {
	x.read = true
	x.closing = x.closing || x.r.ProtoMajor == 1
	x.deadline(time.Unix(1, 0))
}

// Bounds of linger.
const (
	lingerTime  = time.Second
	lingerBytes = 16 << 20
)

// linger takes in, after the answer, what the client is still sending of a body
// that is too long. A connection that is closed with unread bytes is reset, and
// the reset can overtake the answer (RFC 9112 section 9.6). net/http waits for
// its own bodies alone, and Caddy wraps them.
func (x *exchange) linger() {
	if http.NewResponseController(x.w).Flush() != nil {
		return
	}
	x.deadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, x.r.Body, lingerBytes)
	x.deadline(time.Unix(1, 0))
}

// deadline bounds reads of the body, on the system's clock. Where the server
// can't, its own timeouts hold.
func (x *exchange) deadline(t time.Time) {
	_ = http.NewResponseController(x.w).SetReadDeadline(t)
}

// bindings are those of the connection. A TLS state that crypto/tls didn't make
// has no exporter, and panics.
func (x *exchange) bindings() binding.Channel {
	if s := x.in.Certless; s != nil {
		return s.Channel()
	}
	return binding.FromTLS(x.r.TLS)
}

// link compares the linking value with the connection (RFC 7030 section 3.5).
// What the result means is for the policy, all but this: RFC 9266 section 4.1
// wants one authentication for a binding and the connection closed after it.
// A 401 comes before this, and uses nothing up.
func (x *exchange) link() *ra.Error {
	if !binding.Present(x.csr) {
		x.linking = policy.Absent
		return nil
	}
	x.channel = x.bindings()
	x.linking = binding.Check(x.channel, x.csr)
	// Nothing that comes on a connection without a binding can be linked: the
	// client is told to connect again.
	x.closing = x.closing || x.linking == policy.Uncomputable
	if x.linking != policy.Matched {
		return nil
	}
	x.closing = true
	if !spentChannels.spend(x.channel, x.now) {
		return ra.Fail(ra.LinkFailed, "the binding of this connection was used by an earlier request", nil).
			Telling("this connection's binding has been used: connect again, and make the request anew")
	}
	if x.keyless != nil {
		x.linking = policy.Unproven // nobody has verified that the sender wrote it
	}
	return nil
}
