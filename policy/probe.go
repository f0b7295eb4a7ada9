// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// ProbeProfile is the name of the built-in profile by which an operator has a CA
// issue one certificate that is revoked at once, to see whether it can. No profile
// of a file has this name.
const ProbeProfile = "estra-probe"

// Probe plans the certificate of a probe: for the names of a request of ours, with
// the usages and the default validity of the profile. It decides about nobody's
// request.
func (p *Profile) Probe(request *csr.Request) Plan {
	plan := Plan{
		Names:       request.Names,
		SANCritical: len(request.Names.Subject) == 0, // RFC 5280 section 4.2.1.6
		KeyUsage:    p.usage.keyOf(request.Key.Algorithm),
		ExtKeyUsage: slices.Clone(p.usage.ext),
		Validity:    p.validity,
		Upstream:    p.upstream,
	}
	if plan.KeyUsage == 0 { // none is left for this kind of key
		plan.KeyUsage = x509.KeyUsageDigitalSignature
	}
	return plan
}
