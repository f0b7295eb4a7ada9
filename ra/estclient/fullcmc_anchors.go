// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/caddy-est/estra/ra/cmc"
)

// mostAnchors bounds what is compared: each hash with each certificate.
const mostAnchors = 100

// Anchors are trust anchors that an answer publishes. It has verified: its signer
// is one that may answer under the anchors that the Client has, or its MAC is by
// the secret that was asked with. Before they take the place of others, Sequence
// must not be less than that of those (RFC 5272 section 6.15).
type Anchors struct {
	Sequence     *big.Int
	Certificates []*x509.Certificate
}

// published reads the trust anchors in an answer that was verified. The set of
// certificates is covered by nothing: the hashes say which of it count.
func (c *Client) published(controls cmc.Controls, certs []*x509.Certificate) (*Anchors, error) {
	_, value, present, err := controls.Only(cmc.OIDTrustedAnchors)
	if err != nil || !present {
		return nil, err
	}
	list, err := cmc.ParseTrustAnchors(value)
	switch {
	case err != nil:
		return nil, err
	case !list.Hash.Equal(cmc.OIDSHA256):
		return nil, fmt.Errorf("the hash algorithm of the trust anchors is %s, want SHA-256", list.Hash)
	case len(list.Hashes) == 0:
		return nil, errors.New("the list of trust anchors is empty")
	case len(list.Hashes) > mostAnchors:
		return nil, fmt.Errorf("%d trust anchors are published; more than %d aren't taken", len(list.Hashes), mostAnchors)
	}
	known := slices.Concat(certs, c.intermediates)
	anchors := &Anchors{Sequence: list.Sequence}
	for _, hash := range list.Hashes {
		i := slices.IndexFunc(known, func(c *x509.Certificate) bool {
			sum := sha256.Sum256(c.Raw)
			return string(sum[:]) == string(hash)
		})
		if i < 0 {
			return nil, fmt.Errorf("the certificate of a trust anchor is not in the answer, nor in that of /cacerts: SHA-256 %x", hash)
		}
		if !known[i].IsCA {
			return nil, fmt.Errorf("what is published as a trust anchor is no CA: %s", printable(known[i].Subject.String(), 256))
		}
		anchors.Certificates = append(anchors.Certificates, known[i])
	}
	return anchors, nil
}
