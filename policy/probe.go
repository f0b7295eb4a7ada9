// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// ProbeProfile is the name of the built-in profile by which an operator has a CA
// issue one certificate that is revoked at once, to see whether it can. No profile
// of a file has this name.
const ProbeProfile = "estra-probe"

// Probe plans the certificate of a probe: for one host name, with the usages and
// the default validity of the profile. It decides about nobody's request.
func (p *Profile) Probe(host string, key csr.Key) (Plan, error) {
	san, err := csr.NewName(csr.DNS, host)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{
		Names:       csr.Names{SAN: []csr.GeneralName{san}, HasSAN: true},
		KeyUsage:    p.usage.keyOf(key.Algorithm),
		ExtKeyUsage: slices.Clone(p.usage.ext),
		Validity:    p.validity,
		Upstream:    p.upstream,
	}
	if plan.KeyUsage == 0 { // none is left for this kind of key
		plan.KeyUsage = x509.KeyUsageDigitalSignature
	}
	const maxCommonName = 64 // ub-common-name (RFC 5280 appendix A.1)
	if plan.SANCritical = len(host) > maxCommonName; !plan.SANCritical {
		plan.Names.Subject = csr.Name{csr.RDN{csr.NewAttributeValue(asn1.ObjectIdentifier{2, 5, 4, 3}, host)}}
	}
	return plan, nil
}
