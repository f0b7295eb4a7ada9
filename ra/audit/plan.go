// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Plan is the certificate wanted: all of it, not a change to the request.
type Plan struct {
	// Subject is the subject as text.
	Subject Text `json:"subject"`
	// SAN is the subjectAltName, each name as "form:value". At most MaxList.
	SAN []Text `json:"san,omitempty"`
	// SANCritical says that the subjectAltName is critical.
	SANCritical bool `json:"san_critical,omitempty"`
	// KeyUsage has the names of RFC 5280 section 4.2.1.3.
	KeyUsage []string `json:"key_usage,omitempty"`
	// ExtKeyUsage has OIDs.
	ExtKeyUsage []Text `json:"ext_key_usage,omitempty"`
	// Extensions are those beyond the above.
	Extensions []Extension `json:"extensions,omitempty"`
	// Validity is how long the certificate is to live, in seconds.
	Validity int64 `json:"validity"`
	// NotBefore and NotAfter are its validity, both inclusive; left out
	// before they are fixed. OfPlan leaves them to the caller.
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	// Upstream is the CA's name in the policy; left out where it is the only
	// one.
	Upstream Text `json:"upstream,omitempty"`
}

// Extension is an X.509 extension.
type Extension struct {
	OID      Text   `json:"oid"`
	Critical bool   `json:"critical,omitempty"`
	Value    []byte `json:"value"` // DER
}

// OfPlan tells a plan.
func OfPlan(p policy.Plan) *Plan {
	return &Plan{
		Subject:     Text(p.Names.Subject.String()),
		SAN:         texts(p.Names.SAN),
		SANCritical: p.SANCritical,
		KeyUsage:    policy.KeyUsageNames(p.KeyUsage),
		ExtKeyUsage: texts(p.ExtKeyUsage),
		Extensions:  extensions(p.Extensions),
		Validity:    int64(p.Validity / time.Second),
		Upstream:    Text(p.Upstream),
	}
}

func extensions(from []csr.Extension) []Extension {
	var list []Extension
	for _, e := range from {
		list = append(list, Extension{OID: Text(e.ID.String()), Critical: e.Critical, Value: e.Value})
	}
	return list
}
