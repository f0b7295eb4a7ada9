// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// keyless makes a request to /serverkeygen.
func (b builder) keyless() (*csr.Keyless, error) {
	c := b.test.CSR
	if c.File != "" {
		der, err := b.read(c.Pos, c.File)
		if err != nil {
			return nil, err
		}
		request, err := csr.ParseKeyless(der)
		if err != nil {
			return nil, wrong(c.Pos, "%s: %w", c.File, err)
		}
		return request, nil
	}
	parts, err := b.parts(nil)
	if err != nil {
		return nil, err
	}
	request, err := csr.RestoreKeyless(parts)
	if err != nil {
		return nil, wrong(c.Pos, "%w", err)
	}
	return request, nil
}

// attributeValue makes a value of text. Those by which /serverkeygen is asked
// for encryption aren't text: an identifier stands here in hexadecimal, and the
// list of algorithms as names of their OIDs, with spaces between.
func attributeValue(oid asn1.ObjectIdentifier, value string) ([]byte, error) {
	switch oid.String() {
	case csr.OIDDecryptKeyID, csr.OIDAsymmDecryptKeyID:
		id, err := hex.DecodeString(value)
		if err != nil {
			return nil, errors.New("an identifier in hexadecimal is wanted")
		}
		return asn1.Marshal(id)
	case csr.OIDSMIMECapabilities:
		var list []struct{ ID asn1.ObjectIdentifier }
		for _, text := range strings.Fields(value) {
			id, ok := csr.TypeOID(text)
			if !ok {
				return nil, fmt.Errorf("%q is no OID", text)
			}
			list = append(list, struct{ ID asn1.ObjectIdentifier }{id})
		}
		return asn1.Marshal(list)
	default:
		return csr.NewAttributeValue(oid, value).Element()
	}
}
