// SPDX-License-Identifier: Apache-2.0

// Package store keeps what must survive a restart: one-time passwords, device
// registries, what has been used up of both, how often certificates were
// renewed, the users of certificate-less TLS, and what a CA of this process has
// issued and revoked. There is one interface, [Store], with SQLite or PostgreSQL
// behind it. Both have the same schema and the same SQL, each has a committer of
// its own, and both pass the suite of storetest.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/srp"
)

// A Store is what survives. It is safe for concurrent use. What a method has
// written is durable when it returns.
type Store interface {
	Passwords() Passwords
	Devices() Devices
	Claims() Claims
	Made() Made
	Renewals() Renewals
	// SRP has the users of certificate-less TLS.
	SRP() srp.Users
	Certificates() Certificates
	Authorities() Authorities
	Pending() Pending
	// Orders are what CAs have yet to decide.
	Orders() Orders
	Upkeep() Upkeep
	// Close ends it. Nothing is called after it.
	Close() error
}

// Errors that callers ask for.
var (
	// ErrUnknown: there is no such thing in the store.
	ErrUnknown = errors.New("the store has none")
	// ErrTaken: it is reserved for another request, or used up.
	ErrTaken = errors.New("taken")
)

// Passwords are one-time passwords. The store never has one in clear.
type Passwords interface {
	// Create makes a password for each template, or none.
	Create(ctx context.Context, templates []Template, now time.Time) ([]Created, error)
	// Verify finds the password that a client has presented. Without an error
	// it is good at the label. The error is *Unusable where the text is that of
	// a password which may not be used (now, here, or any more), ErrUnknown
	// where it is none, and another one where the store failed.
	Verify(ctx context.Context, presented secret.Text, label string, now time.Time) (Password, error)
	// Proof gives the keys of a password that was made for identity proofs, by its
	// id. The errors are those of Verify; with *Unusable there are keys as well.
	// ErrUnknown is also that of a password which was made for no such proof.
	Proof(ctx context.Context, id, label string, now time.Time) (Password, ProofKeys, error)
	// Refused counts a refused request against its password.
	Refused(ctx context.Context, id string) error
	// List gives the passwords in the order made: those of a label, or all.
	List(ctx context.Context, label string) ([]Password, error)
	// Revoke makes passwords unusable. ErrUnknown tells that one isn't there,
	// and then nothing has changed.
	Revoke(ctx context.Context, ids []string, now time.Time) error
}

// A Template is what a password is good for.
type Template struct {
	Label string
	// Names are what a certificate must have, as far as Subject and SAN say so.
	Names policy.BoundNames
	// Expires is when it ends, unless a request has been begun with it.
	Expires time.Time
	// Proof says that it is to serve for identity proofs of CMC: the store then
	// keeps ProofKeys. It isn't read back.
	Proof bool
	// ProofV1 says the same of those of the first version.
	ProofV1 bool
}

// ProofKeys are what the witnesses of CMC are computed with (RFC 5272 sections
// 6.2.1 and 6.3.1.1). They are no password: nobody can log in with them. But who
// has them can make a proof, so that they are only kept where it was asked for.
type ProofKeys struct {
	Identity [32]byte // SHA-256 of the password and its id
	Link     [32]byte // SHA-256 of the password
	// IdentityV1 is the SHA-1 of the password and its id, for a proof of the first
	// version (section 6.2.2); all zero where the password wasn't made for one.
	IdentityV1 [20]byte
}

// V1 says whether there is a key for a proof of the first version.
func (k ProofKeys) V1() bool { return k.IdentityV1 != [20]byte{} }

// A Created password is the only place where it stands in clear.
type Created struct {
	Password
	Text secret.Text
}

// A Password is what is known of a one-time password.
type Password struct {
	ID string
	Template
	Created time.Time
	// Refusals counts refused requests.
	Refusals int
	Revoked  time.Time // zero: not
	Claim    Claim
}

// MostRefusals is how many requests may be refused with one password: who
// tries more doesn't know what it is for.
const MostRefusals = 10

// State says in a word what a password may be used for.
func (p Password) State(now time.Time) string {
	switch {
	case !p.Revoked.IsZero():
		return "revoked"
	case p.Claim.usedUp(now):
		return "used"
	case p.Refusals >= MostRefusals:
		return "locked"
	case p.Claim.held() && now.Before(later(p.Expires, p.Claim.Until)):
		return "reserved"
	case !now.Before(p.Expires):
		return "expired"
	default:
		return "unused"
	}
}

// An Unusable is a password that is right, and may not be used.
type Unusable struct {
	ID  string
	Why string // in words, without the secret
}

// Error is for operators.
func (u *Unusable) Error() string { return "the one-time password " + u.ID + " " + u.Why }

// Devices are the device registries.
type Devices interface {
	// Import puts devices into a registry as expected. Those that are there
	// keep their state, and get the note. Their Keys are added, or take the place
	// of those with the same identifier.
	Import(ctx context.Context, registry string, devices []Device, now time.Time) (added, known int, err error)
	// Match finds the devices that a certificate is of, in any registry: an
	// IDevID by what it says, one that we issued by itself.
	Match(ctx context.Context, keys policy.DeviceKeys) ([]Device, error)
	// DecryptKey gives the key of one of the devices that is of the kind and has
	// the identifier wanted, and which device it is of; ErrUnknown where none has
	// it.
	DecryptKey(ctx context.Context, devices []string, wanted DecryptKey) (device string, k DecryptKey, err error)
	// List gives the devices of a registry, or of all, in order.
	List(ctx context.Context, registry string) ([]Device, error)
	// Block and Rearm act on one device. ErrUnknown tells that there is none.
	Block(ctx context.Context, device Device, now time.Time) error
	Rearm(ctx context.Context, device Device, now time.Time) error
}

// A Device is one entry of a registry.
type Device struct {
	Registry string
	// Issuer is the key identifier of the IDevID's issuer, in lower-case
	// hexadecimal. Where a method looks for a device it may be empty: then
	// there must be only one of that identity.
	Issuer string
	// Identity is serialNumber:VALUE of the subject, or as
	// csr.GeneralName.DeviceIdentity has it.
	Identity string
	Note     string
	State    policy.DeviceState
	Changed  time.Time
	Claim    Claim
	// Keys are those of an import, sealed (see Sealer); nothing else has them.
	Keys []DecryptKey
}

// ID names the device in claims and records.
func (d Device) ID() string { return d.Registry + "/" + d.Issuer + "/" + d.Identity }

// Claims keep what may be used once: a password, and the first enrolment of a
// device. What a request is about to use is reserved for it, so that it can be
// repeated when an answer is lost, and by nobody else.
type Claims interface {
	// Reserve reserves all that a request uses up, or nothing. ErrTaken tells
	// that another request has it, or that it is used up.
	Reserve(ctx context.Context, r Reservation) error
	// Settle tells what became of a request for which something was reserved,
	// or whose client certificate is of a device.
	Settle(ctx context.Context, s Settlement) error
}

// A Reservation is for one request.
type Reservation struct {
	Uses []policy.Use
	// For is what the request is, and stays when it is repeated: a hash over
	// label, key and names.
	For [32]byte
	// SPKI is the SHA-256 of the key.
	SPKI [32]byte
	Now  time.Time
	// Until is how long the request may be repeated. Once a certificate was
	// issued, that isn't moved any more.
	Until time.Time
}

// A Settlement is the end of a request.
type Settlement struct {
	Uses  []policy.Use
	Ended Ended
	// Devices are the ids of those that the request is of.
	Devices []string
	// Certificate was issued; its fingerprint finds the devices again.
	Certificate [32]byte
	NotAfter    time.Time
	// Collected is the SHA-256 of a key whose certificate has authenticated
	// somebody: the password that it was issued for is used up.
	Collected [32]byte
	Now       time.Time
}

// Ended says how a request ended. The zero value changes nothing: somebody
// may have been given a certificate.
type Ended uint8

// The ends.
const (
	Unknown   Ended = iota
	Issued          // there is a certificate
	NotIssued       // there certainly is none
)

// A Claim is what is reserved or used up.
type Claim struct {
	For       [32]byte
	Until     time.Time
	Issued    time.Time // zero: not yet
	Collected time.Time // zero: nobody has shown the certificate
	set       bool
}

func (c Claim) held() bool { return c.set }

// usedUp: a certificate was issued, and it has been shown or the time to ask
// for it again has passed.
func (c Claim) usedUp(now time.Time) bool {
	return c.held() && !c.Issued.IsZero() && (!c.Collected.IsZero() || !now.Before(c.Until))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// names are stored as DER: a name has no other form that loses nothing.
func encodeNames(n policy.BoundNames) (subject, san []byte, err error) {
	if n.Subject {
		if subject, err = n.Names.Subject.MarshalDER(); err != nil {
			return nil, nil, err
		}
	}
	if n.SAN {
		if san, err = csr.MarshalSAN(n.Names.SAN); err != nil {
			return nil, nil, err
		}
	}
	return subject, san, nil
}

func decodeNames(subject, san []byte) (n policy.BoundNames, err error) {
	if n.Subject = len(subject) > 0; n.Subject {
		if n.Names.Subject, err = csr.NameFromDER(subject); err != nil {
			return n, err
		}
	}
	if n.SAN = len(san) > 0; n.SAN {
		if n.Names.SAN, err = csr.ParseSAN(san); err != nil {
			return n, err
		}
		n.Names.HasSAN = true
	}
	return n, nil
}
