// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// seal signs the message, or gives it a MAC.
func (m *cmcMessage) seal(c *Client, ask *FullRequest, content cms.Content) ([]byte, error) {
	switch {
	case ask.MAC:
		// RFC 5272 section 3.2: the identifier, and the secret after it.
		secret := string(ask.Secret.Secret)
		if ask.HashedMAC {
			sum := sha256.Sum256([]byte(secret))
			secret = hex.EncodeToString(sum[:])
		}
		m.secret = []byte(ask.Secret.Identification + secret)
		return cms.Authenticate(content, cms.Password{Secret: m.secret})
	case ask.Signer != nil:
		return m.signByCertificate(c, ask, content)
	default:
		first := ask.Wishes[0]
		id, err := m.idOfFirst(first.Key.Public())
		if err != nil {
			return nil, err
		}
		return cms.Sign(content, ask.Others, m.signedBy(c, first.Key, cms.SubjectKeyID(id)))
	}
}

func (m *cmcMessage) signByCertificate(c *Client, ask *FullRequest, content cms.Content) ([]byte, error) {
	key, ok := ask.Signer.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key of the signing certificate can't sign")
	}
	var chain []*x509.Certificate
	for _, der := range ask.Signer.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("signing certificate: %w", err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("there is no signing certificate")
	}
	m.signer = chain[0]
	return cms.Sign(content, append(chain, ask.Others...), m.signedBy(c, key, cms.IssuerAndSerial(m.signer)))
}

// signedBy has what goes along unsigned as well.
func (m *cmcMessage) signedBy(c *Client, key crypto.Signer, id cms.Identifier) cms.Signer {
	s := cms.Signer{Key: key, ID: id, Time: c.now()}
	if len(m.unsigned) > 0 {
		s.Unsigned = []cms.Attribute{{Type: cmc.OIDUnsignedData, Values: m.unsigned}}
	}
	return s
}

// idOfFirst is the subjectKeyIdentifier of the first request.
func (m *cmcMessage) idOfFirst(public crypto.PublicKey) ([]byte, error) {
	if len(m.data.Requests) == 0 {
		return keyID(public)
	}
	request, err := m.data.Requests[0].CSR()
	if err != nil {
		return nil, err
	}
	id := Template{Extensions: request.Extensions}.keyID()
	if len(id) == 0 {
		return nil, errors.New("request 1 asks for no subjectKeyIdentifier, by which its key could sign the message (RFC 5272 section 3.2)")
	}
	return id, nil
}
