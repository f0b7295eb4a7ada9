// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"
)

// Expiries says when what this CA's certificates depend on ends, the earliest
// of each kind: "root", "issuer" (those published now), "cacerts" (all that
// /cacerts serves) and "crl". What isn't known is left out.
func (c *CA) Expiries() map[string]time.Time {
	ends := make(map[string]time.Time)
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known != nil {
		earliest(ends, "root", known.roots)
		earliest(ends, "issuer", known.current)
		earliest(ends, "cacerts", known.chain)
		earliest(ends, "cacerts", c.Foreign)
	}
	if next := c.revocation.list.NextUpdate(); !next.IsZero() {
		ends["crl"] = next
	}
	return ends
}

func earliest(ends map[string]time.Time, what string, certs []*x509.Certificate) {
	for _, cert := range certs {
		if end, ok := ends[what]; !ok || cert.NotAfter.Before(end) {
			ends[what] = cert.NotAfter
		}
	}
}

// Fingerprints are the SHA-256 sums, in hex, of the root certificates that
// /cacerts serves: what a bootstrapping client shows to a person (RFC 7030
// section 4.1.1).
func (c *CA) Fingerprints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		return nil
	}
	var sums []string
	for _, root := range c.known.roots {
		sum := sha256.Sum256(root.Raw)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	return sums
}
