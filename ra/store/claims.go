// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
)

type claims struct{ s *sqlStore }

// claimColumns are those of a LEFT JOIN: NULL where there is no claim.
const claimColumns = `c.request, c.until, c.issued, c.collected`

// A claimRow is a claim that may not be there.
type claimRow struct {
	request                  []byte
	until, issued, collected sql.Null[int64]
}

func (r *claimRow) columns() []any {
	return []any{&r.request, &r.until, &r.issued, &r.collected}
}

func (r *claimRow) claim() Claim {
	if !r.until.Valid {
		return Claim{}
	}
	c := Claim{Until: fromMillis(r.until.V), Issued: fromMillis(r.issued.V), Collected: fromMillis(r.collected.V), set: true}
	copy(c.For[:], r.request)
	return c
}

// inOrder is the one order in which rows are locked: two requests for the same
// things never wait for each other.
func inOrder(uses []policy.Use) []policy.Use {
	return slices.SortedFunc(slices.Values(uses), func(a, b policy.Use) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
}

// Reserve implements Claims.
func (c claims) Reserve(ctx context.Context, r Reservation) error {
	return c.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		return reserveAll(ctx, tx, r)
	})
}

// reserveAll reserves all, or nothing.
func reserveAll(ctx context.Context, tx transaction, r Reservation) error {
	for _, use := range inOrder(r.Uses) {
		if err := reserve(ctx, tx, use, r); err != nil {
			return fmt.Errorf("the %s %s: %w", use.Kind, use.ID, err)
		}
	}
	return nil
}

func reserve(ctx context.Context, tx transaction, use policy.Use, r Reservation) error {
	// What was found good at the gate may have changed since.
	if err := usable(ctx, tx, use, r.Now); err != nil {
		return err
	}
	// One statement decides, so that of several nodes one wins. A certificate
	// that was issued doesn't stay collectable for ever: the time runs from the
	// first one. The key is another one only where it is made for the device.
	err := one(tx.ExecContext(ctx, `INSERT INTO claims (kind, id, request, spki, holds, until, issued, collected)
		VALUES ($1, $2, $3, $4, 1, $5, 0, 0)
		ON CONFLICT (kind, id) DO UPDATE SET holds = claims.holds + 1,
			until = CASE WHEN claims.issued = 0 AND claims.until < excluded.until THEN excluded.until ELSE claims.until END, spki = excluded.spki
		WHERE claims.request = excluded.request AND (claims.issued = 0 OR claims.collected = 0 AND claims.until > $6)`,
		use.Kind, use.ID, r.For[:], r.SPKI[:], millis(r.Until), millis(r.Now)))
	if !errors.Is(err, ErrUnknown) {
		return err
	}
	var row claimRow
	err = tx.QueryRowContext(ctx, `SELECT `+claimColumns+` FROM claims c WHERE c.kind = $1 AND c.id = $2`, use.Kind, use.ID).Scan(row.columns()...)
	switch held := row.claim(); {
	case errors.Is(err, sql.ErrNoRows): // set free since
		return fmt.Errorf("%w: it was reserved for another request", ErrTaken)
	case err != nil:
		return err
	case held.For == r.For && held.usedUp(r.Now):
		return fmt.Errorf("%w: it was used for a certificate at %s", ErrTaken, held.Issued.Format(time.RFC3339))
	default:
		return fmt.Errorf("%w: it is reserved for a request with another key, label or names", ErrTaken)
	}
}

// usable looks again at what is reserved.
func usable(ctx context.Context, tx transaction, use policy.Use, now time.Time) error {
	switch use.Kind {
	case policy.UsePassword:
		row := tx.QueryRowContext(ctx, `SELECT `+passwordColumns+passwordsWithClaims+`WHERE p.id = $1`, use.ID)
		p, err := scanPassword(row)
		if err != nil {
			return unknown(err)
		}
		if err := p.usable(p.Label, now); err != nil {
			return fmt.Errorf("%w: %w", ErrTaken, err)
		}
		return nil
	case policy.UseDevice:
		row := tx.QueryRowContext(ctx, `SELECT `+deviceColumns+devicesWithClaims+`WHERE d.id = $1`, use.ID)
		d, err := scanDevice(row)
		if err != nil {
			return unknown(err)
		}
		if !d.MayBootstrap(now) {
			return fmt.Errorf("%w: the device is %s", ErrTaken, d.State)
		}
		return nil
	default:
		return fmt.Errorf("nothing is known of a %q that is used up", use.Kind)
	}
}

func unknown(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrUnknown
	}
	return err
}

// Settle implements Claims.
func (c claims) Settle(ctx context.Context, s Settlement) error {
	return c.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		for _, use := range inOrder(s.Uses) {
			if err := settle(ctx, tx, use, s); err != nil {
				return fmt.Errorf("the %s %s: %w", use.Kind, use.ID, err)
			}
		}
		if s.Ended == Issued {
			for _, id := range s.Devices {
				if err := addCertificate(ctx, tx, id, s); err != nil {
					return fmt.Errorf("the device %s: %w", id, err)
				}
			}
		}
		if s.Collected == ([32]byte{}) {
			return nil
		}
		_, err := tx.ExecContext(ctx, `UPDATE claims SET collected = $2 WHERE spki = $1 AND issued > 0 AND collected = 0`,
			s.Collected[:], millis(s.Now))
		return err
	})
}

// settle ends one reservation. Where nothing was issued, and no other request
// is under way or unknown, what was reserved is free again.
func settle(ctx context.Context, tx transaction, use policy.Use, s Settlement) error {
	switch s.Ended {
	case Issued:
		_, err := tx.ExecContext(ctx, `UPDATE claims SET issued = CASE WHEN issued = 0 THEN $3 ELSE issued END
			WHERE kind = $1 AND id = $2`, use.Kind, use.ID, millis(s.Now))
		if err != nil || use.Kind != policy.UseDevice {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE devices SET state = $2, changed = $3 WHERE id = $1 AND state = $4`,
			use.ID, policy.Enrolled, millis(s.Now), policy.Expected)
		return err
	case NotIssued:
		_, err := tx.ExecContext(ctx, `UPDATE claims SET holds = holds - 1 WHERE kind = $1 AND id = $2 AND holds > 0`, use.Kind, use.ID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM claims WHERE kind = $1 AND id = $2 AND holds = 0 AND issued = 0`, use.Kind, use.ID)
		return err
	default:
		return nil // the hold stays: somebody may have a certificate
	}
}
