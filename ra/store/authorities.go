// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Authorities are the CAs of this process: what they have issued and revoked, and
// their lists. An issuer is named by the identifier of its key, in lower-case
// hexadecimal.
type Authorities interface {
	// Revoke notes that a certificate is revoked, whether it is known or not, at
	// c.Revoked for c.Reason. Of a certificate that was revoked before, time and
	// reason stay.
	Revoke(ctx context.Context, c CACertificate) error
	// Entry gives what is known of one certificate, whether the Ledger has it or it
	// was revoked; ErrUnknown: nothing is.
	Entry(ctx context.Context, issuer string, serial *big.Int) (CACertificate, error)
	// List gives the issuer's last list, without DER where its number is have;
	// ErrUnknown: there is none.
	List(ctx context.Context, issuer string, have int64) (RevocationList, error)
	// NewList makes a list in the place of the last one, for nodes one after the
	// other. Due is asked whether it is still wanted (the zero list: there is
	// none), and then sign makes it of all that are revoked, by the time of that.
	// The number is greater than any before, and no less than the time in seconds,
	// so that it grows also where a store was lost. What need not be kept any more
	// is forgotten.
	NewList(ctx context.Context, issuer string, now time.Time, due func(RevocationList) bool, sign SignList) (RevocationList, error)
}

// A CACertificate is one that a CA of this process has issued, or revoked.
type CACertificate struct {
	Issuer   string
	Serial   *big.Int
	CA       string // for people
	Issued   time.Time
	NotAfter time.Time // zero: unknown
	Revoked  time.Time // zero: not
	Reason   int       // CRLReason (RFC 5280 section 5.3.1)
	// Until is how long it is kept.
	Until time.Time
}

// A RevocationList is a CRL.
type RevocationList struct {
	Number                 int64
	ThisUpdate, NextUpdate time.Time
	DER                    []byte
	// Behind says that it lacks a revocation.
	Behind bool
}

// SignList makes a list. It may be called twice.
type SignList func(number int64, revoked []CACertificate) (RevocationList, error)

type authorities struct{ s *sqlStore }

// Revoke implements Authorities.
func (l authorities) Revoke(ctx context.Context, c CACertificate) error {
	if err := c.check(); err != nil {
		return err
	}
	return l.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		// First of all: who makes a list waits for this, and then it has it.
		if err := turnOf(ctx, tx, c.Issuer); err != nil {
			return err
		}
		changed, err := tx.ExecContext(ctx, `INSERT INTO ca_certificates (issuer, serial, ca, issued, not_after, revoked, reason, until)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (issuer, serial) DO UPDATE SET revoked = excluded.revoked, reason = excluded.reason,
			until = CASE WHEN ca_certificates.until < excluded.until THEN excluded.until ELSE ca_certificates.until END
			WHERE ca_certificates.revoked = 0`,
			c.Issuer, c.Serial.Bytes(), c.CA, millis(c.Issued), millis(c.NotAfter), millis(c.Revoked), c.Reason, millis(c.Until))
		if err := one(changed, err); err != nil {
			if errors.Is(err, ErrUnknown) {
				return nil // it was revoked before
			}
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE ca_lists SET changes = changes + 1 WHERE issuer = $1`, c.Issuer)
		return err
	})
}

func (c CACertificate) check() error {
	if c.Issuer == "" || c.Serial == nil || c.Serial.Sign() <= 0 {
		return errors.New("want an issuer's key and a positive serial number")
	}
	if c.Until.IsZero() {
		return errors.New("want how long it is to be kept")
	}
	return wantStorable("name of a CA", c.Issuer, c.CA)
}

// turnOf holds the issuer's row until the transaction ends.
func turnOf(ctx context.Context, tx transaction, issuer string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO ca_lists (issuer, number, this_update, next_update, der, changes, covers)
		VALUES ($1, 0, 0, 0, $2, 0, 0) ON CONFLICT (issuer) DO UPDATE SET changes = ca_lists.changes`, issuer, []byte{})
	return err
}

const entryColumns = `SELECT issuer, serial, ca, issued, not_after, revoked, reason, until FROM ca_certificates WHERE issuer = $1 AND `

func scanEntry(row scanner) (c CACertificate, err error) {
	var serial []byte
	var issued, notAfter, revoked, until int64
	err = row.Scan(&c.Issuer, &serial, &c.CA, &issued, &notAfter, &revoked, &c.Reason, &until)
	c.Serial = new(big.Int).SetBytes(serial)
	c.Issued, c.NotAfter, c.Revoked, c.Until = fromMillis(issued), fromMillis(notAfter), fromMillis(revoked), fromMillis(until)
	return c, err
}

const issuedColumns = `SELECT issuer, upstream, changed, not_after FROM certificates WHERE issuer = $1 AND serial = $2`

// scanIssued is for what is in the Ledger alone: it isn't revoked.
func scanIssued(row scanner) (c CACertificate, err error) {
	var issued, notAfter int64
	err = row.Scan(&c.Issuer, &c.CA, &issued, &notAfter)
	c.Issued, c.NotAfter = fromMillis(issued), fromMillis(notAfter)
	return c, err
}

// Entry implements Authorities.
func (l authorities) Entry(ctx context.Context, issuer string, serial *big.Int) (c CACertificate, err error) {
	if serial == nil || serial.Sign() <= 0 || !storable(issuer) {
		return c, ErrUnknown
	}
	err = l.s.look(ctx, mostRead, func(ctx context.Context) (err error) {
		c, err = scanEntry(l.s.reads.QueryRowContext(ctx, entryColumns+`serial = $2`, issuer, serial.Bytes()))
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		c, err = scanIssued(l.s.reads.QueryRowContext(ctx, issuedColumns, issuer, hex.EncodeToString(serial.Bytes())))
		c.Serial = serial
		return none(err)
	})
	return c, err
}

// none is ErrUnknown for a query without a row.
func none(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrUnknown
	}
	return err
}

const listColumns = `SELECT number, this_update, next_update, covers < changes, CASE WHEN number = $2 THEN $3 ELSE der END FROM ca_lists WHERE issuer = $1`

func scanList(row scanner) (list RevocationList, err error) {
	var this, next int64
	err = row.Scan(&list.Number, &this, &next, &list.Behind, &list.DER)
	list.ThisUpdate, list.NextUpdate = fromMillis(this), fromMillis(next)
	return list, none(err)
}

// List implements Authorities.
func (l authorities) List(ctx context.Context, issuer string, have int64) (list RevocationList, err error) {
	if !storable(issuer) {
		return list, ErrUnknown
	}
	err = l.s.look(ctx, mostRead, func(ctx context.Context) (err error) {
		list, err = scanList(l.s.reads.QueryRowContext(ctx, listColumns, issuer, have, []byte{}))
		if err == nil && list.Number == 0 { // the row of one that was never made
			return ErrUnknown
		}
		return err
	})
	return list, err
}

// mostListedRows is how many rows a list may take the time of.
const mostListedRows = 100_000

// NewList implements Authorities.
func (l authorities) NewList(ctx context.Context, issuer string, now time.Time, due func(RevocationList) bool, sign SignList) (made RevocationList, err error) {
	if issuer == "" || !storable(issuer) {
		return made, errors.New("want an issuer's key")
	}
	err = l.s.writer.writeMany(ctx, mostListedRows, func(ctx context.Context, tx transaction) (err error) {
		if err = turnOf(ctx, tx, issuer); err != nil {
			return err
		}
		if made, err = scanList(tx.QueryRowContext(ctx, listColumns, issuer, -1, []byte{})); err != nil || !due(made) {
			return err
		}
		if _, err = tx.ExecContext(ctx, `DELETE FROM ca_certificates WHERE until < $1`, millis(now)); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, entryColumns+`revoked > 0 ORDER BY revoked, serial`, issuer)
		if err != nil {
			return err
		}
		revoked, err := collect(rows, scanEntry)
		if err != nil {
			return err
		}
		number := max(made.Number+1, now.Unix())
		if made, err = sign(number, revoked); err != nil {
			return fmt.Errorf("the list can't be signed: %w", err)
		}
		made.Number, made.Behind = number, false
		_, err = tx.ExecContext(ctx, `UPDATE ca_lists SET number = $2, this_update = $3, next_update = $4, der = $5, covers = changes WHERE issuer = $1`,
			issuer, number, millis(made.ThisUpdate), millis(made.NextUpdate), made.DER)
		return err
	})
	return made, err
}
