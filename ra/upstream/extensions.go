// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"encoding/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Extensions of RFC 5280 section 4.2.1.
var (
	oidSAN      = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidEKU      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// Extensions are those of the certificate that is planned. Usages are
// critical as RFC 5280 sections 4.2.1.3 and 4.2.1.12 recommend.
func Extensions(plan policy.Plan) ([]csr.Extension, error) {
	var list []csr.Extension
	add := func(id asn1.ObjectIdentifier, critical bool, value []byte, err error) error {
		list = append(list, csr.Extension{ID: id, Critical: critical, Value: value})
		return err
	}
	if len(plan.Names.SAN) > 0 {
		value, err := csr.MarshalSAN(plan.Names.SAN)
		if err := add(oidSAN, plan.SANCritical, value, err); err != nil {
			return nil, err
		}
	}
	if plan.KeyUsage != 0 {
		value, err := csr.MarshalKeyUsage(plan.KeyUsage)
		if err := add(oidKeyUsage, true, value, err); err != nil {
			return nil, err
		}
	}
	if len(plan.ExtKeyUsage) > 0 {
		value, err := csr.MarshalExtKeyUsage(plan.ExtKeyUsage)
		if err := add(oidEKU, false, value, err); err != nil {
			return nil, err
		}
	}
	return append(list, plan.Extensions...), nil
}
