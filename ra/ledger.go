// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

// InProcess is an Upstream that signs in this process: what it has signed is in
// nobody's hands before Issue's caller gives it on. So one write, after it has
// signed, is as good as an intent before: a crash leaves nobody with a certificate
// of which nothing is known.
type InProcess interface{ SignsInProcess() }

// leaseMore is what an entry's lease has beyond the time for the CA: to compare,
// to withdraw, to write down.
const leaseMore = 30 * time.Second

// A Doubt is a certificate that the CA may have issued for the same request
// before, without anybody knowing.
type Doubt struct {
	ID      string // of the request that was under way
	Serial  string // "": the CA chose it
	Revoked bool
	Err     error // why it isn't
}

// An entry is what the ledger is told of one certificate. A nil one tells
// nothing: there is no ledger.
type entry struct {
	a     *Authority
	ca    *CA
	row   store.Certificate
	local bool // the CA signs in this process
	once  bool // a repeat gets the same certificate
	begun bool // the row is there as asked for
	// gaveWay is what the request had until now; "": nothing.
	gaveWay string
	// waits is the entry of an order that the CA has not decided yet; nil: there is
	// none.
	waits *store.Certificate
}

// newEntry is for a task that was decided.
func (a *Authority) newEntry(ca *CA, op policy.Op, label string, t task, out *Outcome) (*entry, *Error) {
	if a.Ledger == nil {
		return nil, nil
	}
	key, err := t.retryKey(op, label, out.Decision.Plan, out.Replaces)
	if err != nil {
		return nil, Fail(Fault, "the request can't be told from others", err)
	}
	_, local := ca.Upstream.(InProcess)
	who := storeText(whoText(t.who))
	// What this server orders for itself has no identity, and is new each time.
	l := &entry{a: a, ca: ca, local: local, once: t.making == nil && who != ""}
	if !l.once {
		// A repeat makes another key, so it is another request.
		key = framed(key[:], []byte(t.evidence.RequestID))
	}
	l.row = store.Certificate{
		ID: t.evidence.RequestID, Request: key, Node: a.Node,
		Upstream: ca.Name, Profile: out.Profile, Label: label, Op: string(op), Identity: who,
		Names: storeText(namesOf(out.Decision.Plan.Names)),
	}
	if out.Replaces != nil {
		l.row.Replaces = sha256.Sum256(out.Replaces.Raw)
	}
	return l, nil
}

// replay gives the certificate that the same request has, if it has one, and
// waits where it is being issued. The CA isn't asked.
func (l *entry) replay(ctx context.Context, out *Outcome) (done bool, e *Error) {
	if l == nil || !l.once {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.ca.timeout())
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		has, err := l.a.Ledger.Current(ctx, l.row.Request)
		now := l.a.now()
		switch {
		case errors.Is(err, store.ErrUnknown):
			return false, nil
		case err != nil:
			return false, Fail(Busy, "whether the request was sent before can't be found", err)
		case has.GivesWay(now, now.Add(-l.a.repeat())):
			return false, nil
		case has.State == store.CertificateIssued:
			return l.give(ctx, has, out)
		case has.State == store.CertificatePending:
			l.waits, l.row.ID, l.begun = &has, has.ID, true
			return false, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false, Fail(Busy, fmt.Sprintf("the same request (%s) is under way for more than %s", has.ID, l.ca.timeout()), ctx.Err())
		}
	}
}

// give hands out what was issued before, unless the CA has revoked it since.
func (l *entry) give(ctx context.Context, has store.Certificate, out *Outcome) (bool, *Error) {
	leaf, err := x509.ParseCertificate(has.DER)
	if err != nil {
		return false, Fail(Fault, fmt.Sprintf("the certificate of the request %s can't be read in the store", has.ID), err)
	}
	revoked, err := l.ca.Revoked(ctx, leaf)
	if err != nil {
		return false, l.ca.down("revocation of the certificate that was issued for the same request can't be checked", err)
	}
	if revoked {
		err := l.a.Ledger.Revoked(ctx, has.ID, store.Mark{At: l.a.now(), By: "CRL of " + l.ca.Name})
		if err != nil {
			return false, Fail(Busy, "that the certificate is revoked can't be written down", err)
		}
		return false, nil
	}
	out.Certificate, out.Replays, out.Ref = leaf, has.ID, has.Ref
	out.NotBefore, out.NotAfter = leaf.NotBefore, leaf.NotAfter
	return true, nil
}

// intend writes down, before the CA is asked, what it is asked for: serial number
// and times are fixed. done says that the same request has been given one
// meanwhile.
func (l *entry) intend(ctx context.Context, order Order, out *Outcome) (done bool, e *Error) {
	if l == nil {
		return false, nil
	}
	l.fill(order)
	if l.local || l.waits != nil {
		return false, nil
	}
	for range mostTurns {
		found, err := l.write(ctx, store.CertificateAsked)
		if err != nil {
			return false, Fail(Busy, "what the CA is asked for can't be written down, and without that nothing is issued", err)
		}
		if found.Has == nil {
			l.begun, l.gaveWay = true, found.GaveWay
			return false, l.resolve(ctx, found.Doubtful, out)
		}
		if done, e := l.replay(ctx, out); done || e != nil {
			return done, e
		}
	}
	return false, Fail(Busy, "the same request is under way again and again", nil)
}

// mostTurns bounds how often another one may come in between.
const mostTurns = 3

// fill takes over what an order fixes.
func (l *entry) fill(order Order) {
	now := l.a.now()
	l.row.Asked, l.row.Changed = now, now
	l.row.Lease = now.Add(2*l.ca.timeout() + leaseMore)
	l.row.Serial, l.row.OwnSerial = SerialText(order.Serial()), order.takesSerial
	l.row.NotBefore, l.row.NotAfter = order.NotBefore(), order.NotAfter()
	if !order.takesSerial {
		l.row.Serial = ""
	}
	if !order.byCA {
		l.row.SPKI = sha256.Sum256(order.csr.RawSPKI)
	}
}

func (l *entry) write(ctx context.Context, state store.CertificateState) (store.Intended, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	l.row.State = state
	return l.a.Ledger.Intend(ctx, l.row, l.a.now().Add(-l.a.repeat()))
}

// resolve has what may have been issued before revoked. Where the CA can't be
// asked for that now, it isn't asked for another one either; where it can't
// at all, the doubt stays listed, and the request gets its certificate.
func (l *entry) resolve(ctx context.Context, doubts []store.Certificate, out *Outcome) *Error {
	for _, c := range doubts {
		d := Doubt{ID: c.ID, Serial: c.Serial}
		d.Err = l.revokeDoubt(ctx, c)
		d.Revoked = d.Err == nil
		out.Doubts = append(out.Doubts, d)
		var own *Error
		if errors.As(d.Err, &own) && (own.Kind == UpstreamDown || own.Kind == UpstreamTimeout || own.Kind == Busy) {
			e := l.ca.down(fmt.Sprintf("a certificate that may have been issued for the same request (%s) can't be revoked now", c.ID), d.Err)
			if err := l.ended(ctx, store.CertificateEnd{}); err != nil {
				out.Unsettled = errors.Join(out.Unsettled, err)
			}
			return e
		}
	}
	return nil
}

func (l *entry) revokeDoubt(ctx context.Context, c store.Certificate) error {
	revoker, ok := l.ca.Upstream.(SerialRevoker)
	serial, known := serialOf(c.Serial)
	if !ok || !c.OwnSerial || !known {
		return errors.New("this upstream can't revoke what nobody has seen")
	}
	ctx, cancel := context.WithTimeout(ctx, l.ca.timeout())
	defer cancel()
	if err := guard(func() error { return revoker.RevokeSerial(ctx, serial, nil, c.NotAfter, superseded) }); err != nil {
		return err
	}
	return l.a.Ledger.Revoked(ctx, c.ID, store.Mark{At: l.a.now(), Reason: superseded, By: "estra"})
}

// end writes down what became of it, before anybody gets it. m is what the CA has
// signed; without a leaf nothing has come.
func (l *entry) end(ctx context.Context, m made, out *Outcome, e *Error) *Error {
	if l == nil {
		if e == nil && m.issuer != "" {
			out.Certificate = nil
			return Fail(Fault, "nothing keeps what this CA issues", nil)
		}
		return e
	}
	leaf := m.leaf
	end := store.CertificateEnd{Ref: storeText(out.Ref), Revoked: out.Withdrawn, Reason: privilegeWithdrawn}
	if leaf != nil {
		end.DER, end.SHA256, end.Serial = leaf.Raw, sha256.Sum256(leaf.Raw), SerialText(leaf.SerialNumber)
		end.NotBefore, end.NotAfter = leaf.NotBefore, leaf.NotAfter
	}
	switch {
	case e == nil:
		end.State = store.CertificateIssued
	case leaf != nil:
		end.State = store.CertificateWithheld
	case l.stillWaits(e):
		end.State = store.CertificatePending
		if end.Ref == "" && l.waits != nil {
			end.Ref = l.waits.Ref
		}
	case l.local, endOf(out, e) == store.NotIssued:
	default:
		end.State = store.CertificateUnknown
	}
	if e == nil && l.local {
		l.row.Issuer = m.issuer
		return l.issued(ctx, end, out)
	}
	if !l.begun && end.State != "" { // of a CA in this process
		found, err := l.write(ctx, store.CertificateAsked)
		if err != nil {
			out.Unsettled = errors.Join(out.Unsettled, err)
			return e
		}
		l.gaveWay = found.GaveWay
	}
	err := l.ended(ctx, end)
	switch {
	case err == nil:
		return e
	case l.waits != nil && e == nil && errors.Is(err, store.ErrUnknown):
		// Another node has asked the CA at the same time, and was faster.
		return l.sameAs(ctx, leaf, out, err)
	case e != nil:
		out.Unsettled = errors.Join(out.Unsettled, err)
		return e
	case errors.Is(err, store.ErrTaken):
		l.late(ctx, leaf, out)
	}
	return l.unwritten(out, err)
}

// late revokes a certificate that nobody gets, since another one may have been issued
// for the request meanwhile. It is written down, whatever comes of that.
func (l *entry) late(ctx context.Context, leaf *x509.Certificate, out *Outcome) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.ca.timeout())
	defer cancel()
	err := revoke(ctx, l.ca, leaf, superseded)
	if err == nil {
		out.Withdrawn = true
		err = l.a.Ledger.Revoked(ctx, l.row.ID, store.Mark{At: l.a.now(), Reason: superseded, By: "estra"})
	}
	if err != nil {
		out.Unsettled = errors.Join(out.Unsettled, fmt.Errorf("revoking the certificate that came too late: %w", err))
	}
}

// issued writes intent and end at once.
func (l *entry) issued(ctx context.Context, end store.CertificateEnd, out *Outcome) *Error {
	l.row.DER, l.row.SHA256, l.row.Serial, l.row.Ref, l.row.Lease = end.DER, end.SHA256, end.Serial, end.Ref, time.Time{}
	l.row.NotBefore, l.row.NotAfter = end.NotBefore, end.NotAfter
	if l.row.SPKI == [sha256.Size]byte{} {
		l.row.SPKI = sha256.Sum256(out.Certificate.RawSubjectPublicKeyInfo)
	}
	for range mostTurns {
		found, err := l.write(ctx, store.CertificateIssued)
		if errors.Is(err, store.ErrTaken) {
			out.Certificate = nil
			return Fail(UpstreamRefused, "the serial number is in use, or was revoked before it was used", err)
		}
		if err != nil {
			return l.unwritten(out, err)
		}
		if found.Has == nil {
			return nil
		}
		// Another node was faster. Nobody has ours: it is forgotten.
		ours := out.Certificate
		done, e := l.replay(ctx, out)
		if e != nil {
			out.Certificate, out.Conforms = nil, nil
			return e
		}
		if done {
			return nil
		}
		out.Certificate = ours
	}
	return l.unwritten(out, errors.New("the same request is under way again and again"))
}

// unwritten withholds a certificate that can't be written down.
func (l *entry) unwritten(out *Outcome, err error) *Error {
	leaf := out.Certificate
	out.Certificate = nil
	if l.local {
		return Fail(Busy, "the certificate can't be written down, and without that it isn't given out; nobody has it", err)
	}
	out.Withheld = leaf
	return Fail(Busy, fmt.Sprintf("the certificate (serial %x) can't be written down, and without that it isn't given out; it is in doubt", leaf.SerialNumber), err)
}

func (l *entry) ended(ctx context.Context, end store.CertificateEnd) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	end.ID, end.Now, end.GaveWay = l.row.ID, l.a.now(), l.gaveWay
	return l.a.Ledger.Ended(ctx, end)
}

// barred refuses what is revoked or blocked here: it is never renewed, nor good
// for an enrolment. A certificate whose issuer has another name than this CA isn't
// looked for: it can't be one of those.
func (a *Authority) barred(ctx context.Context, ca *CA, cert *x509.Certificate) *Error {
	if a.Ledger == nil || cert == nil {
		return nil
	}
	if issuers, err := ca.Issuers(ctx); err == nil &&
		!slices.ContainsFunc(issuers, func(i *x509.Certificate) bool { return bytes.Equal(i.RawSubject, cert.RawIssuer) }) {
		return nil
	}
	standing, err := a.Ledger.Barred(ctx, SerialText(cert.SerialNumber), sha256.Sum256(cert.Raw))
	switch {
	case errors.Is(err, store.ErrUnknown):
		return nil
	case err != nil:
		return Fail(Busy, "whether the client's certificate is blocked can't be found", err)
	case !standing.Revoked.IsZero():
		return Fail(BadRenewal, fmt.Sprintf("the client's certificate (serial %x) was revoked at %s", cert.SerialNumber, standing.Revoked.Format(time.RFC3339)), nil)
	case !standing.Blocked.IsZero():
		return Fail(BadRenewal, fmt.Sprintf("the client's certificate (serial %x) is blocked since %s", cert.SerialNumber, standing.Blocked.Format(time.RFC3339)), nil)
	}
	return nil
}

// revokedHere remembers that this CA's certificate was revoked.
func (a *Authority) revokedHere(ctx context.Context, ca *CA, cert *x509.Certificate, reason int, by string) error {
	if a.Ledger == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	now := a.now()
	return a.Ledger.RevokedCertificate(ctx, InventoryEntry(cert, ca.Name, now), store.Mark{At: now, Reason: reason, By: storeText(by)})
}

// InventoryEntry is the entry of a certificate that no request here has asked
// for.
func InventoryEntry(cert *x509.Certificate, upstream string, now time.Time) store.Certificate {
	sum := sha256.Sum256(cert.Raw)
	return store.Certificate{
		// In the order of time, as ids of requests are.
		ID:      fmt.Sprintf("%012x%s", max(cert.NotBefore.UnixMilli(), 0), hex.EncodeToString(sum[:10])),
		Request: sum, State: store.CertificateIssued, Upstream: upstream,
		SPKI: sha256.Sum256(cert.RawSubjectPublicKeyInfo), Serial: SerialText(cert.SerialNumber),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Asked: cert.NotBefore, Changed: now,
		SHA256: sum, DER: cert.Raw, Names: storeText(certificateText(cert)), Imported: now,
	}
}
