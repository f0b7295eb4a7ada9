// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto/x509"
	"fmt"
	"net/http"

	"github.com/caddy-est/estra/policy"
)

// A Sealed is a Full PKI Request for connections that aren't the Client's own,
// such as those that are kept.
type Sealed struct {
	DER []byte // what is sent, after base64
	m   *cmcMessage
}

// Knowing gives a Client that has these certificates of the CA to build chains
// with, and is otherwise the same.
func (c *Client) Knowing(certs []*x509.Certificate) *Client {
	other := *c
	other.intermediates = certs
	return &other
}

// Seal makes a message, and asks nobody: the Wishes were made elsewhere.
func (c *Client) Seal(ask FullRequest) (*Sealed, error) {
	if err := ask.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", policy.FullCMC, err)
	}
	m, err := c.newMessage(nil, &ask, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", policy.FullCMC, err)
	}
	return &Sealed{DER: m.der, m: m}, nil
}

// Open reads the answer to a message, of any status, as FullCMC does. Peer is the
// certificate of the server, which TLS has verified.
func (c *Client) Open(s *Sealed, status int, header http.Header, body []byte, peer *x509.Certificate) (*FullAnswer, error) {
	return c.readCMC(&answer{status: status, header: header, body: body}, s.m, peer)
}
