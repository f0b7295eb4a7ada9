// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/estclient"
)

// maxBatch bounds the requests in one message: servers bound what they read, and
// Estra's own reads 64 KiB.
const maxBatch = 16

// A batcher puts requests that come at about the same time into one message (RFC
// 5272 section 3.2 lets a PKIData have several): one signature and one call for
// all of them. What becomes of one says nothing of another.
type batcher struct {
	wait time.Duration // of the first for others
	send func(ctx context.Context, wishes []estclient.Wish, requestID string) []result

	mu   sync.Mutex
	open *batch // nil: none waits
}

// A batch is a message that isn't sent yet, and then what came of it.
type batch struct {
	wishes    []estclient.Wish
	keys      map[string]bool
	requestID string // of the first: a header has one
	full      chan struct{}
	done      chan struct{}
	results   []result // after done
}

// A result is what became of one request.
type result struct {
	issued ra.Issued
	err    error
}

// issue puts a request into the message that waits, or begins one.
func (b *batcher) issue(ctx context.Context, o ra.Order, wish estclient.Wish) (ra.Issued, error) {
	joined, i := b.join(ctx, o, wish)
	select {
	case <-joined.done:
		return joined.results[i].issued, joined.results[i].err
	case <-ctx.Done():
		// The message may be on its way.
		return ra.Issued{}, ra.Fail(ra.UpstreamTimeout, "the EST server has not answered in time; it may have issued", ctx.Err())
	}
}

// join finds a place. Two requests with one key never share a message: their
// certificates couldn't be told apart.
func (b *batcher) join(ctx context.Context, o ra.Order, wish estclient.Wish) (*batch, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := string(o.CSR().RawSPKI)
	if b.open != nil && b.open.keys[key] {
		b.close()
	}
	if b.open == nil {
		b.open = &batch{keys: map[string]bool{}, requestID: o.RequestID(), full: make(chan struct{}), done: make(chan struct{})}
		// A client that hangs up must not fail the others.
		go b.run(context.WithoutCancel(ctx), b.open)
	}
	joined, i := b.open, len(b.open.wishes)
	joined.keys[key] = true
	joined.wishes = append(joined.wishes, wish)
	if len(joined.wishes) == maxBatch {
		b.close()
	}
	return joined, i
}

// close sends what waits. b.mu is held.
func (b *batcher) close() {
	close(b.open.full)
	b.open = nil
}

func (b *batcher) run(ctx context.Context, sent *batch) {
	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		b.mu.Lock()
		if b.open == sent {
			b.close()
		}
		b.mu.Unlock()
	case <-sent.full:
	}
	defer close(sent.done)
	defer func() { // the authority takes panics of Issue alone
		if v := recover(); v != nil {
			sent.results = all(len(sent.wishes), ra.Fail(ra.UpstreamTimeout, "the message of several requests: it may have been sent", fmt.Errorf("panic: %v", v)))
		}
	}()
	sent.results = b.send(ctx, sent.wishes, sent.requestID)
}

// all is one error for each request.
func all(n int, err error) []result {
	same := make([]result, n)
	for i := range same {
		same[i].err = err
	}
	return same
}
