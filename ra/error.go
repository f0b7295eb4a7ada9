// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"errors"
	"time"

	"github.com/caddy-est/estra/policy"
)

// Kind is why a request wasn't granted: one row of the table below. The zero
// value is Fault.
type Kind uint8

// The kinds.
const (
	Fault Kind = iota
	Malformed
	TooLarge
	MediaType
	Method
	OperationOff
	EarlyData
	Throttled
	POPFailed
	LinkRequired
	LinkFailed
	Unauthenticated
	Forbidden // no HTTP credential could help
	Refused
	BadKey
	KeyReuse
	BadExtension
	BadRenewal
	NoProfile
	NoCertificate
	Busy
	UpstreamDown
	UpstreamRefused
	Nonconforming
	UpstreamTimeout
	Pending // not yet: it waits for a decision
)

type row struct {
	name     string
	status   int
	failInfo string
	public   string
}

// rows is the one table of what each kind means on the wire.
var rows = [...]row{
	Fault:           {"fault", 500, "internalCAError", "the authority could not issue"},
	Malformed:       {"malformed", 400, "badRequest", "request could not be read"},
	TooLarge:        {"too_large", 413, "badRequest", "request could not be read"},
	MediaType:       {"media_type", 415, "badRequest", "request could not be read"},
	Method:          {"method", 405, "badRequest", "request could not be read"},
	OperationOff:    {"operation_off", 404, "badRequest", "operation not offered"},
	EarlyData:       {"early_data", 425, "tryLater", "send again after the handshake"},
	Throttled:       {"throttled", 429, "tryLater", "too many attempts"},
	POPFailed:       {"pop_failed", 400, "popFailed", "proof of possession failed"},
	LinkRequired:    {"link_required", 403, "popFailed", "linking of identity and proof of possession is required (RFC 7030 section 3.5)"},
	LinkFailed:      {"link_failed", 403, "popFailed", "linking of identity and proof of possession failed (RFC 7030 section 3.5)"},
	Unauthenticated: {"unauthenticated", 401, "badIdentity", "authentication required"},
	Forbidden:       {"unauthenticated", 403, "badIdentity", "authentication required"},
	Refused:         {"refused", 403, "badRequest", "refused by policy"},
	BadKey:          {"bad_key", 403, "badAlg", "key not accepted"},
	KeyReuse:        {"key_reuse", 403, "noKeyReuse", "key must change"},
	BadExtension:    {"bad_extension", 403, "unsupportedExt", "extension not accepted"},
	BadRenewal:      {"bad_renewal", 403, "badCertId", "certificate cannot be renewed here"},
	NoProfile:       {"no_profile", 404, "badRequest", "no such label"},
	NoCertificate:   {"no_certificate", 404, "badCertId", "no such certificate"},
	Busy:            {"busy", 503, "tryLater", "try again later"},
	UpstreamDown:    {"upstream_down", 503, "tryLater", "try again later"},
	UpstreamRefused: {"upstream_refused", 502, "internalCAError", "the authority could not issue"},
	Nonconforming:   {"nonconforming", 502, "internalCAError", "the authority could not issue"},
	UpstreamTimeout: {"upstream_timeout", 504, "internalCAError", "the authority could not issue"},
	Pending:         {"pending", 202, "tryLater", "the request waits for a decision"},
}

// String is the kind's word in audit records and metrics.
func (k Kind) String() string { return k.row().name }

// HTTPStatus is the status code of the answer.
func (k Kind) HTTPStatus() int { return k.row().status }

// FailInfo is the CMCFailInfo (RFC 5272 section 6.1.4) of the kind.
func (k Kind) FailInfo() string { return k.row().failInfo }

func (k Kind) row() row {
	if int(k) < len(rows) {
		return rows[k]
	}
	return rows[Fault]
}

// An Error is why a request wasn't granted, told to three readers: the
// client reads Public, the operator Reason and Findings, the program Kind.
type Error struct {
	Kind   Kind
	Public string
	// Reason never holds a secret, and never reaches the client.
	Reason     string
	Findings   []policy.Finding
	RetryAfter time.Duration // 0: no Retry-After
	// Ref is the CA's own reference of a request that it decides later (Pending):
	// the next Order for it has it.
	Ref string
	Err error

	failInfo string // "": that of the kind
}

// Fail makes an Error of a kind. Err may be nil.
func Fail(kind Kind, reason string, err error) *Error {
	e := &Error{Kind: kind, Public: kind.row().public, Reason: reason, Err: err}
	if kind == Busy || kind == UpstreamDown || kind == Pending {
		e.RetryAfter = 30 * time.Second
	}
	return e
}

// After sets the Retry-After and returns e.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Later is the error of an adapter whose CA has taken the request and decides
// later. Ref is how the CA calls it; it may be empty. After zero, the client is told
// a time of ours.
func Later(ref string, after time.Duration, reason string) *Error {
	e := Fail(Pending, reason, nil)
	e.Ref = ref
	if after > 0 {
		e.RetryAfter = after
	}
	return e
}

// Meaning sets the CMCFailInfo, where it isn't the kind's own, and returns e.
func (e *Error) Meaning(failInfo string) *Error {
	e.failInfo = failInfo
	return e
}

// FailInfo is the CMCFailInfo (RFC 5272 section 6.1.4).
func (e *Error) FailInfo() string {
	if e.failInfo != "" {
		return e.failInfo
	}
	return e.Kind.FailInfo()
}

// Telling adds to what the client reads, and returns e. The text is ours, and
// says nothing of the policy or the CA.
func (e *Error) Telling(text string) *Error {
	e.Public += ": " + text
	return e
}

// Error is for operators: the kind and the reason.
func (e *Error) Error() string { return e.Kind.String() + ": " + e.Text() }

// Text is Error without the kind, which stands beside it in a record.
func (e *Error) Text() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// asError is for errors that are *Error already; another would be a fault of
// ours.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Fail(Fault, "unexpected error", err)
}
