// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/wire"
)

// The ids of what stands in our messages (RFC 5272 section 3.2.2).
const (
	idTransaction cmc.BodyPartID = iota + 1
	idNonce
	idPOP
	idIdentity
	idChange
	idRemove
	idRevoke
	idRequest
)

// A sent message, and what its answer must repeat.
type sent struct {
	transaction *big.Int
	nonce       []byte
	der         []byte // SignedData
}

// issueFull is RFC 7030 section 4.3.
func (u *Upstream) issueFull(ctx context.Context, o ra.Order) (ra.Issued, error) {
	request, err := embed(o.CSR())
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "the request can't stand in a CMC message", err)
	}
	controls, err := vouch(request.ID, o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "the plan can't be written down", err)
	}
	message, answer, err := u.exchange(ctx, cmc.PKIData{Controls: controls, Requests: []cmc.Request{request}}, o.RequestID())
	if err != nil {
		return ra.Issued{}, err
	}
	certs, err := u.opened(ctx, message, answer)
	if err != nil {
		return ra.Issued{}, err
	}
	leaf, err := ofKey(certs, o.CSR())
	if err != nil {
		return ra.Issued{}, u.reader.Unreadable(true, err.Error(), nil)
	}
	return issued(leaf, answer), nil
}

// embed puts a request into a message as it is: to change it would break its
// proof of possession (RFC 5272 section 7).
func embed(r *csr.Request) (cmc.Request, error) {
	if der, ok := r.PKCS10(); ok {
		return cmc.NewPKCS10(idRequest, der)
	}
	return cmc.NewCRMF(r.Raw) // whose id is its own
}

// vouch are the controls by which an RA says what it has done (RFC 5272 section
// 6.8, RFC 6402 section 2.5), and what it changes.
func vouch(request cmc.BodyPartID, o ra.Order) (cmc.Controls, error) {
	if request >= idTransaction && request < idRequest {
		return nil, fmt.Errorf("the request calls itself %d, which another part is called", request)
	}
	pop, err := cmc.POPWitness{Requests: []cmc.BodyPartID{request}}.Marshal()
	if err != nil {
		return nil, err
	}
	identity, err := cmc.MarshalPath([]cmc.BodyPartID{request})
	if err != nil {
		return nil, err
	}
	controls := cmc.Controls{
		cmc.NewControl(idPOP, cmc.OIDLraPOPWitness, pop),
		cmc.NewControl(idIdentity, cmc.OIDRAIdentityWitness, identity),
	}
	changes, err := changesOf(request, o)
	return append(controls, changes...), err
}

// exchange signs a message, with certificates beside it, sends it and gives the
// answer.
func (u *Upstream) exchange(ctx context.Context, data cmc.PKIData, requestID string, beside ...*x509.Certificate) (sent, upstream.Answer, error) {
	client, own, err := u.asking()
	if err != nil {
		return sent{}, upstream.Answer{}, err
	}
	message, err := u.sign(data, own, beside)
	if err != nil {
		return sent{}, upstream.Answer{}, ra.Fail(ra.UpstreamDown, "the CMC message can't be made", err)
	}
	answer, err := client.Do(ctx, upstream.Call{
		Method: http.MethodPost, Path: u.path(policy.FullCMC), Type: wire.TypeCMCRequest, Body: wire.EncodeBody(message.der, false),
		RequestID: requestID, Limit: maxAnswer, Signs: true,
	})
	return message, answer, err
}

// sign adds what ties an answer to the message (RFC 5272 section 6.6), and signs
// with the key of our certificate.
func (u *Upstream) sign(data cmc.PKIData, own *tls.Certificate, beside []*x509.Certificate) (sent, error) {
	m := sent{nonce: make([]byte, 16)}
	transaction := make([]byte, 16)
	for _, random := range [][]byte{m.nonce, transaction} {
		if _, err := io.ReadFull(u.cfg.Rand, random); err != nil {
			return m, err
		}
	}
	m.transaction = new(big.Int).SetBytes(transaction)
	data.Controls = append(cmc.Controls{
		cmc.NewControl(idTransaction, cmc.OIDTransactionID, cmc.Integer(m.transaction)),
		cmc.NewControl(idNonce, cmc.OIDSenderNonce, cmc.Octets(m.nonce)),
	}, data.Controls...)
	content, err := data.Marshal()
	if err != nil {
		return m, err
	}
	key, ok := own.PrivateKey.(crypto.Signer)
	if !ok {
		return m, errors.New("the key of our RA certificate can't sign")
	}
	var chain []*x509.Certificate
	for _, der := range own.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return m, err
		}
		chain = append(chain, c)
	}
	m.der, err = cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: content}, append(chain, beside...),
		cms.Signer{Key: key, ID: cms.IssuerAndSerial(chain[0]), Time: u.cfg.Now()})
	return m, err
}
