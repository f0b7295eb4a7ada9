// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/wire"
)

// issueFull is RFC 7030 section 4.3. The request stands in the message as it is:
// to change it would break its proof of possession (RFC 5272 section 7).
func (u *Upstream) issueFull(ctx context.Context, o ra.Order) (ra.Issued, error) {
	changes, err := changesOf(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "the plan can't be written down", err)
	}
	if query, ok := queryOf(o.Ref()); ok {
		return u.query(ctx, o, query)
	}
	wish := estclient.Wish{Changes: changes, Unsigned: o.Evidence().Unsigned}
	der, is := o.CSR().PKCS10()
	if !is {
		wish.Message = o.CSR().Raw
	} else if wish.CSR = der; u.batches != nil {
		return u.batches.issue(ctx, o, wish)
	}
	// A CRMF request brings its own id, which another may have as well.
	one := u.send(ctx, []estclient.Wish{wish}, o.RequestID())[0]
	return one.issued, one.err
}

// send asks for certificates in one message, and gives what became of each.
func (u *Upstream) send(ctx context.Context, wishes []estclient.Wish, requestID string) []result {
	done, answer, err := u.exchange(ctx, estclient.FullRequest{Wishes: wishes}, requestID)
	if done == nil {
		return all(len(wishes), err)
	}
	results := make([]result, len(wishes))
	for i := range results {
		results[i].issued, results[i].err = u.ofPart(done.Parts[i], done.RequestID, answer, err)
	}
	return results
}

// ofPart is what the answer says of one request; err is what it says as a whole.
func (u *Upstream) ofPart(p estclient.Part, requestID string, answer upstream.Answer, err error) (ra.Issued, error) {
	now := u.cfg.Now()
	if p.Enrolled != nil {
		return issued(p.Enrolled.Certificate, answer), nil
	}
	said := &estclient.CMCError{Status: answer.Status, RequestID: requestID, Parts: []estclient.Part{p}}
	if fail := ofParts(said, now); fail != nil {
		return ra.Issued{}, upstream.Retry(fail, answer.Header, now)
	}
	if err != nil {
		return ra.Issued{}, err
	}
	return ra.Issued{}, u.reader.Unreadable(true, "no certificate", nil)
}

// exchange signs a message with our certificate, sends it and reads the answer. With
// an error there is an answer too where the server has a word about each part.
func (u *Upstream) exchange(ctx context.Context, ask estclient.FullRequest, requestID string) (*estclient.FullAnswer, upstream.Answer, error) {
	client, own, err := u.asking()
	if err != nil {
		return nil, upstream.Answer{}, err
	}
	chain, err := u.chain(ctx) // under which the answer is verified
	if err != nil {
		return nil, upstream.Answer{}, err
	}
	est := u.est.Knowing(chain)
	ask.Signer, ask.Registrar = own, true
	message, err := est.Seal(ask)
	if err != nil {
		return nil, upstream.Answer{}, ra.Fail(ra.UpstreamRefused, "the CMC message can't be made", err)
	}
	answer, err := client.Do(ctx, upstream.Call{
		Method: http.MethodPost, Path: u.path(policy.FullCMC), Type: wire.TypeCMCRequest, Body: wire.EncodeBody(message.DER, false),
		RequestID: requestID, Limit: maxAnswer, Signs: true,
	})
	if err != nil {
		return nil, answer, err
	}
	done, err := est.Open(message, answer.Status, answer.Header, answer.Body, answer.Peer)
	if err != nil && answer.Status == http.StatusOK && u.changed(ctx, err, chain) {
		if chain, failed := u.chain(ctx); failed == nil {
			done, err = u.est.Knowing(chain).Open(message, answer.Status, answer.Header, answer.Body, answer.Peer)
		}
	}
	if err != nil {
		return done, answer, u.notGranted(err, answer)
	}
	return done, answer, nil
}

// changed says, of an answer that isn't taken, that the CA has other certificates by
// now than those it was verified under.
func (u *Upstream) changed(ctx context.Context, err error, chain []*x509.Certificate) bool {
	if _, said := errors.AsType[*estclient.CMCError](err); said {
		return false
	}
	now, failed := u.CACerts(ctx)
	return failed == nil && !slices.EqualFunc(now, chain, (*x509.Certificate).Equal)
}

// notGranted gives what the server says as a kind. A refusal is its word as a CMC
// message says it, or else by its status (RFC 7030 section 4.3.2).
func (u *Upstream) notGranted(err error, answer upstream.Answer) *ra.Error {
	now := u.cfg.Now()
	if said, ok := errors.AsType[*estclient.CMCError](err); ok {
		answer.Body = []byte("a CMC message without a failure in it")
		if fail := ofParts(said, now); fail != nil {
			return upstream.Retry(fail, answer.Header, now)
		}
		return refused(answer, now)
	}
	if said, ok := errors.AsType[*estclient.StatusError](err); ok {
		if wire.IsPKCS7(answer.Header.Get("Content-Type")) {
			answer.Body = []byte(said.Text)
		}
		return refused(answer, now)
	}
	return u.reader.Unreadable(true, "an answer that is not taken", err)
}

// ofParts gives the kind of what a CMC message says: what says to come again is
// no refusal, unless another part is one. Nil: it has no word about any part.
func ofParts(said *estclient.CMCError, now time.Time) (fail *ra.Error) {
	for _, part := range said.Parts {
		words := fmt.Sprintf("the EST server answered %d: %s: %s", said.Status, part.What, part.Words())
		if said.RequestID != "" {
			words += " (request " + said.RequestID + ")"
		}
		switch {
		case !part.Said || part.Status == cmc.Success:
		case part.Status == cmc.Pending:
			fail = ra.Later(refOf(part.Query), 0, "the EST server has taken the request, and decides later (pending)")
			if part.Pend != nil {
				fail = upstream.RetryIn(fail, part.Pend.Time.Sub(now))
			}
		case part.Fail != nil && *part.Fail == cmc.TryLater:
			fail = ra.Fail(ra.UpstreamDown, upstream.Line(words), nil)
		default:
			return ra.Fail(ra.UpstreamRefused, upstream.Line(words), nil)
		}
	}
	return fail
}
