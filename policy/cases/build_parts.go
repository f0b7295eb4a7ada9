// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"encoding/base64"
	"errors"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

func (b builder) extensions(names csr.Names) ([]csr.Extension, error) {
	c := b.test.CSR
	var list []csr.Extension
	add := func(oid string, critical bool, value []byte, err error) error {
		id, ok := policy.ExtensionOID(oid)
		if err == nil && !ok {
			err = errors.New("neither a name known here nor an OID")
		}
		list = append(list, csr.Extension{ID: id, Critical: critical, Value: value})
		return err
	}
	if names.HasSAN {
		value, err := csr.MarshalSAN(names.SAN)
		if err := add(csr.OIDSubjectAltName, len(names.Subject) == 0, value, err); err != nil {
			return nil, wrong(c.Pos, "%w", err)
		}
	}
	if len(c.KeyUsage) > 0 {
		bits, err := policy.KeyUsageBits(c.KeyUsage)
		if err != nil {
			return nil, wrong(c.Pos, "`key_usage`: %w", err)
		}
		value, err := csr.MarshalKeyUsage(bits)
		if err := add(csr.OIDKeyUsage, true, value, err); err != nil {
			return nil, wrong(c.Pos, "`key_usage`: %w", err)
		}
	}
	if len(c.ExtKeyUsage) > 0 {
		oids, err := policy.ExtKeyUsageOIDs(c.ExtKeyUsage)
		if err != nil {
			return nil, wrong(c.Pos, "`ext_key_usage`: %w", err)
		}
		value, err := csr.MarshalExtKeyUsage(oids)
		if err := add(csr.OIDExtKeyUsage, false, value, err); err != nil {
			return nil, wrong(c.Pos, "`ext_key_usage`: %w", err)
		}
	}
	if c.CA != nil {
		value := []byte{0x30, 0x00} // basicConstraints: RFC 5280 section 4.2.1.9
		if *c.CA {
			value = []byte{0x30, 0x03, 0x01, 0x01, 0xff}
		}
		if err := add(csr.OIDBasicConstraints, true, value, nil); err != nil {
			return nil, wrong(c.Pos, "`ca`: %w", err)
		}
	}
	for _, e := range c.Extensions {
		value, err := base64.StdEncoding.DecodeString(e.Value)
		if err := add(e.Name, false, value, err); err != nil {
			return nil, wrong(e.Pos, "the extension %s: %w", e.Name, err)
		}
	}
	return list, nil
}

func (b builder) attributes() ([]csr.Attribute, error) {
	var list []csr.Attribute
	for _, a := range b.test.CSR.Attributes {
		oid, ok := policy.AttributeOID(a.Name)
		if !ok {
			return nil, wrong(a.Pos, "the attribute %s is neither a name known here nor an OID", a.Name)
		}
		value, err := attributeValue(oid, a.Value)
		if err != nil {
			return nil, wrong(a.Pos, "the attribute %s: %w", a.Name, err)
		}
		list = append(list, csr.Attribute{Type: oid, Values: [][]byte{value}})
	}
	return list, nil
}
