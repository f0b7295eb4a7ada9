// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"
)

// Certificates are all that was asked for, and what became of it: an entry is
// made before the CA is asked, and says afterwards how that ended. What surely
// wasn't issued has none.
type Certificates interface {
	Ledger
	Inventory
}

// A Ledger sees to it that for a request at most one certificate is issued.
type Ledger interface {
	// Intend writes that a certificate is asked for (state CertificateAsked) or,
	// where the CA is in this process and the certificate is in nobody's hands yet,
	// that it is issued (CertificateIssued). Where the same request has one
	// already, nothing is written, and that one is Has. What was issued before since,
	// has ended, or is revoked or blocked gives way. ErrTaken tells that a CA of this
	// process has the serial number already, or has revoked it.
	Intend(ctx context.Context, c Certificate, since time.Time) (Intended, error)
	// Ended tells how it ended, of an entry that was asked for. ErrTaken tells that
	// it came so late that another one may have been issued for the request: it is
	// written down, and must not be given out. ErrUnknown: there is no such entry.
	Ended(ctx context.Context, e CertificateEnd) error
	// Current gives what the request has: asked for, pending or issued. ErrUnknown:
	// nothing.
	Current(ctx context.Context, request [32]byte) (Certificate, error)
	// Revoked marks a certificate, or one that may have been issued, as revoked at
	// the CA. Once is enough: the first mark stays.
	Revoked(ctx context.Context, id string, m Mark) error
	// RevokedCertificate marks a certificate, by its serial number and its SHA-256;
	// where it isn't there, as of one that was issued elsewhere, it is added.
	RevokedCertificate(ctx context.Context, c Certificate, m Mark) error
	// Barred tells whether a certificate is revoked or blocked here, by its serial
	// number and its SHA-256; ErrUnknown: there is none.
	Barred(ctx context.Context, serial string, sha256 [32]byte) (Standing, error)
}

// An Inventory is for operators, and for a node that starts.
type Inventory interface {
	// Abandoned turns what a node has asked for before into unknown, or after now,
	// when its clock was another, and gives how many these are: it was started anew.
	Abandoned(ctx context.Context, node string, before, now time.Time) (int, error)
	// Get gives one entry; ErrUnknown: there is none.
	Get(ctx context.Context, id string) (Certificate, error)
	// BySHA256 gives that of a certificate; ErrUnknown: there is none. Without its
	// serial number ("") every entry is looked at.
	BySHA256(ctx context.Context, serial string, sha256 [32]byte) (Certificate, error)
	// BySerial gives those with a serial number, which several CAs may have given:
	// lower-case hexadecimal, two digits a byte.
	BySerial(ctx context.Context, serial string) ([]Certificate, error)
	// List gives a page of entries, in the order of their ids, which is that of time
	// for those made here: the newest first.
	List(ctx context.Context, q CertificateQuery) ([]Certificate, error)
	// Block marks a certificate as one that is never renewed, and Unblock takes
	// that back.
	Block(ctx context.Context, id string, m Mark) error
	Unblock(ctx context.Context, id string) error
	// Import adds certificates that were issued elsewhere. Those that are there stay
	// as they are.
	Import(ctx context.Context, all []Certificate, now time.Time) (added, known int, err error)
}

// A CertificateState is what became of a certificate.
type CertificateState string

// The states.
const (
	CertificateAsked    CertificateState = "asked"    // the CA is being asked
	CertificatePending  CertificateState = "pending"  // the CA has not decided yet
	CertificateIssued   CertificateState = "issued"   //
	CertificateWithheld CertificateState = "withheld" // the CA has issued something else than was ordered
	CertificateUnknown  CertificateState = "unknown"  // the CA may have issued it
)

// live tells states in which a request has something.
func (s CertificateState) live() bool {
	return s == CertificateAsked || s == CertificatePending || s == CertificateIssued
}

// A Certificate is one entry.
type Certificate struct {
	ID string
	// Request is what the request is, and stays when it is repeated.
	Request [32]byte
	State   CertificateState
	// Closed is since when another one may be issued for the request; zero: not.
	Closed time.Time
	// Node asks the CA, until Lease at the latest.
	Node  string
	Lease time.Time

	Upstream, Profile, Label, Op string
	Identity                     string // who asked, in words
	SPKI                         [32]byte
	// Serial is in lower-case hexadecimal, two digits a byte: as ordered, then as
	// issued. OwnSerial says that it was chosen here, and so is known before.
	Serial              string
	OwnSerial           bool
	NotBefore, NotAfter time.Time
	Replaces            [32]byte // SHA-256 of the one that was renewed; zero: none
	Ref                 string   // the CA's own reference
	Asked, Changed      time.Time
	SHA256              [32]byte // zero: there is no certificate
	DER                 []byte
	// Names are subject and alternative names in words, for searches.
	Names string

	Revoked  time.Time // zero: not, as far as is known here
	Reason   int       // CRLReason (RFC 5280 section 5.3.1)
	By       string    // who has revoked or blocked it
	Blocked  time.Time // zero: not
	Imported time.Time // zero: it was asked for here

	// gaveWay is the id of what the request had before, while this one is asked for:
	// where nobody ever tells how it ends, the request has that one again.
	gaveWay string

	// Issuer is the identifier of the key that issued it, in lower-case hexadecimal,
	// where that is a CA of this process: its serial numbers are used once. Empty:
	// another CA has issued it.
	Issuer string
}

// Doubtful tells whether the CA may have issued it, and nobody knows.
func (c Certificate) Doubtful(now time.Time) bool {
	return c.Revoked.IsZero() && (c.State == CertificateUnknown || c.abandoned(now))
}

// abandoned: whoever asks for it should have ended. Where it was asked for so long
// after now, the clock was set back meanwhile, and nobody waits for its lease.
func (c Certificate) abandoned(now time.Time) bool {
	ahead := c.Asked.Sub(now)
	return c.State == CertificateAsked && (!now.Before(c.Lease) || ahead > c.Lease.Sub(c.Asked))
}

// GivesWay tells whether another one may be issued in its place: its node should
// have ended, or it has ended itself, was issued before since, or is revoked or
// blocked.
func (c Certificate) GivesWay(now, since time.Time) bool {
	switch c.State {
	case CertificateAsked:
		return c.abandoned(now)
	case CertificateIssued:
		// Of two times the later counts: the clock may have been set back in between.
		return !c.Revoked.IsZero() || !c.Blocked.IsZero() || now.After(c.NotAfter) || c.Changed.Before(since) && c.Asked.Before(since)
	default:
		return false
	}
}

// Intended is the answer to an intent.
type Intended struct {
	// Has is what the same request has already; nil: the entry was written.
	Has *Certificate
	// Doubtful are those that may have been issued for it before.
	Doubtful []Certificate
	// GaveWay is the id of what it had until now; "": nothing.
	GaveWay string
}

// A CertificateEnd is how an entry ends.
type CertificateEnd struct {
	ID string
	// State is Issued, Pending, Withheld or Unknown. Empty: nothing was issued, and
	// the entry goes.
	State CertificateState
	// Of the certificate, where there is one.
	DER                 []byte
	SHA256              [32]byte
	Serial              string // "": as ordered
	NotBefore, NotAfter time.Time
	Ref                 string
	Now                 time.Time
	// GaveWay is that of Intended. Where nothing is issued the request has it again:
	// what had ended by a clock that was wrong hasn't ended when it is right.
	GaveWay string
	// Revoked says that it was revoked at once.
	Revoked bool
	Reason  int
}

// A Mark says when something was done to a certificate, and by whom.
type Mark struct {
	At     time.Time
	Reason int // CRLReason (RFC 5280 section 5.3.1)
	By     string
}

// A Standing is what is known of a certificate beside what is in it.
type Standing struct{ Revoked, Blocked time.Time }

// A CertificateQuery picks entries: those to which all that is set applies.
type CertificateQuery struct {
	State             CertificateState
	Upstream, Profile string
	// Name is a part of a name, in any case.
	Name   string
	Serial string
	// EndsFrom and EndsBefore bound the end of the validity.
	EndsFrom, EndsBefore time.Time
	// Doubtful picks what may have been issued, without anybody knowing.
	Doubtful bool
	// Revoked and Blocked pick what is.
	Revoked, Blocked bool
	Now              time.Time
	// Before is the id after which the page begins: the last one of the page
	// before. "": with the first.
	Before string
	Most   int // entries; 0: 1000
}
