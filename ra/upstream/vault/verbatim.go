// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// verbatimBody has the fields of sign-verbatim for what no CSR says, or needs
// not say.
type verbatimBody struct {
	CSR             string   `json:"csr"`
	KeyUsage        []string `json:"key_usage"`
	ExtKeyUsage     []string `json:"ext_key_usage"`
	ExtKeyUsageOIDs []string `json:"ext_key_usage_oids"`
	NotAfter        string   `json:"not_after"`
	Format          string   `json:"format"`
}

// verbatimFields refuses a plan that isn't what the CSR says: sign-verbatim
// copies its subject and all its extensions but basicConstraints.
func verbatimFields(o ra.Order, block string) (verbatimBody, error) {
	plan := o.Plan()
	b := verbatimBody{CSR: block, KeyUsage: keyUsages(plan.KeyUsage), ExtKeyUsage: []string{}, ExtKeyUsageOIDs: []string{},
		NotAfter: stamp(o.NotAfter()), Format: "pem"}
	for _, oid := range plan.ExtKeyUsage {
		b.ExtKeyUsageOIDs = append(b.ExtKeyUsageOIDs, oid.String())
	}
	if !o.CSR().Names.EqualDER(plan.Names) {
		return b, errors.New("the policy has rewritten the names, and sign-verbatim takes the request's own")
	}
	for _, rdn := range plan.Names.Subject {
		if _, err := single(rdn); err != nil {
			return b, err
		}
	}
	for _, e := range o.CSR().Extensions {
		if err := copied(e, plan); err != nil {
			return b, err
		}
	}
	for _, want := range plan.Extensions {
		if !slices.ContainsFunc(o.CSR().Extensions, func(e csr.Extension) bool { return e.ID.Equal(want.ID) }) {
			return b, fmt.Errorf("the plan has the extension %s, and the request doesn't: sign-verbatim can't be told", want.ID)
		}
	}
	return b, nil
}

// Extensions of RFC 5280 section 4.2.1, dotted.
const (
	oidBasicConstraints = "2.5.29.19"
	oidExtKeyUsage      = "2.5.29.37"
)

// copied says what is wrong with an extension of the request that goes into the
// certificate.
func copied(e csr.Extension, plan policy.Plan) error {
	name := e.ID.String()
	wrong := fmt.Errorf("the plan has another extension %s than the request, and sign-verbatim takes the request's own", name)
	switch e.ID.String() {
	case oidBasicConstraints: // not copied
		return nil
	case csr.OIDSubjectAltName: // its names have been compared
		if e.Critical != plan.SANCritical {
			return wrong
		}
		return nil
	case csr.OIDKeyUsage:
		value, err := csr.MarshalKeyUsage(plan.KeyUsage)
		if err != nil || !bytes.Equal(value, e.Value) {
			return wrong
		}
		return nil
	case oidExtKeyUsage:
		var asked []asn1.ObjectIdentifier
		if rest, err := asn1.Unmarshal(e.Value, &asked); err != nil || len(rest) > 0 || !sameSet(asked, plan.ExtKeyUsage) {
			return wrong
		}
		return nil
	}
	i := slices.IndexFunc(plan.Extensions, func(want csr.Extension) bool { return want.ID.Equal(e.ID) })
	switch {
	case i < 0:
		return fmt.Errorf("the policy drops the extension %s of the request, and sign-verbatim would copy it", name)
	case plan.Extensions[i].Critical != e.Critical || !bytes.Equal(plan.Extensions[i].Value, e.Value):
		return wrong
	}
	return nil
}

func sameSet(a, b []asn1.ObjectIdentifier) bool {
	in := func(list []asn1.ObjectIdentifier, one asn1.ObjectIdentifier) bool {
		return slices.ContainsFunc(list, one.Equal)
	}
	return !slices.ContainsFunc(a, func(one asn1.ObjectIdentifier) bool { return !in(b, one) }) &&
		!slices.ContainsFunc(b, func(one asn1.ObjectIdentifier) bool { return !in(a, one) })
}

// usages are those of RFC 5280 section 4.2.1.3, as the API calls them.
var usages = []struct {
	bit  x509.KeyUsage
	name string
}{
	{x509.KeyUsageDigitalSignature, "DigitalSignature"},
	{x509.KeyUsageContentCommitment, "ContentCommitment"},
	{x509.KeyUsageKeyEncipherment, "KeyEncipherment"},
	{x509.KeyUsageDataEncipherment, "DataEncipherment"},
	{x509.KeyUsageKeyAgreement, "KeyAgreement"},
	{x509.KeyUsageCertSign, "CertSign"},
	{x509.KeyUsageCRLSign, "CRLSign"},
	{x509.KeyUsageEncipherOnly, "EncipherOnly"},
	{x509.KeyUsageDecipherOnly, "DecipherOnly"},
}

func keyUsages(u x509.KeyUsage) []string {
	names := []string{}
	for _, usage := range usages {
		if u&usage.bit != 0 {
			names = append(names, usage.name)
		}
	}
	return names
}
