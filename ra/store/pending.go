// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-est/estra/policy"
)

// Pending are requests that wait until people have approved them. Each is known
// by what it is, which stays when it is repeated (RFC 7030 section 4.2.3): the
// client keeps no state of it.
type Pending interface {
	// Ask finds a request, or lets it wait. Where it is there already, and another
	// certificate is planned now, what people have said of it doesn't count any
	// more. What it uses up is reserved, for as long as it waits: ErrTaken and
	// ErrUnknown are those of Claims.Reserve. ErrFull tells that too many wait.
	Ask(ctx context.Context, a Asking) (w Waiting, begun bool, err error)
	// Find gives one by its id; ErrUnknown: there is none, or its time is over.
	Find(ctx context.Context, id string, now time.Time) (Waiting, error)
	// List gives those whose time isn't over, the oldest first.
	List(ctx context.Context, now time.Time) ([]Waiting, error)
	// Count is how many wait for a decision.
	Count(ctx context.Context, now time.Time) (int, error)
	// Decide takes what somebody says of one. ErrTaken: it is decided already, or
	// this person has approved it. ErrChanged: another certificate is planned than
	// the one that was looked at.
	Decide(ctx context.Context, d PendingDecision) (Waiting, error)
	// Issued says that the certificate is there. The request stays known until
	// then, so that the client may repeat it; until is moved by no repeat.
	Issued(ctx context.Context, id string, until time.Time) error
	// Again lets one whose certificate was issued wait again: what people have said
	// of it doesn't count any more.
	Again(ctx context.Context, id string, now, expires time.Time) (Waiting, error)
}

// Errors of Pending.
var (
	ErrFull    = errors.New("too many requests wait for approval")
	ErrChanged = errors.New("another certificate is planned now")
)

// MostWaiting is how many requests may wait at a time: strangers don't come this
// far, but a device that is broken may ask for a new key each time.
const MostWaiting = 100_000

// A PendingState is how far a request has come.
type PendingState string

// The states.
const (
	PendingWaiting  PendingState = "waiting"
	PendingApproved PendingState = "approved" // by as many as it needs
	PendingDenied   PendingState = "denied"
	PendingIssued   PendingState = "issued"
)

// An Asking is a request that wants approval.
type Asking struct {
	// Request is what it is, and Wanted which certificate is planned for it.
	Request, Wanted [32]byte
	// Validity is how long the certificate lives, which Wanted doesn't tell. A
	// shorter life is still the same certificate, a longer one is another.
	Validity       time.Duration
	PolicySHA256   string
	Needs          int
	Op             policy.Op
	Label, Profile string
	// Who asks and for which Names, in words.
	Who, Names string
	// Record is a JSON text of the caller's, with what a decision needs.
	Record []byte
	// Reserve has what the request uses up; no Uses: nothing.
	Reserve Reservation
	Now     time.Time
	// Expires is until when it waits.
	Expires time.Time
}

// A Waiting is what is known of a request that wants approval.
type Waiting struct {
	Asking
	ID string
	// State is never approved while somebody is missing.
	State PendingState
	Asked time.Time
	// Changed is when the plan was last another one; zero: never.
	Changed time.Time
	// Decisions are those that count, in their order.
	Decisions []PendingDecision
}

// Missing is how many have still to approve.
func (w Waiting) Missing() int {
	if w.State != PendingWaiting {
		return 0
	}
	return w.Needs - len(w.Decisions)
}

// A PendingDecision is what one person says.
type PendingDecision struct {
	ID string
	// Wanted is the certificate that was looked at.
	Wanted   [32]byte
	Validity time.Duration
	// Approver tells people apart; Name is for people. Method is client_cert or
	// stated.
	Approver, Name, Method string
	Approves               bool
	Note                   string
	Disclose               bool // the client may read the note
	At                     time.Time
	// Expires is until when the certificate may be fetched, or the denial holds.
	Expires time.Time
}
