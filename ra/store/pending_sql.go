// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

type pending struct{ s *sqlStore }

const (
	pendingColumns  = `request, id, wanted, validity, policy, state, needs, op, label, profile, who, names, record, uses, asked, changed, expires`
	decisionColumns = `id, approver, name, method, approves, note, disclose, at`
)

func scanWaiting(row scanner) (w Waiting, err error) {
	var request, wanted []byte
	var uses string
	var validity, asked, changed, expires int64
	if err := row.Scan(&request, &w.ID, &wanted, &validity, &w.PolicySHA256, &w.State, &w.Needs, &w.Op, &w.Label, &w.Profile, &w.Who, &w.Names,
		&w.Record, &uses, &asked, &changed, &expires); err != nil {
		return w, err
	}
	copy(w.Request[:], request)
	copy(w.Wanted[:], wanted)
	w.Validity = time.Duration(validity) * time.Second
	w.Asked, w.Changed, w.Expires = fromMillis(asked), fromMillis(changed), fromMillis(expires)
	return w, json.Unmarshal([]byte(uses), &w.Reserve.Uses)
}

func scanDecision(row scanner) (d PendingDecision, err error) {
	var approves, disclose, at int64
	err = row.Scan(&d.ID, &d.Approver, &d.Name, &d.Method, &approves, &d.Note, &disclose, &at)
	d.Approves, d.Disclose, d.At = approves != 0, disclose != 0, fromMillis(at)
	return d, err
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// A querier is a database, or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// waiting reads one, with what was said of it; ErrUnknown: there is none.
func waiting(ctx context.Context, q querier, where string, args ...any) (Waiting, error) {
	all, err := waitings(ctx, q, where, args...)
	if err != nil {
		return Waiting{}, err
	}
	if len(all) == 0 {
		return Waiting{}, ErrUnknown
	}
	return all[0], nil
}

func waitings(ctx context.Context, q querier, where string, args ...any) ([]Waiting, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+pendingColumns+` FROM pending WHERE `+where+` ORDER BY asked, id`, args...)
	if err != nil {
		return nil, err
	}
	all, err := collect(rows, scanWaiting)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	rows, err = q.QueryContext(ctx, `SELECT `+decisionColumns+` FROM pending_decisions
		WHERE id IN (SELECT id FROM pending WHERE `+where+`) ORDER BY at, approver`, args...)
	if err != nil {
		return nil, err
	}
	said, err := collect(rows, scanDecision)
	if err != nil {
		return nil, err
	}
	of := map[string][]PendingDecision{}
	for _, d := range said {
		of[d.ID] = append(of[d.ID], d)
	}
	for i := range all {
		w := &all[i]
		w.Decisions = of[w.ID]
		if w.State == PendingWaiting && len(w.Decisions) >= w.Needs {
			w.State = PendingApproved
		}
	}
	return all, nil
}

// look reads outside of a change.
func (p pending) look(ctx context.Context, most time.Duration, where string, args ...any) (all []Waiting, err error) {
	err = p.s.look(ctx, most, func(ctx context.Context) error {
		all, err = waitings(ctx, p.s.reads, where, args...)
		return err
	})
	return all, err
}

// Find implements Pending.
func (p pending) Find(ctx context.Context, id string, now time.Time) (Waiting, error) {
	all, err := p.look(ctx, mostRead, `id = $1 AND expires > $2`, id, millis(now))
	if err == nil && len(all) == 0 {
		err = ErrUnknown
	}
	if err != nil {
		return Waiting{}, err
	}
	return all[0], nil
}

// List implements Pending.
func (p pending) List(ctx context.Context, now time.Time) ([]Waiting, error) {
	return p.look(ctx, mostListed, `expires > $1`, millis(now))
}

// Count implements Pending.
func (p pending) Count(ctx context.Context, now time.Time) (n int, err error) {
	err = p.s.look(ctx, mostRead, func(ctx context.Context) error {
		return p.s.reads.QueryRowContext(ctx, `SELECT COUNT(*) FROM pending p WHERE state = 'waiting' AND expires > $1
			AND needs > (SELECT COUNT(*) FROM pending_decisions d WHERE d.id = p.id)`, millis(now)).Scan(&n)
	})
	return n, err
}

// same tells whether nothing is to be written of a repeat.
func (w Waiting) same(a Asking) bool {
	return w.certifies(a) && w.Needs == a.Needs
}

// certifies tells whether the certificate is the one that was looked at.
func (w Waiting) certifies(a Asking) bool {
	return w.Wanted == a.Wanted && a.Validity.Truncate(time.Second) <= w.Validity
}

// Ask implements Pending. A repeat costs a look-up alone.
func (p pending) Ask(ctx context.Context, a Asking) (w Waiting, begun bool, err error) {
	if err := wantStorable("text of a request", a.Label, a.Profile, a.Who, a.Names); err != nil {
		return w, false, err
	}
	known, err := p.look(ctx, mostRead, `request = $1 AND expires > $2`, a.Request[:], millis(a.Now))
	if err != nil {
		return w, false, err
	}
	if len(known) > 0 && known[0].same(a) {
		return known[0], false, nil
	}
	id, err := randomText(p.s.random, idLength)
	if err != nil {
		return w, false, err
	}
	err = p.s.writer.write(ctx, func(ctx context.Context, tx transaction) (err error) {
		w, begun, err = ask(ctx, tx, id, a)
		return err
	})
	return w, begun, err
}

func ask(ctx context.Context, tx transaction, id string, a Asking) (w Waiting, begun bool, err error) {
	if _, err := forget(ctx, tx, a.Now); err != nil {
		return w, false, err
	}
	uses, err := json.Marshal(a.Reserve.Uses)
	if err != nil {
		return w, false, err
	}
	var others int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM pending`).Scan(&others); err != nil {
		return w, false, err
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO pending (`+pendingColumns+`)
		VALUES ($1, $2, $3, $4, $5, 'waiting', $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15) ON CONFLICT (request) DO NOTHING`,
		a.Request[:], id, a.Wanted[:], seconds(a.Validity), a.PolicySHA256, a.Needs, a.Op, a.Label, a.Profile, a.Who, a.Names, a.Record, string(uses), millis(a.Now), millis(a.Expires))
	switch err := one(result, err); {
	case err == nil && others >= MostWaiting:
		return w, false, ErrFull
	case err == nil:
		if err := reserveAll(ctx, tx, a.Reserve); err != nil {
			return w, false, err
		}
		w, err = waiting(ctx, tx, `request = $1`, a.Request[:])
		return w, true, err
	case !errors.Is(err, ErrUnknown):
		return w, false, err
	}
	if w, err = waiting(ctx, tx, `request = $1`, a.Request[:]); err != nil || w.same(a) {
		return w, false, err
	}
	if !w.certifies(a) {
		return anew(ctx, tx, w, a, string(uses))
	}
	_, err = tx.ExecContext(ctx, `UPDATE pending SET needs = $2, policy = $3, record = $4 WHERE request = $1`, a.Request[:], a.Needs, a.PolicySHA256, a.Record)
	if err != nil {
		return w, false, err
	}
	w, err = waiting(ctx, tx, `request = $1`, a.Request[:])
	return w, false, err
}

// anew lets a request wait again, for which another certificate is planned now.
func anew(ctx context.Context, tx transaction, old Waiting, a Asking, uses string) (w Waiting, begun bool, err error) {
	if err := old.release(ctx, tx, a.Now); err != nil {
		return w, false, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM pending_decisions WHERE id = $1`, old.ID); err != nil {
		return w, false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE pending SET wanted = $2, policy = $3, state = 'waiting', needs = $4, names = $5, record = $6, uses = $7, changed = $8, expires = $9, validity = $10
		WHERE request = $1`, a.Request[:], a.Wanted[:], a.PolicySHA256, a.Needs, a.Names, a.Record, uses, millis(a.Now), millis(a.Expires), seconds(a.Validity))
	if err != nil {
		return w, false, err
	}
	if err := reserveAll(ctx, tx, a.Reserve); err != nil {
		return w, false, err
	}
	w, err = waiting(ctx, tx, `request = $1`, a.Request[:])
	return w, true, err
}

// mostForgotten bounds what one write does for others.
const mostForgotten = 100

// forget ends requests whose time is over. What was reserved for them is free
// again, unless somebody may have a certificate for it.
func forget(ctx context.Context, tx transaction, now time.Time) (n int, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+pendingColumns+` FROM pending WHERE expires <= $1 ORDER BY expires, id LIMIT $2`, millis(now), mostForgotten)
	if err != nil {
		return n, err
	}
	old, err := collect(rows, scanWaiting)
	if err != nil {
		return n, err
	}
	for _, w := range old {
		// Another node may do the same: one of them deletes it.
		if err := one(tx.ExecContext(ctx, `DELETE FROM pending WHERE id = $1`, w.ID)); errors.Is(err, ErrUnknown) {
			continue
		} else if err != nil {
			return n, err
		}
		if err := w.release(ctx, tx, now); err != nil {
			return n, err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM pending_decisions WHERE id = $1`, w.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// release frees what was reserved. That of a denied one is free already, and
// what was used up stays so.
func (w Waiting) release(ctx context.Context, tx transaction, now time.Time) error {
	if w.State == PendingDenied || w.State == PendingIssued {
		return nil
	}
	for _, use := range inOrder(w.Reserve.Uses) {
		if err := settle(ctx, tx, use, Settlement{Ended: NotIssued, Now: now}); err != nil {
			return err
		}
	}
	return nil
}

// Decide implements Pending.
func (p pending) Decide(ctx context.Context, d PendingDecision) (w Waiting, err error) {
	if err := wantStorable("text of a decision", d.Approver, d.Name, d.Note); err != nil {
		return w, err
	}
	err = p.s.writer.write(ctx, func(ctx context.Context, tx transaction) (err error) {
		w, err = decide(ctx, tx, d)
		return err
	})
	return w, err
}

func decide(ctx context.Context, tx transaction, d PendingDecision) (w Waiting, err error) {
	// The row is locked first, so that of several decisions each sees the others.
	err = one(tx.ExecContext(ctx, `UPDATE pending SET needs = needs WHERE id = $1 AND expires > $2`, d.ID, millis(d.At)))
	if err != nil {
		return w, err
	}
	if w, err = waiting(ctx, tx, `id = $1`, d.ID); err != nil {
		return w, err
	}
	switch {
	case w.Wanted != d.Wanted || w.Validity != d.Validity:
		return w, ErrChanged
	case w.State == PendingDenied, w.State == PendingIssued, (w.State == PendingApproved || w.State == PendingOrdered) && d.Approves:
		return w, fmt.Errorf("%w: the request is %s", ErrTaken, w.State)
	}
	approves := 0
	if d.Approves {
		approves = 1
	}
	disclose := 0
	if d.Disclose {
		disclose = 1
	}
	insert := `INSERT INTO pending_decisions (` + decisionColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id, approver) DO `
	then := `NOTHING`
	if !d.Approves { // who has approved it may think again
		then = `UPDATE SET approves = excluded.approves, note = excluded.note, disclose = excluded.disclose, at = excluded.at`
	}
	err = one(tx.ExecContext(ctx, insert+then, d.ID, d.Approver, d.Name, d.Method, approves, d.Note, disclose, millis(d.At)))
	if errors.Is(err, ErrUnknown) {
		return w, fmt.Errorf("%w: %s has approved it already", ErrTaken, d.Name)
	}
	if err != nil {
		return w, err
	}
	state := PendingWaiting
	if !d.Approves {
		if err := w.release(ctx, tx, d.At); err != nil {
			return w, err
		}
		state = PendingDenied
	}
	if _, err := tx.ExecContext(ctx, `UPDATE pending SET state = $2, expires = $3 WHERE id = $1`, d.ID, string(state), millis(d.Expires)); err != nil {
		return w, err
	}
	return waiting(ctx, tx, `id = $1`, d.ID)
}

// Again implements Pending.
func (p pending) Again(ctx context.Context, id string, now, expires time.Time) (w Waiting, err error) {
	err = p.s.writer.write(ctx, func(ctx context.Context, tx transaction) (err error) {
		err = one(tx.ExecContext(ctx, `UPDATE pending SET state = 'waiting', changed = $2, expires = $3 WHERE id = $1 AND state = 'issued'`, id, millis(now), millis(expires)))
		if err == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM pending_decisions WHERE id = $1`, id)
		}
		if err == nil {
			w, err = waiting(ctx, tx, `id = $1`, id)
		}
		return err
	})
	return w, err
}

// Issued implements Pending.
func (p pending) Issued(ctx context.Context, id string, until time.Time) error {
	return p.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		return one(tx.ExecContext(ctx, `UPDATE pending SET state = 'issued', expires = CASE WHEN state = 'issued' THEN expires ELSE $2 END WHERE id = $1`, id, millis(until)))
	})
}
