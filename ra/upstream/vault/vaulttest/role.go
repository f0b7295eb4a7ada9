// SPDX-License-Identifier: Apache-2.0

package vaulttest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A role is one of sign/:role, with the parameters of "Create/Update role" that
// decide what a certificate from a CSR has.
type role struct {
	TTL                    string   `json:"ttl"`
	MaxTTL                 string   `json:"max_ttl"`
	AllowAnyName           bool     `json:"allow_any_name"`
	AllowedDomains         []string `json:"allowed_domains"`
	AllowSubdomains        bool     `json:"allow_subdomains"`
	EnforceHostnames       bool     `json:"enforce_hostnames"`
	AllowWildcards         bool     `json:"allow_wildcard_certificates"`
	AllowIPSANs            bool     `json:"allow_ip_sans"`
	AllowedURISANs         []string `json:"allowed_uri_sans"`
	AllowedOtherSANs       []string `json:"allowed_other_sans"`
	AllowedSerialNumbers   []string `json:"allowed_serial_numbers"`
	AllowedUserIDs         []string `json:"allowed_user_ids"`
	ServerFlag             bool     `json:"server_flag"`
	ClientFlag             bool     `json:"client_flag"`
	CodeSigningFlag        bool     `json:"code_signing_flag"`
	EmailProtectionFlag    bool     `json:"email_protection_flag"`
	KeyType                string   `json:"key_type"`
	KeyUsage               []string `json:"key_usage"`
	ExtKeyUsage            []string `json:"ext_key_usage"`
	ExtKeyUsageOIDs        []string `json:"ext_key_usage_oids"`
	UseCSRCommonName       bool     `json:"use_csr_common_name"`
	UseCSRSANs             bool     `json:"use_csr_sans"`
	RequireCN              bool     `json:"require_cn"`
	CNValidations          []string `json:"cn_validations"`
	OU                     []string `json:"ou"`
	Organization           []string `json:"organization"`
	Country                []string `json:"country"`
	Locality               []string `json:"locality"`
	Province               []string `json:"province"`
	StreetAddress          []string `json:"street_address"`
	PostalCode             []string `json:"postal_code"`
	PolicyIdentifiers      []string `json:"policy_identifiers"`
	BasicConstraintsForAll bool     `json:"basic_constraints_valid_for_non_ca"`
	NotBeforeDuration      string   `json:"not_before_duration"`
	GenerateLease          bool     `json:"generate_lease"`
	NoStore                bool     `json:"no_store"`
	Issuer                 string   `json:"issuer_ref"`
}

// newRole has Vault's defaults.
func newRole() *role {
	return &role{
		EnforceHostnames: true, AllowWildcards: true, AllowIPSANs: true, ServerFlag: true, ClientFlag: true,
		KeyType: "rsa", KeyUsage: []string{"DigitalSignature", "KeyAgreement", "KeyEncipherment"},
		UseCSRCommonName: true, UseCSRSANs: true, RequireCN: true, CNValidations: []string{"email", "hostname"}, NotBeforeDuration: "30s",
	}
}

// asked are the parameters of sign/:role and of sign-verbatim.
type asked struct {
	CSR             string   `json:"csr"`
	CommonName      string   `json:"common_name"`
	AltNames        string   `json:"alt_names"`
	OtherSANs       []string `json:"other_sans"`
	IPSANs          []string `json:"ip_sans"`
	URISANs         []string `json:"uri_sans"`
	TTL             string   `json:"ttl"`
	Format          string   `json:"format"`
	ExcludeCN       bool     `json:"exclude_cn_from_sans"`
	NotAfter        string   `json:"not_after"`
	RemoveRoots     bool     `json:"remove_roots_from_chain"`
	UserIDs         []string `json:"user_ids"`
	SerialNumber    string   `json:"serial_number"`
	KeyUsage        []string `json:"key_usage"`
	ExtKeyUsage     []string `json:"ext_key_usage"`
	ExtKeyUsageOIDs []string `json:"ext_key_usage_oids"`
}

var (
	hostname = regexp.MustCompile(`^(\*\.)?(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])\.?$`)
	userID   = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
	sanID    = asn1.ObjectIdentifier{2, 5, 29, 17}
	basicID  = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// template is the certificate that sign/:role makes, as Vault does: in its order,
// with its silence about what it drops.
func (r *role) template(a asked, csr *x509.CertificateRequest, now time.Time) (*x509.Certificate, error) {
	cn := a.CommonName
	if r.UseCSRCommonName && csr.Subject.CommonName != "" {
		cn = csr.Subject.CommonName
	}
	if cn == "" && r.RequireCN {
		return nil, errors.New(`the common_name field is required, or must be provided in a CSR with "use_csr_common_name" set to true, unless "require_cn" is set to false`)
	}
	serial := a.SerialNumber
	if serial == "" {
		serial = csr.Subject.SerialNumber
	}
	if serial != "" && !allowed(r.AllowedSerialNumbers, serial) {
		return nil, fmt.Errorf("serial_number %s not allowed by this role", serial)
	}
	c := &x509.Certificate{Subject: pkix.Name{
		CommonName: cn, SerialNumber: serial, Country: r.Country, Organization: r.Organization, OrganizationalUnit: r.OU,
		Locality: r.Locality, Province: r.Province, StreetAddress: r.StreetAddress, PostalCode: r.PostalCode,
	}}
	if err := r.users(c, a, csr); err != nil {
		return nil, err
	}
	if r.UseCSRSANs {
		c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs = csr.DNSNames, csr.EmailAddresses, csr.IPAddresses, csr.URIs
	} else if err := r.names(c, a); err != nil {
		return nil, err
	}
	if cn != "" && !a.ExcludeCN {
		addName(c, cn)
	}
	if !r.AllowAnyName {
		for _, name := range append(slices.Clone(c.DNSNames), cn) {
			if name != "" && !slices.ContainsFunc(r.AllowedDomains, func(d string) bool { return r.AllowSubdomains && strings.HasSuffix(name, "."+d) }) {
				return nil, fmt.Errorf("common name %s not allowed by this role", name)
			}
		}
	}
	if err := r.others(c, a.OtherSANs); err != nil {
		return nil, err
	}
	return c, r.rest(c, a.NotAfter, now)
}

func (r *role) users(c *x509.Certificate, a asked, csr *x509.CertificateRequest) error {
	ids := a.UserIDs
	if len(ids) == 0 {
		for _, name := range csr.Subject.Names {
			if text, ok := name.Value.(string); ok && name.Type.Equal(userID) {
				ids = append(ids, text)
			}
		}
	}
	for _, id := range ids {
		if !allowed(r.AllowedUserIDs, id) {
			return fmt.Errorf("user_id %s is not allowed by this role", id)
		}
		c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: userID, Value: id})
	}
	return nil
}

// addName drops what isn't a host name.
func addName(c *x509.Certificate, name string) {
	if strings.Contains(name, "@") {
		c.EmailAddresses = append(c.EmailAddresses, name)
	} else if hostname.MatchString(name) {
		c.DNSNames = append(c.DNSNames, name)
	}
}

func (r *role) names(c *x509.Certificate, a asked) error {
	for part := range strings.SplitSeq(a.AltNames, ",") {
		if part = strings.TrimSpace(part); part != "" {
			if strings.HasPrefix(part, "*.") && !r.AllowWildcards {
				return fmt.Errorf("subject alternate name %s not allowed by this role", part)
			}
			addName(c, part)
		}
	}
	for _, text := range a.IPSANs {
		if !r.AllowIPSANs {
			return fmt.Errorf("IP Subject Alternative Names are not allowed in this role, but was provided %s", a.IPSANs)
		}
		ip := net.ParseIP(strings.TrimSpace(text))
		if ip == nil {
			return fmt.Errorf("the value %q is not a valid IP address", text)
		}
		c.IPAddresses = append(c.IPAddresses, ip)
	}
	for _, text := range a.URISANs {
		if !allowed(r.AllowedURISANs, text) {
			return errors.New("URI Subject Alternative Names are not allowed in this role, but were provided via the API")
		}
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil {
			return err
		}
		c.URIs = append(c.URIs, u)
	}
	return nil
}

// others makes the SAN itself where there are otherNames, and never a critical
// one.
func (r *role) others(c *x509.Certificate, list []string) error {
	if len(list) == 0 {
		return nil
	}
	var names []asn1.RawValue
	add := func(tag int, content []byte, compound bool) {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: content})
	}
	for _, text := range list {
		id, value, ok := strings.Cut(strings.TrimSpace(text), ";")
		kind, value, okToo := strings.Cut(value, ":")
		if !ok || !okToo || !strings.EqualFold(kind, "utf8") && !strings.EqualFold(kind, "utf-8") {
			return fmt.Errorf("only utf8 other SANs are supported; found non-supported type in other SAN %q", text)
		}
		if len(r.AllowedOtherSANs) != 1 || r.AllowedOtherSANs[0] != "*" {
			return fmt.Errorf("other SAN OID %s not allowed by this role", id)
		}
		oid, err := parseOID(id)
		if err != nil {
			return err
		}
		der, err := asn1.Marshal(oid)
		if err != nil {
			return err
		}
		inner, err := asn1.MarshalWithParams(value, "utf8")
		if err != nil {
			return err
		}
		wrapped, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner})
		if err != nil {
			return err
		}
		add(0, append(der, wrapped...), true)
	}
	for _, name := range c.DNSNames {
		add(2, []byte(name), false)
	}
	for _, name := range c.EmailAddresses {
		add(1, []byte(name), false)
	}
	for _, ip := range c.IPAddresses {
		if four := ip.To4(); four != nil {
			ip = four
		}
		add(7, ip, false)
	}
	for _, u := range c.URIs {
		add(6, []byte(u.String()), false)
	}
	value, err := asn1.Marshal(names)
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: sanID, Value: value})
	return err
}

// rest sets what the role says in both modes: usages and times.
func (r *role) rest(c *x509.Certificate, notAfter string, now time.Time) error {
	before, err := time.ParseDuration(r.NotBeforeDuration)
	if err != nil {
		return err
	}
	c.NotBefore = now.Add(-before)
	if notAfter != "" {
		if c.NotAfter, err = time.Parse(time.RFC3339, notAfter); err != nil {
			return err
		}
	} else {
		c.NotAfter = now.Add(32 * 24 * time.Hour)
	}
	for _, name := range r.KeyUsage {
		bit := slices.IndexFunc(usages, func(u string) bool { return strings.EqualFold(u, strings.TrimPrefix(name, "KeyUsage")) })
		if bit < 0 {
			return fmt.Errorf("unknown key usage %s", name)
		}
		c.KeyUsage |= 1 << bit
	}
	for _, flag := range []struct {
		on    bool
		usage x509.ExtKeyUsage
	}{{r.ServerFlag, x509.ExtKeyUsageServerAuth}, {r.ClientFlag, x509.ExtKeyUsageClientAuth}, {r.CodeSigningFlag, x509.ExtKeyUsageCodeSigning}, {r.EmailProtectionFlag, x509.ExtKeyUsageEmailProtection}} {
		if flag.on {
			c.ExtKeyUsage = append(c.ExtKeyUsage, flag.usage)
		}
	}
	if len(r.ExtKeyUsage) > 0 {
		return fmt.Errorf("this test server knows ext_key_usage_oids alone, and got %v", r.ExtKeyUsage)
	}
	for _, text := range r.ExtKeyUsageOIDs {
		oid, err := parseOID(text)
		if err != nil {
			return err
		}
		c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, oid)
	}
	return nil
}

// usages are Vault's names, each at its bit of x509.KeyUsage.
var usages = []string{"DigitalSignature", "ContentCommitment", "KeyEncipherment", "DataEncipherment", "KeyAgreement", "CertSign", "CRLSign", "EncipherOnly", "DecipherOnly"}

// verbatim is the certificate that sign-verbatim makes.
func verbatim(a asked, csr *x509.CertificateRequest, now time.Time) (*x509.Certificate, error) {
	c := &x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames, EmailAddresses: csr.EmailAddresses, IPAddresses: csr.IPAddresses, URIs: csr.URIs}
	c.Subject.ExtraNames = c.Subject.Names
	for _, e := range csr.Extensions {
		if !e.Id.Equal(basicID) {
			c.ExtraExtensions = append(c.ExtraExtensions, e)
		}
	}
	r := &role{KeyUsage: a.KeyUsage, ExtKeyUsage: a.ExtKeyUsage, ExtKeyUsageOIDs: a.ExtKeyUsageOIDs, NotBeforeDuration: "30s"}
	return c, r.rest(c, a.NotAfter, now)
}

func allowed(list []string, value string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, value)
}

func parseOID(text string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil {
			return nil, fmt.Errorf("%q is no OID", text)
		}
		oid = append(oid, n)
	}
	return oid, nil
}
