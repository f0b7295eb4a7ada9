// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"errors"
	"slices"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/ocsp"
	"github.com/caddy-est/estra/ra/store"
)

// answerLife is how long an answer counts. It is made when it is asked for, so
// that it need not last.
const answerLife = time.Hour

// An answer to a question, with what caches may do with it.
type answer struct {
	der        []byte
	this, next time.Time
	// own says that it is for this question alone: an error, or with a nonce.
	own bool
}

func refusal(der []byte) answer { return answer{der: der, own: true} }

// answer answers an OCSPRequest. Nothing is unanswered: what can't be answered gets
// one of the errors that nobody signs (RFC 6960 section 2.3).
func (c *CA) answer(ctx context.Context, request []byte) answer {
	question, err := ocsp.ParseQuestion(request)
	if err != nil {
		return refusal(xocsp.MalformedRequestErrorResponse)
	}
	keys, err := c.Keys.All(ctx)
	if err != nil {
		return refusal(xocsp.TryLaterErrorResponse)
	}
	i := slices.IndexFunc(keys, func(k Key) bool {
		return slices.ContainsFunc(question.Asked, func(a ocsp.Asked) bool { return a.Of(k.Certificate) })
	})
	if i < 0 {
		// RFC 5019 section 2.2.3: of other issuers this responder can say nothing.
		return refusal(xocsp.UnauthorizedErrorResponse)
	}
	key, statuses := keys[i], make([]ocsp.Status, len(question.Asked))
	for n, asked := range question.Asked {
		if !asked.Of(key.Certificate) {
			continue
		}
		entry, err := c.Store.Entry(ctx, key.ID(), asked.Serial())
		if errors.Is(err, store.ErrUnknown) {
			continue
		}
		if err != nil {
			return refusal(xocsp.TryLaterErrorResponse)
		}
		statuses[n] = ocsp.Status{Known: true, Revoked: entry.Revoked, Reason: entry.Reason}
	}
	a := answer{this: c.now(), own: question.HasNonce()}
	a.next = a.this.Add(answerLife)
	if a.der, err = question.Answer(ocsp.Signer{Issuer: key.Certificate, Key: key.Signer}, statuses, a.this, a.next); err != nil {
		return refusal(xocsp.InternalErrorErrorResponse)
	}
	return a
}
