// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// The pauses between two questions, where the CA names none.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 3 * time.Second
)

// Issue makes an order at the CA, or goes on with that of Ref. Ref is the order's
// URL. What takes longer than Wait, and what was sent without an answer once the
// order was finalized, is ra.Later: the CA keeps the order, and is asked for it.
func (u *Upstream) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	if o.Self() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "a CA that speaks ACME certifies no RA", nil)
	}
	w, err := u.express(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, err.Error(), nil)
	}
	ctx, n := noting(ctx, o.RequestID())
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Wait)
	defer cancel()
	r := &run{u: u, note: n, wish: w}
	if r.account, err = u.ourAccount(ctx, n); err != nil {
		return ra.Issued{}, err
	}
	order, err := r.begin(ctx, o)
	if err != nil {
		return ra.Issued{}, err
	}
	return r.finish(ctx, order)
}

// Defers implements ra.Deferrer: an order may take its time.
func (*Upstream) Defers() bool { return true }

// A run is one order on its way.
type run struct {
	u       *Upstream
	note    *note
	wish    wish
	account acme.Account
}

// begin gives the order at the CA.
func (r *run) begin(ctx context.Context, o ra.Order) (acme.Order, error) {
	if o.Ref() != "" {
		return r.resume(ctx, o.Ref())
	}
	wanted := acme.Order{Profile: r.u.cfg.Profile}
	for _, n := range r.wish.names {
		wanted.Identifiers = append(wanted.Identifiers, acme.Identifier{Type: "dns", Value: n})
	}
	if r.u.cfg.Times {
		from, to := o.NotBefore(), o.NotAfter()
		wanted.NotBefore, wanted.NotAfter = &from, &to
	}
	order, err := r.u.acme.NewOrder(ctx, r.account, wanted)
	if lostAccount(err) {
		if r.account, err = r.u.register(ctx, r.note, r.account.Location); err != nil {
			return order, err
		}
		order, err = r.u.acme.NewOrder(ctx, r.account, wanted)
	}
	if err != nil {
		return order, r.u.failed(ctx, r.note, stepOrder, err)
	}
	return order, r.known(order)
}

// resume reads an order that the CA has.
func (r *run) resume(ctx context.Context, ref string) (acme.Order, error) {
	address, err := url.Parse(ref)
	if err != nil || r.u.ours(address) != nil {
		return acme.Order{}, ra.Fail(ra.UpstreamRefused, "the order to go on with is none of this CA", nil)
	}
	order := acme.Order{Location: ref}
	if order, err = r.u.acme.GetOrder(ctx, r.account, order); err != nil {
		return order, r.u.failed(ctx, r.note, stepOrder, err)
	}
	return order, r.known(order)
}

// known refuses an order without an address, by which alone it can be asked for.
func (r *run) known(order acme.Order) error {
	address, err := url.Parse(order.Location)
	if err != nil || order.Location == "" {
		return ra.Fail(ra.UpstreamDown, name+" made an order without an address", nil)
	}
	return r.u.ours(address)
}

// finish takes an order through its states (RFC 8555 section 7.1.6).
func (r *run) finish(ctx context.Context, order acme.Order) (ra.Issued, error) {
	finalized := order.Status == acme.StatusProcessing || order.Status == acme.StatusValid
	solved := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		var err error
		switch {
		case order.Status == acme.StatusValid:
			return r.download(ctx, order)
		case order.Status == acme.StatusInvalid:
			return ra.Issued{}, refusedOrder(order)
		case order.Status == acme.StatusPending && !solved:
			solved, err = true, r.solve(ctx, order)
		case order.Status == acme.StatusReady && !finalized:
			finalized = true
			if order, err = r.finalize(ctx, order); err == nil && order.Status != acme.StatusReady {
				continue
			}
		case order.Status == acme.StatusPending, order.Status == acme.StatusReady, order.Status == acme.StatusProcessing:
			err = r.pause(ctx, pause)
		default:
			err = ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s says that the order is %q", name, upstream.Line(order.Status)), nil)
		}
		if err == nil {
			order, err = r.again(ctx, order)
		}
		if err != nil {
			return ra.Issued{}, r.left(ctx, order, finalized, err)
		}
	}
}

// again asks for the order's state.
func (r *run) again(ctx context.Context, order acme.Order) (acme.Order, error) {
	now, err := r.u.acme.GetOrder(ctx, r.account, order)
	if err != nil {
		return order, r.u.failed(ctx, r.note, stepOrder, err)
	}
	return now, nil
}

// finalize sends the request. Where it isn't known whether it came, the order's
// state tells.
func (r *run) finalize(ctx context.Context, order acme.Order) (acme.Order, error) {
	done, err := r.u.acme.FinalizeOrder(ctx, r.account, order, r.wish.csr)
	if done.Location == "" || r.known(done) != nil {
		done.Location = order.Location
	}
	if done.Status != acme.StatusReady {
		return done, nil // its state is known, whatever the error says of it
	}
	if p, ok := errors.AsType[acme.Problem](err); ok && p.Type != acme.ProblemTypeOrderNotReady {
		return order, r.u.problem(r.note, stepFinalize, p)
	}
	if err != nil && ctx.Err() == nil {
		if own, ok := errors.AsType[*ra.Error](err); ok {
			return order, own
		}
	}
	return done, nil
}

// left is the error of an order that isn't done.
func (r *run) left(ctx context.Context, order acme.Order, finalized bool, err error) error {
	own, ok := errors.AsType[*ra.Error](err)
	switch {
	case ok && own.Kind == ra.UpstreamRefused:
		return own
	case ctx.Err() != nil || !ok:
		return ra.Later(order.Location, r.note.after(r.u.cfg.Now()), fmt.Sprintf("the order is %s at %s, and is gone on with", order.Status, name))
	case finalized:
		// It may be issued, and the order tells.
		return ra.Later(order.Location, own.RetryAfter, own.Text()+"; the order is finalized, and is asked for again")
	}
	return own
}

// pause waits as long as the CA says, or else for as long as we do.
func (r *run) pause(ctx context.Context, pause time.Duration) error {
	if after := r.note.after(r.u.cfg.Now()); after > 0 {
		pause = after
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < pause {
		return errLater
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errLater
	}
}

// refusedOrder says why an order is invalid.
func refusedOrder(order acme.Order) error {
	said := ""
	if order.Error != nil {
		said = ": " + problemText(*order.Error)
	}
	return ra.Fail(ra.UpstreamRefused, fmt.Sprintf("%s has refused the order %s%s", name, upstream.Line(order.Location), said), nil)
}
