// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"encoding/hex"
	"math/big"
	"strings"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/estclient"
)

// Defers implements ra.Deferrer: any EST server may answer 202.
func (*Upstream) Defers() bool { return true }

// A request that the server decides later is asked for again by its token (RFC
// 5272 section 6.13): a second request could become a second certificate. What
// that takes is the order's reference.
const queryRef = "cmc "

// refOf writes it down; "": the server gave no token, and the request itself is
// sent again.
func refOf(q *estclient.Query) string {
	if q == nil || len(q.Token) == 0 {
		return ""
	}
	transaction := ""
	if q.Transaction != nil {
		transaction = q.Transaction.Text(16)
	}
	return queryRef + strings.Join([]string{hex.EncodeToString(q.Token), transaction, hex.EncodeToString(q.Nonce)}, " ")
}

func queryOf(ref string) (*estclient.Query, bool) {
	text, ok := strings.CutPrefix(ref, queryRef)
	parts := strings.Split(text, " ")
	if !ok || len(parts) != 3 {
		return nil, false
	}
	q := &estclient.Query{}
	var err error
	if q.Token, err = hex.DecodeString(parts[0]); err != nil || len(q.Token) == 0 {
		return nil, false
	}
	if parts[1] != "" {
		if q.Transaction, ok = new(big.Int).SetString(parts[1], 16); !ok {
			return nil, false
		}
	}
	if q.Nonce, err = hex.DecodeString(parts[2]); err != nil {
		return nil, false
	}
	if len(q.Nonce) == 0 {
		q.Nonce = nil
	}
	return q, true
}

// query asks what became of a request.
func (u *Upstream) query(ctx context.Context, o ra.Order, q *estclient.Query) (ra.Issued, error) {
	wish := estclient.Wish{}
	if der, is := o.CSR().PKCS10(); is {
		wish.CSR = der
	} else {
		wish.Message = o.CSR().Raw
	}
	done, answer, err := u.exchange(ctx, estclient.FullRequest{Query: q, Wishes: []estclient.Wish{wish}}, o.RequestID())
	if done == nil {
		return ra.Issued{}, err
	}
	return u.ofPart(done.Parts[0], done.RequestID, answer, err)
}
