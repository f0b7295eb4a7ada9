// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

type certificates struct{ s *sqlStore }

// errHas tells that the request has something already, and that nothing was
// written.
var errHas = errors.New("the request has a certificate")

// Intend implements Ledger.
func (l certificates) Intend(ctx context.Context, c Certificate, since time.Time) (found Intended, err error) {
	if err := c.storable(); err != nil {
		return found, err
	}
	if c.State != CertificateAsked && c.State != CertificateIssued {
		return found, fmt.Errorf("a certificate can't begin as %q", c.State)
	}
	insert := func(ctx context.Context, tx transaction) error {
		if err := l.unused(ctx, tx, c); err != nil {
			return err
		}
		switch err := one(l.s.exec(ctx, tx, insertCertificate, c.values()...)); {
		case errors.Is(err, ErrUnknown):
			return errHas
		case err != nil || c.State == CertificateIssued:
			return err
		}
		found.Doubtful, err = l.doubtful(ctx, tx, c)
		return err
	}
	// Nearly always that is all, and it needs nothing that undoes a part.
	if err = l.s.writer.writeAlone(ctx, insert); !errors.Is(err, errHas) {
		return found, err
	}
	// Another node may come in between, and then has it.
	for range mostTurns {
		err = l.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
			found = Intended{}
			has, gaveWay, err := l.makeWay(ctx, tx, c, since)
			found.GaveWay, c.gaveWay = gaveWay, gaveWay
			switch {
			case err != nil:
				return err
			case has == nil:
				return insert(ctx, tx)
			case has.ID != c.ID || has.State != c.State:
				found.Has = has
				return nil
			}
			// Written by an attempt whose end wasn't seen.
			found.Doubtful, err = l.doubtful(ctx, tx, c)
			return err
		})
		if !errors.Is(err, errHas) {
			return found, err
		}
	}
	return found, fmt.Errorf("the entry %s can't be written: others come in between, or one has its id", c.ID)
}

const usedSerial = `SELECT 1 FROM ca_certificates WHERE issuer = $1 AND serial = $2
	UNION ALL SELECT 1 FROM certificates WHERE serial = $3 AND issuer = $1 AND id <> $4`

// unused is ErrTaken where a CA of this process has used the serial number, or has
// revoked it before.
func (l certificates) unused(ctx context.Context, tx transaction, c Certificate) error {
	if c.Issuer == "" {
		return nil
	}
	serial, err := hex.DecodeString(c.Serial)
	if err != nil || len(serial) == 0 {
		return fmt.Errorf("the serial number %q isn't in hexadecimal, two digits a byte", c.Serial)
	}
	rows, err := l.s.query(ctx, tx, usedSerial, c.Issuer, bytes.TrimLeft(serial, "\x00"), c.Serial, c.ID)
	if err != nil {
		return err
	}
	used, err := collect(rows, func(r scanner) (n int, err error) { return n, r.Scan(&n) })
	if err == nil && len(used) > 0 {
		return ErrTaken
	}
	return err
}

// mostTurns bounds how often others may come in between.
const mostTurns = 4

const currentCertificate = selectCertificates + `request = $1 AND closed = 0`

// makeWay closes what the request has, where that gives way; else it is has.
func (l certificates) makeWay(ctx context.Context, tx transaction, c Certificate, since time.Time) (has *Certificate, gaveWay string, err error) {
	old, err := scanCertificate(tx.QueryRowContext(ctx, currentCertificate, c.Request[:]))
	switch {
	case errors.Is(err, sql.ErrNoRows): // ended since
		return nil, "", nil
	case err != nil:
		return nil, "", err
	case old.ID == c.ID, !old.GivesWay(c.Asked, since):
		return &old, "", nil
	}
	state := old.State
	if state == CertificateAsked {
		state, gaveWay = CertificateUnknown, old.gaveWay
	} else {
		gaveWay = old.ID
	}
	_, err = tx.ExecContext(ctx, `UPDATE certificates SET closed = $2, state = $3, ref = $4 WHERE id = $1 AND closed = 0`, old.ID, millis(c.Asked), string(state), old.Ref)
	return nil, gaveWay, err
}

const doubtfulCertificates = selectCertificates + `state <> 'issued' AND state = 'unknown' AND request = $1 AND revoked = 0 ORDER BY id`

// doubtful are those that may have been issued for the request before.
func (l certificates) doubtful(ctx context.Context, tx transaction, c Certificate) ([]Certificate, error) {
	rows, err := l.s.query(ctx, tx, doubtfulCertificates, c.Request[:])
	if err != nil {
		return nil, err
	}
	return collect(rows, scanCertificate)
}

// endCertificate leaves an entry closed that gave way, where another one has its
// place, or it was revoked in case it comes. The first mark stays.
const endCertificate = `UPDATE certificates SET state = $2, changed = $4, ref = $8,
		closed = CASE WHEN closed = 0 OR CAST($3 AS BIGINT) = 0 AND revoked = 0
			AND NOT EXISTS (SELECT 1 FROM certificates o WHERE o.request = certificates.request AND o.closed = 0) THEN $3 ELSE closed END,
		serial = CASE WHEN CAST($5 AS TEXT) = '' THEN serial ELSE $5 END,
		not_before = CASE WHEN CAST($6 AS BIGINT) = 0 THEN not_before ELSE $6 END,
		not_after = CASE WHEN CAST($7 AS BIGINT) = 0 THEN not_after ELSE $7 END,
		sha256 = $9, certificate = $10,
		reason = CASE WHEN revoked = 0 THEN $12 ELSE reason END, revoked = CASE WHEN revoked = 0 THEN $11 ELSE revoked END
	WHERE id = $1 AND state <> 'issued' RETURNING closed`

const deleteCertificate = `DELETE FROM certificates WHERE id = $1 AND state <> 'issued'`

// reopenCertificate gives a request back what it had, unless it has something else.
const reopenCertificate = `UPDATE certificates SET closed = 0 WHERE id = $1 AND state = 'issued' AND closed <> 0
	AND NOT EXISTS (SELECT 1 FROM certificates o WHERE o.request = certificates.request AND o.closed = 0)`

// The statements of each enrolment.
var (
	writtenCertificates = []string{insertCertificate, usedSerial, doubtfulCertificates, endCertificate, deleteCertificate}
	readCertificates    = []string{currentCertificate, barredCertificate}
)

// Ended implements Ledger.
func (l certificates) Ended(ctx context.Context, e CertificateEnd) error {
	if err := wantStorable("text of a certificate", e.ID, string(e.State), e.Ref, e.Serial); err != nil {
		return err
	}
	write := l.s.writer.writeAlone
	if e.reopens() {
		write = l.s.writer.write // two rows change
	}
	if e.State == "" {
		return write(ctx, func(ctx context.Context, tx transaction) error {
			if err := one(l.s.exec(ctx, tx, deleteCertificate, e.ID)); err != nil {
				return err
			}
			return l.reopen(ctx, tx, e)
		})
	}
	var closed int64 // what it is once the state is as asked for
	if !e.State.live() {
		closed = millis(e.Now)
	}
	var revoked int64
	if e.Revoked {
		revoked = millis(e.Now)
	}
	args := []any{
		e.ID, string(e.State), closed, millis(e.Now), e.Serial, millis(e.NotBefore), millis(e.NotAfter), e.Ref,
		hashed(e.SHA256), there(e.DER), revoked, e.Reason,
	}
	late := false
	err := write(ctx, func(ctx context.Context, tx transaction) error {
		rows, err := l.s.query(ctx, tx, endCertificate, args...)
		if err != nil {
			return err
		}
		was, err := collect(rows, func(r scanner) (at int64, err error) { return at, r.Scan(&at) })
		if err == nil && len(was) == 0 {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		late = e.State.live() && was[0] != 0
		return l.reopen(ctx, tx, e)
	})
	if err == nil && late {
		return fmt.Errorf("%w: the certificate came so late that another one may have been issued for the request", ErrTaken)
	}
	return err
}

// reopens tells whether what gave way may be had again.
func (e CertificateEnd) reopens() bool { return e.GaveWay != "" && !e.State.live() }

func (l certificates) reopen(ctx context.Context, tx transaction, e CertificateEnd) error {
	if !e.reopens() {
		return nil
	}
	_, err := tx.ExecContext(ctx, reopenCertificate, e.GaveWay)
	return err
}

// Current implements Ledger.
func (l certificates) Current(ctx context.Context, request [32]byte) (Certificate, error) {
	return l.read(ctx, currentCertificate, request[:])
}

const abandonedCertificates = selectCertificates + `state <> 'issued' AND state = 'asked' AND node = $1 AND (asked < $2 OR asked > $3)`

// Abandoned implements Ledger.
func (l certificates) Abandoned(ctx context.Context, node string, before, now time.Time) (n int, err error) {
	err = l.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		rows, err := l.s.query(ctx, tx, abandonedCertificates, node, millis(before), millis(now))
		if err != nil {
			return err
		}
		left, err := collect(rows, scanCertificate)
		if err != nil {
			return err
		}
		for _, c := range left {
			_, err := tx.ExecContext(ctx, `UPDATE certificates SET state = 'unknown', closed = $2, changed = $2, ref = '' WHERE id = $1`, c.ID, millis(now))
			if err == nil {
				err = l.reopen(ctx, tx, CertificateEnd{GaveWay: c.gaveWay})
			}
			if err != nil {
				return err
			}
		}
		n = len(left)
		return nil
	})
	return n, err
}

// markRevoked keeps the first mark.
const markRevoked = `UPDATE certificates SET
	reason = CASE WHEN revoked = 0 THEN $3 ELSE reason END, by_whom = CASE WHEN revoked = 0 THEN $4 ELSE by_whom END,
	revoked = CASE WHEN revoked = 0 THEN $2 ELSE revoked END WHERE `

// Revoked implements Ledger.
func (l certificates) Revoked(ctx context.Context, id string, m Mark) error {
	if err := wantStorable("name of who revokes", m.By); err != nil {
		return err
	}
	return l.s.writer.writeAlone(ctx, func(ctx context.Context, tx transaction) error {
		return one(tx.ExecContext(ctx, markRevoked+`id = $1`, id, millis(m.At), m.Reason, m.By))
	})
}

// RevokedCertificate implements Ledger.
func (l certificates) RevokedCertificate(ctx context.Context, c Certificate, m Mark) error {
	if err := errors.Join(c.storable(), wantStorable("name of who revokes", m.By)); err != nil {
		return err
	}
	return l.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		mark := func() error {
			return one(tx.ExecContext(ctx, markRevoked+`serial = $5 AND sha256 = $1`, c.SHA256[:], millis(m.At), m.Reason, m.By, c.Serial))
		}
		if err := mark(); !errors.Is(err, ErrUnknown) {
			return err
		}
		if _, err := l.s.exec(ctx, tx, insertCertificate, c.values()...); err != nil {
			return err
		}
		return mark()
	})
}

const barredCertificate = `SELECT revoked, blocked FROM certificates WHERE serial = $1 AND sha256 = $2`

// Barred implements Ledger.
func (l certificates) Barred(ctx context.Context, serial string, sha256 [32]byte) (s Standing, err error) {
	err = l.s.look(ctx, mostRead, func(ctx context.Context) error {
		row := l.s.row(ctx, barredCertificate, serial, sha256[:])
		var revoked, blocked int64
		if err := row.Scan(&revoked, &blocked); err != nil {
			return unknown(err)
		}
		s = Standing{fromMillis(revoked), fromMillis(blocked)}
		return nil
	})
	return s, err
}

// read gives one entry.
func (l certificates) read(ctx context.Context, query string, args ...any) (c Certificate, err error) {
	err = l.s.look(ctx, mostRead, func(ctx context.Context) error {
		c, err = scanCertificate(l.s.row(ctx, query, args...))
		return unknown(err)
	})
	if err == nil && l.s.settled != nil {
		l.s.settled() // somebody may be given what it says
	}
	return c, err
}
