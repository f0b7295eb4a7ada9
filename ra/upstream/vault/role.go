// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// celNever are the extensions that the CEL role refuses: those which make a CA,
// or limit one (RFC 5280 sections 4.2.1.9 to 4.2.1.11), and the key usage, which
// has a field.
var celNever = []string{oidBasicConstraints, "2.5.29.30", "2.5.29.36", "2.5.29.33", "2.5.29.54", "2.5.29.15"}

// celRole is what `bao write MOUNT/cel/roles/NAME` takes.
type celRole struct {
	Program celProgram `json:"cel_program"`
}

type celProgram struct {
	Variables  []celVariable `json:"variables"`
	Expression string        `json:"expression"`
}

type celVariable struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// CELRole is the role for cel/sign/:role of OpenBao, as JSON for `bao write`. It
// makes the certificate that our plan says, for at most this long, from this
// issuer of the mount ("" is DefaultIssuer), and refuses what comes without a
// plan or would be a CA.
func CELRole(longest time.Duration, issuer string) ([]byte, error) {
	if longest < time.Second {
		return nil, fmt.Errorf("a longest lifetime of %s makes no sense", longest)
	}
	if issuer == "" {
		issuer = DefaultIssuer
	}
	if !isName(issuer) {
		return nil, fmt.Errorf("the issuer %q is not a name of letters, digits, `-`, `_` and `.`", issuer)
	}
	ids := make([]string, len(celNever))
	for i, oid := range celNever {
		ids[i] = "['" + strings.ReplaceAll(oid, ".", "', '") + "']"
	}
	expression := strings.NewReplacer(
		"LONGEST", fmt.Sprintf("duration('%ds')", longest/time.Second), "ISSUER", "'"+issuer+"'",
		"NEVER", "["+strings.Join(ids, ", ")+"]", "REFUSES", celRefuses, "VERSION", "'"+celVersion+"'",
	).Replace(strings.Join(strings.Fields(celExpression), " "))
	return indented(celRole{celProgram{[]celVariable{}, expression}})
}

// celExpression gives a certificate, or text that says why there is none. Bits
// 5 and 6 of the key usage are keyCertSign and cRLSign.
const celExpression = `
!('estra' in request) || request.estra.version != VERSION ?
'REFUSESthe request has no plan of version ' + VERSION :
timestamp(request.estra.not_after) - now > LONGEST ?
'REFUSESthe certificate would live longer than ' + string(LONGEST) :
(int(request.estra.key_usage) / 32) % 4 != 0 || request.estra.extensions.exists(e, NEVER.exists(n, n == e.id)) ?
'REFUSESthe certificate would be a CA, or say its key usage twice' :
ValidationOutput{
	template: CertTemplate{
		Subject: PKIX.Name{
			CommonName: request.estra.subject.common_name,
			SerialNumber: request.estra.subject.serial_number,
			Country: request.estra.subject.country,
			Organization: request.estra.subject.organization,
			OrganizationUnit: request.estra.subject.organizational_unit,
			Locality: request.estra.subject.locality,
			Province: request.estra.subject.province,
			StreetAddress: request.estra.subject.street_address,
			PostalCode: request.estra.subject.postal_code
		},
		NotBefore: timestamp(request.estra.not_before),
		NotAfter: timestamp(request.estra.not_after),
		KeyUsage: int(request.estra.key_usage),
		ExtKeyUsage: request.estra.ext_key_usage.map(u, int(u)),
		UnknownExtKeyUsage: request.estra.ext_key_usage_ids.map(o, ObjectIdentifier{arc: o.map(a, uint(a))}),
		DNSNames: request.estra.dns,
		EmailAddresses: request.estra.email,
		IPAddresses: request.estra.ip.map(a, net.IP{IP: base64.decode(a)}),
		URIs: request.estra.uri.map(u, url.URL{
			Scheme: u.scheme, Opaque: u.opaque, Host: u.host, Path: u.path, RawPath: u.raw_path,
			ForceQuery: u.force_query, RawQuery: u.raw_query, Fragment: u.fragment, RawFragment: u.raw_fragment
		}),
		ExtraExtensions: request.estra.extensions.map(e, PKIX.Extension{
			Id: e.id.map(a, int(a)), Critical: e.critical, Value: base64.decode(e.value)
		})
	},
	issuer_ref: ISSUER,
	generate_lease: false,
	no_store: false
}
`

func indented(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return nil, errors.New("the role can't be written as JSON")
	}
	return out.Bytes(), nil
}

// RoleOptions describe a role for sign/:role.
type RoleOptions struct {
	// Subject are the attributes that every certificate has, each once.
	Subject csr.Name
	// Usages are those of every certificate.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []asn1.ObjectIdentifier
	// Longest is the longest lifetime.
	Longest time.Duration
	// What a certificate may have beside a CN, DNS names and e-mail addresses.
	SerialNumber, UserID, IP, URI, OtherName, Wildcards bool
	// Issuer is the one of the mount that signs; "" is DefaultIssuer.
	Issuer string
}

// plainRole is what `vault write MOUNT/roles/NAME` takes. Names are allowed
// whatever they are: the policy has decided.
type plainRole struct {
	Issuer               string   `json:"issuer_ref"`
	UseCSRCommonName     bool     `json:"use_csr_common_name"`
	UseCSRSANs           bool     `json:"use_csr_sans"`
	RequireCN            bool     `json:"require_cn"`
	CNValidations        []string `json:"cn_validations"`
	AllowAnyName         bool     `json:"allow_any_name"`
	EnforceHostnames     bool     `json:"enforce_hostnames"`
	AllowWildcards       bool     `json:"allow_wildcard_certificates"`
	AllowIPSANs          bool     `json:"allow_ip_sans"`
	AllowedURISANs       []string `json:"allowed_uri_sans"`
	AllowedOtherSANs     []string `json:"allowed_other_sans"`
	AllowedSerialNumbers []string `json:"allowed_serial_numbers"`
	AllowedUserIDs       []string `json:"allowed_user_ids"`
	Country              []string `json:"country"`
	Organization         []string `json:"organization"`
	Unit                 []string `json:"ou"`
	Locality             []string `json:"locality"`
	Province             []string `json:"province"`
	Street               []string `json:"street_address"`
	PostalCode           []string `json:"postal_code"`
	KeyType              string   `json:"key_type"`
	KeyUsage             []string `json:"key_usage"`
	ServerFlag           bool     `json:"server_flag"`
	ClientFlag           bool     `json:"client_flag"`
	CodeSigningFlag      bool     `json:"code_signing_flag"`
	EmailProtectionFlag  bool     `json:"email_protection_flag"`
	ExtKeyUsageOIDs      []string `json:"ext_key_usage_oids"`
	TTL                  string   `json:"ttl"`
	MaxTTL               string   `json:"max_ttl"`
	NotBeforeDuration    string   `json:"not_before_duration"`
	GenerateLease        bool     `json:"generate_lease"`
	NoStore              bool     `json:"no_store"`
}

// Role is the role for sign/:role, as JSON for `vault write` and `bao write`.
func Role(o RoleOptions) ([]byte, error) {
	if o.Longest < time.Second {
		return nil, fmt.Errorf("a longest lifetime of %s makes no sense", o.Longest)
	}
	if o.Issuer == "" {
		o.Issuer = DefaultIssuer
	}
	if !isName(o.Issuer) {
		return nil, fmt.Errorf("the issuer %q is not a name of letters, digits, `-`, `_` and `.`", o.Issuer)
	}
	life := fmt.Sprintf("%ds", o.Longest/time.Second)
	r := plainRole{
		Issuer: o.Issuer, CNValidations: []string{"disabled"}, AllowAnyName: true, AllowWildcards: o.Wildcards, AllowIPSANs: o.IP,
		AllowedURISANs: every(o.URI), AllowedOtherSANs: every(o.OtherName), AllowedSerialNumbers: every(o.SerialNumber), AllowedUserIDs: every(o.UserID),
		KeyType: "any", KeyUsage: keyUsages(o.KeyUsage), ExtKeyUsageOIDs: []string{}, TTL: life, MaxTTL: life, NotBeforeDuration: "30s",
		Country: []string{}, Organization: []string{}, Unit: []string{}, Locality: []string{}, Province: []string{}, Street: []string{}, PostalCode: []string{},
	}
	for _, oid := range o.ExtKeyUsage {
		r.ExtKeyUsageOIDs = append(r.ExtKeyUsageOIDs, oid.String())
	}
	places := map[string]*[]string{
		oidCountry: &r.Country, oidOrganization: &r.Organization, oidUnit: &r.Unit, oidLocality: &r.Locality,
		oidProvince: &r.Province, oidStreet: &r.Street, oidPostalCode: &r.PostalCode,
	}
	for _, rdn := range o.Subject {
		a, err := single(rdn)
		if err != nil {
			return nil, err
		}
		place := places[a.Type.String()]
		if place == nil || len(*place) > 0 {
			return nil, fmt.Errorf("a role can't have the attribute %s, or not twice", typeName(a.Type.String()))
		}
		*place = []string{a.Value}
	}
	return indented(r)
}

// every is a list that allows each value, or none.
func every(yes bool) []string {
	if yes {
		return []string{"*"}
	}
	return []string{}
}
