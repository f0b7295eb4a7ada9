// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
)

// Renewals keep how certificates go back to an enrolment, for as long as they
// may be renewed.
type Renewals interface {
	// Chain gives what is known of the first of these ids of which something
	// is. ErrUnknown tells that it is of none.
	Chain(ctx context.Context, ids ...[32]byte) (policy.Chain, error)
	// KeepChains remembers chains, all or none, and forgets those whose time has
	// passed. Where an id is there already, what is stricter stays: the more
	// renewals, and the earlier enrolment.
	KeepChains(ctx context.Context, links []Link, now time.Time) error
}

// A Link is the chain of one certificate.
type Link struct {
	// ID is the SHA-256 of the certificate or, of one that the CA may have issued
	// and nobody has seen, of its SubjectPublicKeyInfo.
	ID    [32]byte
	Chain policy.Chain
	// Until is how long the certificate may be renewed.
	Until time.Time
}

type renewals struct{ s *sqlStore }

// Chain implements Renewals.
func (r renewals) Chain(ctx context.Context, ids ...[32]byte) (chain policy.Chain, err error) {
	err = r.s.look(ctx, mostRead, func(ctx context.Context) error {
		for _, id := range ids {
			var since int64
			err := r.s.reads.QueryRowContext(ctx, `SELECT renewals, since FROM renewals WHERE id = $1`, id[:]).Scan(&chain.Renewals, &since)
			if !errors.Is(err, sql.ErrNoRows) {
				chain.Since = fromMillis(since)
				return err
			}
		}
		return ErrUnknown
	})
	return chain, err
}

// KeepChains implements Renewals.
func (r renewals) KeepChains(ctx context.Context, links []Link, now time.Time) error {
	// In one order, as claims are reserved.
	links = slices.SortedFunc(slices.Values(links), func(a, b Link) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return r.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM renewals WHERE until < $1`, millis(now)); err != nil {
			return err
		}
		for _, l := range links {
			if _, err := tx.ExecContext(ctx, `INSERT INTO renewals (id, renewals, since, until) VALUES ($1, $2, $3, $4)
				ON CONFLICT (id) DO UPDATE SET
					renewals = CASE WHEN renewals.renewals < excluded.renewals THEN excluded.renewals ELSE renewals.renewals END,
					since = CASE WHEN renewals.since > excluded.since THEN excluded.since ELSE renewals.since END,
					until = CASE WHEN renewals.until < excluded.until THEN excluded.until ELSE renewals.until END`,
				l.ID[:], l.Chain.Renewals, millis(l.Chain.Since), millis(l.Until)); err != nil {
				return err
			}
		}
		return nil
	})
}
