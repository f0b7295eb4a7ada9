// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// celVersion is that of the data; the role wants it.
const celVersion = "1"

// celBody is a request to cel/sign/:role, which gives its program all fields.
type celBody struct {
	CSR   string  `json:"csr"`
	Estra celPlan `json:"estra"`
}

// celPlan is our plan as data. Numbers are written as text: what a program sees
// of a number in JSON depends on the version of OpenBao. Bytes are base64. Every
// field is always there.
type celPlan struct {
	Version    string         `json:"version"`
	RequestID  string         `json:"request_id"` // for a program of the operator's own
	Linking    string         `json:"linking"`    // likewise
	Subject    celSubject     `json:"subject"`
	NotBefore  string         `json:"not_before"`
	NotAfter   string         `json:"not_after"`
	KeyUsage   string         `json:"key_usage"`         // as x509.KeyUsage has it
	Usages     []string       `json:"ext_key_usage"`     // as x509.ExtKeyUsage has them
	Purposes   [][]string     `json:"ext_key_usage_ids"` // those that it doesn't have
	DNS        []string       `json:"dns"`
	Email      []string       `json:"email"`
	IP         []string       `json:"ip"`
	URI        []celURI       `json:"uri"`
	Extensions []celExtension `json:"extensions"`
}

// celSubject is PKIX.Name of OpenBao.
type celSubject struct {
	CommonName   string   `json:"common_name"`
	SerialNumber string   `json:"serial_number"`
	Country      []string `json:"country"`
	Organization []string `json:"organization"`
	Unit         []string `json:"organizational_unit"`
	Locality     []string `json:"locality"`
	Province     []string `json:"province"`
	Street       []string `json:"street_address"`
	PostalCode   []string `json:"postal_code"`
}

// celURI is url.URL of OpenBao, but for a user.
type celURI struct {
	Scheme      string `json:"scheme"`
	Opaque      string `json:"opaque"`
	Host        string `json:"host"`
	Path        string `json:"path"`
	RawPath     string `json:"raw_path"`
	ForceQuery  bool   `json:"force_query"`
	RawQuery    string `json:"raw_query"`
	Fragment    string `json:"fragment"`
	RawFragment string `json:"raw_fragment"`
}

type celExtension struct {
	ID       []string `json:"id"`
	Critical bool     `json:"critical"`
	Value    string   `json:"value"`
}

// celFields writes the plan down. What OpenBao's template has a field for
// stands in it; the rest are extensions.
func celFields(o ra.Order, block string) (celBody, error) {
	plan := o.Plan()
	p := celPlan{
		Version: celVersion, RequestID: o.RequestID(), Linking: o.Evidence().Linking.String(),
		NotBefore: stamp(o.NotBefore()), NotAfter: stamp(o.NotAfter()), KeyUsage: strconv.Itoa(int(plan.KeyUsage)),
		Usages: []string{}, Purposes: [][]string{}, Extensions: []celExtension{},
	}
	b := celBody{CSR: block}
	var err error
	if p.Subject, err = celSubjectOf(plan.Names.Subject); err != nil {
		return b, err
	}
	for _, oid := range plan.ExtKeyUsage {
		i := slices.IndexFunc(knownUsages, func(u knownUsage) bool { return u.oid == oid.String() })
		if i >= 0 {
			p.Usages = append(p.Usages, strconv.Itoa(knownUsages[i].usage))
			continue
		}
		arcs, err := arcsOf(oid)
		if err != nil {
			return b, err
		}
		p.Purposes = append(p.Purposes, arcs)
	}
	if err := p.names(plan); err != nil {
		return b, err
	}
	for _, e := range plan.Extensions {
		if err := p.extension(e); err != nil {
			return b, err
		}
	}
	b.Estra = p
	return b, nil
}

// knownUsage is a purpose that crypto/x509, and so OpenBao, has a number for.
type knownUsage struct {
	oid   string
	usage int
}

// knownUsages are the purposes of RFC 5280 section 4.2.1.12; others go by their
// OIDs.
var knownUsages = []knownUsage{
	{"2.5.29.37.0", 0}, {"1.3.6.1.5.5.7.3.1", 1}, {"1.3.6.1.5.5.7.3.2", 2}, {"1.3.6.1.5.5.7.3.3", 3},
	{"1.3.6.1.5.5.7.3.4", 4}, {"1.3.6.1.5.5.7.3.8", 8}, {"1.3.6.1.5.5.7.3.9", 9},
}

// arcsOf parts an OID. OpenBao has 32 bits for each.
func arcsOf(oid asn1.ObjectIdentifier) ([]string, error) {
	var arcs []string
	for _, arc := range oid {
		if arc > math.MaxUint32 {
			return nil, fmt.Errorf("the OID %s has a number of more than 32 bits, and OpenBao doesn't take it", oid)
		}
		arcs = append(arcs, strconv.Itoa(arc))
	}
	return arcs, nil
}

func celSubjectOf(name csr.Name) (celSubject, error) {
	none := func() []string { return []string{} }
	s := celSubject{Country: none(), Organization: none(), Unit: none(), Locality: none(), Province: none(), Street: none(), PostalCode: none()}
	lists := map[string]*[]string{
		oidCountry: &s.Country, oidOrganization: &s.Organization, oidUnit: &s.Unit, oidLocality: &s.Locality,
		oidProvince: &s.Province, oidStreet: &s.Street, oidPostalCode: &s.PostalCode,
	}
	texts := map[string]*string{oidCommonName: &s.CommonName, oidSerialNumber: &s.SerialNumber}
	seen := map[string]bool{}
	for _, rdn := range name {
		a, err := single(rdn)
		if err != nil {
			return s, err
		}
		oid := a.Type.String()
		if seen[oid] {
			return s, fmt.Errorf("the subject has several attributes %s, and OpenBao puts them into one RDN", typeName(oid))
		}
		seen[oid] = true
		switch list, text := lists[oid], texts[oid]; {
		case list != nil:
			*list = append(*list, a.Value)
		case text != nil:
			*text = a.Value
		default:
			return s, fmt.Errorf("the subject has the attribute %s, and OpenBao's template has no field for it", typeName(oid))
		}
	}
	return s, nil
}

// names puts the SAN into its fields, where OpenBao makes the same of them, and
// else into an extension. Its criticality follows from the subject in both.
func (p *celPlan) names(plan policy.Plan) error {
	p.DNS, p.Email, p.IP, p.URI = []string{}, []string{}, []string{}, []celURI{}
	if slices.ContainsFunc(plan.Names.SAN, func(name csr.GeneralName) bool { return !p.name(name) }) {
		p.DNS, p.Email, p.IP, p.URI = []string{}, []string{}, []string{}, []celURI{}
		der, err := csr.MarshalSAN(plan.Names.SAN)
		if err != nil {
			return fmt.Errorf("the planned subjectAltName: %w", err)
		}
		id, _ := csr.TypeOID(csr.OIDSubjectAltName)
		return p.extension(csr.Extension{ID: id, Critical: plan.SANCritical, Value: der})
	}
	return nil
}

// name says whether a name has a field that gives it back as it is.
func (p *celPlan) name(name csr.GeneralName) bool {
	switch name.Form {
	case csr.DNS:
		p.DNS = append(p.DNS, name.Value)
		return name.Value != ""
	case csr.Email:
		p.Email = append(p.Email, name.Value)
		return name.Value != ""
	case csr.IP:
		a, err := netip.ParseAddr(name.Value)
		if err != nil || !isAddress(name.Value) {
			return false
		}
		p.IP = append(p.IP, base64.StdEncoding.EncodeToString(a.AsSlice()))
		return true
	case csr.URI:
		u, err := url.Parse(name.Value)
		if err != nil || u.User != nil || u.OmitHost || u.String() != name.Value {
			return false
		}
		p.URI = append(p.URI, celURI{u.Scheme, u.Opaque, u.Host, u.Path, u.RawPath, u.ForceQuery, u.RawQuery, u.Fragment, u.RawFragment})
		return true
	default:
		return false
	}
}

func (p *celPlan) extension(e csr.Extension) error {
	arcs, err := arcsOf(e.ID)
	if err != nil {
		return err
	}
	if slices.Contains(celNever, strings.Join(arcs, ".")) {
		return fmt.Errorf("the plan has the extension %s, which our role refuses: it is for CAs, or stands in a field", e.ID)
	}
	p.Extensions = append(p.Extensions, celExtension{arcs, e.Critical, base64.StdEncoding.EncodeToString(e.Value)})
	return nil
}
