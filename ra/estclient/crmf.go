// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto"
	"crypto/x509"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/caddy-est/estra/ra/cmc"
)

// crmf makes a request as RFC 4211 has it. Where a PKCS #10 has attributes it has
// controls.
func crmf(random io.Reader, id cmc.BodyPartID, key crypto.Signer, t Template, challenge string) (cmc.Request, error) {
	public := key.Public()
	request := cmc.CertRequest{ID: id}
	var err error
	if request.Template.SPKI, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return cmc.Request{}, err
	}
	if request.Template.Subject, err = t.Names.Subject.MarshalDER(); err != nil {
		return cmc.Request{}, err
	}
	if request.Template.Extensions, err = t.extensions(); err != nil {
		return cmc.Request{}, err
	}
	if request.Controls, err = t.otherAttributes(challenge); err != nil {
		return cmc.Request{}, err
	}
	scheme, err := schemeFor(public, t.Signature)
	if err != nil {
		return cmc.Request{}, err
	}
	message, err := request.Signed(func(message []byte) (algorithm, signature []byte, err error) {
		var b cryptobyte.Builder
		scheme.add(&b)
		if algorithm, err = b.Bytes(); err != nil {
			return nil, nil, err
		}
		signature, err = scheme.sign(random, key, message)
		return algorithm, signature, err
	})
	if err != nil {
		return cmc.Request{}, err
	}
	return cmc.NewCRMF(message)
}
