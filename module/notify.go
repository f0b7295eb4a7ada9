// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/est"
	"github.com/caddy-est/estra/ra/webhook"
)

// A notifier tells a service of requests that wait, beside the requests: what it
// does, or doesn't do, changes no answer.
type notifier struct {
	hook  *webhook.Hook
	queue chan webhook.Notice
}

// mostNotices is how many may wait to be told. What comes on top is lost, and
// logged: `pending list` has all.
const mostNotices = 1000

// noticeRetries are the waits before a notice is tried again.
var noticeRetries = []time.Duration{time.Second, 10 * time.Second, time.Minute}

// loadNotifier makes it; nil where none is configured.
func (h *Handler) loadNotifier() error {
	if h.Notify == nil {
		return nil
	}
	hook, err := h.Notify.load()
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	h.notifier = &notifier{hook, make(chan webhook.Notice, mostNotices)}
	return nil
}

// notify has a request told that waits.
func (h *Handler) notify(rep est.Report, p *ra.Pended) {
	if h.notifier == nil {
		return
	}
	notice := webhook.Notice{
		Event: "est_pending", ID: p.ID, RequestID: rep.RequestID, Op: string(p.Op), Label: p.Label, Profile: p.Profile,
		Who: p.Who, Names: p.Names, Needs: p.Needs, Expires: p.Expires.UTC(),
	}
	select {
	case h.notifier.queue <- notice:
	default:
		h.log.Error("a request that waits was not told to `notify`: too many are to be told", zap.String("id", p.ID))
	}
}

// keepTelling tells what is in the queue, one after the other.
func (h *Handler) keepTelling(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-h.notifier.queue:
			h.tell(ctx, n)
		}
	}
}

func (h *Handler) tell(ctx context.Context, n webhook.Notice) {
	for i := 0; ; i++ {
		err := h.notifier.hook.Tell(ctx, n)
		if err == nil || ctx.Err() != nil {
			return
		}
		if i == len(noticeRetries) {
			h.log.Error("a request that waits could not be told to `notify`", zap.String("id", n.ID), zap.Error(err))
			return
		}
		h.log.Warn("a request that waits could not be told to `notify`; it is tried again", zap.String("id", n.ID), zap.Error(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(noticeRetries[i]):
		}
	}
}

// keepJudgement keeps the record of what somebody says of a request that waits.
func (h *Handler) keepJudgement(ctx context.Context, r *audit.Record) error {
	r.Node = audit.Text(h.server.Node)
	if keeper, must := audit.Required(h.server.Sink); must {
		if err := keeper.Ready(ctx); err != nil {
			return err
		}
		return keeper.Write(context.WithoutCancel(ctx), r)
	}
	// As with an answer: a log doesn't say that it failed, and a chain that is
	// written as far as it can be holds nothing up.
	if err := h.server.Sink.Write(context.WithoutCancel(ctx), r); err != nil {
		h.log.Error("the audit record of a decision could not be written", zap.String("id", r.ID.String()), zap.Error(err))
	}
	return nil
}
