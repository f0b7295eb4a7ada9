// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RFC 6066 section 6 names keys so; nothing is verified by it
	"crypto/x509"
	"encoding/asn1"
	"slices"
)

// A CA is a certification authority as a ClientHello can name it.
type CA struct {
	name      []byte // DER
	key, cert [sha1.Size]byte
	hashed    bool
}

// CAsOf are those that a chain leads to: the CA certificates in it by all
// names they have, and the issuers of its certificates by their names alone.
func CAsOf(chain []*x509.Certificate) []CA {
	var cas []CA
	for _, c := range chain {
		if c.IsCA {
			cas = append(cas, CA{
				name: c.RawSubject, key: keyHash(c), cert: sha1.Sum(c.Raw), hashed: true, //nolint:gosec // as above
			})
		}
		cas = append(cas, CA{name: c.RawIssuer})
	}
	return cas
}

// keyHash is the key_sha1_hash of RFC 6066 section 6: of an RSA key the modulus
// without leading zeros, of any other the subjectPublicKey.
func keyHash(c *x509.Certificate) [sha1.Size]byte {
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
		return sha1.Sum(key.N.Bytes()) //nolint:gosec // as above
	}
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil {
		return [sha1.Size]byte{} // crypto/x509 has read it before
	}
	return sha1.Sum(info.Key.RightAlign()) //nolint:gosec // as above
}

// Trusts says that the client names one of these CAs. Names are compared byte
// by byte: a client has them from the certificates.
func (h *Hello) Trusts(cas []CA) bool {
	if h.Empty() {
		return false
	}
	return slices.ContainsFunc(cas, func(ca CA) bool {
		if slices.ContainsFunc(h.Names, func(name []byte) bool { return bytes.Equal(name, ca.name) }) {
			return true
		}
		return ca.hashed && (slices.Contains(h.KeyHashes, ca.key) || slices.Contains(h.CertHashes, ca.cert))
	})
}
