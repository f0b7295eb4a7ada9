// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// mostEntries is the size of a page where none is said.
const mostEntries = 1000

// Get implements Inventory.
func (l certificates) Get(ctx context.Context, id string) (Certificate, error) {
	if !storable(id) {
		return Certificate{}, ErrUnknown
	}
	return l.read(ctx, selectCertificates+`id = $1`, id)
}

// BySHA256 implements Inventory.
func (l certificates) BySHA256(ctx context.Context, serial string, sha256 [32]byte) (Certificate, error) {
	if serial != "" && storable(serial) {
		return l.read(ctx, selectCertificates+`serial = $1 AND sha256 = $2`, serial, sha256[:])
	}
	// There is no index of hashes: an entry at a place of its own would cost each
	// enrolment more than all the others, which go to the end.
	all, err := list(ctx, l.s, mostListed, scanCertificate, selectCertificates+`sha256 = $1`, sha256[:])
	if err == nil && len(all) == 0 {
		err = ErrUnknown
	}
	if err != nil {
		return Certificate{}, err
	}
	return all[0], nil
}

// BySerial implements Inventory.
func (l certificates) BySerial(ctx context.Context, serial string) ([]Certificate, error) {
	if serial == "" || !storable(serial) {
		return nil, nil
	}
	return list(ctx, l.s, mostRead, scanCertificate, selectCertificates+`serial = $1 ORDER BY id DESC`, serial)
}

// A condition collects what a query wants.
type condition struct {
	terms []string
	args  []any
}

// add takes a term with %s where its value stands.
func (c *condition) add(term string, value any) {
	c.args = append(c.args, value)
	c.terms = append(c.terms, strings.ReplaceAll(term, "%s", fmt.Sprintf("$%d", len(c.args))))
}

// List implements Inventory.
func (l certificates) List(ctx context.Context, q CertificateQuery) ([]Certificate, error) {
	if err := wantStorable("text of a query", string(q.State), q.Upstream, q.Profile, q.Name, q.Serial, q.Before); err != nil {
		return nil, err
	}
	where := q.condition()
	most := q.Most
	if most <= 0 {
		most = mostEntries
	}
	where.args = append(where.args, most)
	query := selectCertificates + strings.Join(where.terms, " AND ") + fmt.Sprintf(" ORDER BY id DESC LIMIT $%d", len(where.args))
	return list(ctx, l.s, mostListed, scanCertificate, query, where.args...)
}

func (q CertificateQuery) condition() *condition {
	where := &condition{terms: []string{"1 = 1"}}
	for _, text := range []struct{ column, value string }{
		{"state", string(q.State)}, {"upstream", q.Upstream}, {"profile", q.Profile}, {"serial", q.Serial},
	} {
		if text.value != "" {
			where.add(text.column+" = %s", text.value)
		}
	}
	if q.State != "" && q.State != CertificateIssued {
		where.terms = append(where.terms, "state <> 'issued'") // an index has these alone
	}
	if q.Name != "" {
		where.add(`lower(names) LIKE %s ESCAPE '!'`, "%"+strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(lowerASCII(q.Name))+"%")
	}
	if !q.EndsFrom.IsZero() {
		where.add("not_after >= %s", millis(q.EndsFrom))
	}
	if !q.EndsBefore.IsZero() {
		where.add("not_after < %s", millis(q.EndsBefore))
	}
	if q.Doubtful {
		where.add("state <> 'issued' AND revoked = 0 AND (state = 'unknown' OR state = 'asked' AND lease <= %s)", millis(q.Now))
	}
	if q.Revoked {
		where.terms = append(where.terms, "revoked <> 0")
	}
	if q.Blocked {
		where.terms = append(where.terms, "blocked <> 0")
	}
	if q.Before != "" {
		where.add("id < %s", q.Before)
	}
	return where
}

// lowerASCII is lower() of both engines: PostgreSQL's is of the collation "C".
func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// Block implements Inventory.
func (l certificates) Block(ctx context.Context, id string, m Mark) error {
	if err := wantStorable("name of who blocks", m.By); err != nil {
		return err
	}
	return l.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		return one(tx.ExecContext(ctx, `UPDATE certificates SET
			by_whom = CASE WHEN blocked = 0 AND revoked = 0 THEN $3 ELSE by_whom END,
			blocked = CASE WHEN blocked = 0 THEN $2 ELSE blocked END WHERE id = $1`, id, millis(m.At), m.By))
	})
}

// Unblock implements Inventory.
func (l certificates) Unblock(ctx context.Context, id string) error {
	return l.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		return one(tx.ExecContext(ctx, `UPDATE certificates SET blocked = 0,
			by_whom = CASE WHEN revoked = 0 THEN '' ELSE by_whom END WHERE id = $1 AND blocked <> 0`, id))
	})
}

// Import implements Inventory.
func (l certificates) Import(ctx context.Context, all []Certificate, now time.Time) (added, known int, err error) {
	for _, c := range all {
		if err := c.storable(); err != nil {
			return 0, 0, err
		}
		if c.SHA256 == [32]byte{} || len(c.DER) == 0 || c.ID == "" || c.Serial == "" {
			return 0, 0, errors.New("a certificate that is imported has its bytes, their hash, a serial number and an id")
		}
	}
	err = l.s.writer.writeMany(ctx, len(all), func(ctx context.Context, tx transaction) error {
		added, known = 0, 0
		for _, c := range all {
			var there int
			if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM certificates WHERE serial = $1 AND sha256 = $2`, c.Serial, c.SHA256[:]).Scan(&there); err != nil {
				return err
			}
			c.State, c.Imported, c.Request, c.Closed = CertificateIssued, now, c.SHA256, time.Time{}
			if c.Changed.IsZero() {
				c.Changed = now
			}
			if there == 0 {
				// Of two nodes that import the same one, the second finds its request taken.
				switch err := one(l.s.exec(ctx, tx, insertCertificate, c.values()...)); {
				case errors.Is(err, ErrUnknown):
				case err != nil:
					return err
				default:
					added++
					continue
				}
			}
			known++
		}
		return nil
	})
	return added, known, err
}
