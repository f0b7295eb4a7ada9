// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"go.step.sm/crypto/x509util"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// A decision is the token's claim `estra`: the certificate wanted, in the
// JSON that step-ca's templates take.
type decision struct {
	Subject subject `json:"subject"`
	// SANs are the names when all are of the kinds that step-ca's own name
	// policy checks. Any others, and names that step-ca would encode another
	// way, go as one subjectAltName among the extensions.
	SANs       []x509util.SubjectAlternativeName `json:"sans,omitempty"`
	KeyUsage   x509util.KeyUsage                 `json:"keyUsage,omitempty"`
	EKU        x509util.ExtKeyUsage              `json:"eku,omitempty"`
	UnknownEKU x509util.UnknownExtKeyUsage       `json:"unknownEku,omitempty"`
	NotBefore  time.Time                         `json:"notBefore"`
	NotAfter   time.Time                         `json:"notAfter"`
	Extensions []x509util.Extension              `json:"extensions,omitempty"`
	// Serial is a string: step-ca reads a token's numbers as float64.
	Serial   string   `json:"serial"`
	Evidence evidence `json:"evidence"`
}

// A subject is given whole as DER, since JSON can't say the order of RDNs
// or the string types; the common name is for step-ca's name policy.
type subject struct {
	CommonName string `json:"commonName,omitempty"`
	DER        []byte `json:"der"`
}

// evidence ties the CA's record of the token to ours, and tells what was found
// out. The template issues without looking at it; an operator's may.
type evidence struct {
	RequestID string `json:"requestId"`
	// Linking is absent or matched (RFC 7030 section 3.5): with anything else
	// there is an order only where an RA brought the request.
	Linking string `json:"linking"`
	// Binding is tls-unique or tls-exporter.
	Binding string `json:"binding,omitempty"`
	// Registrar is the subject of the RA that asked on behalf of the device
	// (RFC 7030 section 3.7).
	Registrar string `json:"registrar,omitempty"`
}

func evidenceOf(o ra.Order) evidence {
	e := o.Evidence()
	return evidence{RequestID: e.RequestID, Linking: e.Linking.String(), Binding: e.Binding, Registrar: e.Registrar}
}

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// decide writes an order down.
func decide(o ra.Order) (*decision, error) {
	plan := o.Plan()
	der, err := plan.Names.Subject.MarshalDER()
	if err != nil {
		return nil, fmt.Errorf("the planned subject: %w", err)
	}
	d := &decision{
		Subject:   subject{CommonName: commonName(plan.Names.Subject), DER: der},
		KeyUsage:  x509util.KeyUsage(plan.KeyUsage),
		NotBefore: o.NotBefore(),
		NotAfter:  o.NotAfter(),
		Serial:    o.Serial().String(),
		Evidence:  evidenceOf(o),
	}
	d.EKU, d.UnknownEKU = usages(plan.ExtKeyUsage)
	for _, e := range plan.Extensions {
		d.Extensions = append(d.Extensions, x509util.Extension{
			ID: x509util.ObjectIdentifier(e.ID), Critical: e.Critical, Value: e.Value,
		})
	}
	return d, d.names(plan)
}

// names puts the SANs where they survive unchanged.
func (d *decision) names(plan policy.Plan) error {
	if len(plan.Names.SAN) == 0 {
		return nil
	}
	// With names in `sans`, criticality follows from the subject.
	plain := plan.SANCritical == (len(plan.Names.Subject) == 0)
	for _, name := range plan.Names.SAN {
		kind := plainKind(name)
		if kind == "" {
			plain = false
			break
		}
		d.SANs = append(d.SANs, x509util.SubjectAlternativeName{Type: kind, Value: name.Value})
	}
	if plain {
		return nil
	}
	d.SANs = nil
	der, err := csr.MarshalSAN(plan.Names.SAN)
	if err != nil {
		return fmt.Errorf("the planned subjectAltName: %w", err)
	}
	d.Extensions = append(d.Extensions, x509util.Extension{
		ID: x509util.ObjectIdentifier(oidSAN), Critical: plan.SANCritical, Value: der,
	})
	return nil
}

// plainKind is step-ca's word for a name's form, or empty when step-ca
// wouldn't give the name back as it is.
func plainKind(name csr.GeneralName) string {
	if name.Value == "" {
		return ""
	}
	switch name.Form {
	case csr.DNS:
		return x509util.DNSType
	case csr.Email:
		return x509util.EmailType
	case csr.URI:
		if u, err := url.Parse(name.Value); err == nil && u.String() == name.Value {
			return x509util.URIType
		}
	case csr.IP:
		// An IPv4 address in IPv6 would come back as IPv4.
		if a, err := netip.ParseAddr(name.Value); err == nil && !a.Is4In6() && a.Zone() == "" {
			return x509util.IPType
		}
	default: // goes as DER
	}
	return ""
}

// commonName is the last one, as crypto/x509 and so step-ca read a name.
func commonName(n csr.Name) string {
	cn := ""
	for _, rdn := range n {
		for _, a := range rdn {
			if a.Type.Equal(oidCommonName) {
				cn = a.Value
			}
		}
	}
	return cn
}

// usages parts the purposes that step-ca has a word for from the others: a
// dotted OID among the words makes step-ca answer 500.
func usages(oids []asn1.ObjectIdentifier) (x509util.ExtKeyUsage, x509util.UnknownExtKeyUsage) {
	var known x509util.ExtKeyUsage
	var unknown x509util.UnknownExtKeyUsage
	for _, oid := range oids {
		i := slices.IndexFunc(knownUsages, func(u knownUsage) bool { return u.oid.Equal(oid) })
		if i < 0 {
			unknown = append(unknown, oid)
			continue
		}
		known = append(known, knownUsages[i].usage)
	}
	return known, unknown
}

type knownUsage struct {
	oid   asn1.ObjectIdentifier
	usage x509.ExtKeyUsage
}

// knownUsages are the purposes of RFC 5280 section 4.2.1.12. Purposes outside
// of it travel as OIDs, whether step-ca has a word for them or not.
var knownUsages = []knownUsage{
	{asn1.ObjectIdentifier{2, 5, 29, 37, 0}, x509.ExtKeyUsageAny},
	{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}, x509.ExtKeyUsageServerAuth},
	{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}, x509.ExtKeyUsageClientAuth},
	{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}, x509.ExtKeyUsageCodeSigning},
	{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 4}, x509.ExtKeyUsageEmailProtection},
	{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}, x509.ExtKeyUsageTimeStamping},
	{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 9}, x509.ExtKeyUsageOCSPSigning},
}
