// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// signBody has every field of sign/:role that says what a certificate has. CN
// and SANs are the role's to take from the CSR, so that its use_csr_common_name
// and use_csr_sans must be false; what comes back is compared.
type signBody struct {
	CSR          string   `json:"csr"`
	CommonName   string   `json:"common_name"`
	AltNames     string   `json:"alt_names"`
	IPSANs       []string `json:"ip_sans"`
	URISANs      []string `json:"uri_sans"`
	OtherSANs    []string `json:"other_sans"`
	SerialNumber string   `json:"serial_number,omitempty"`
	UserIDs      []string `json:"user_ids,omitempty"`
	NotAfter     string   `json:"not_after"`
	// ExcludeCN: the names of the SAN are those that are listed.
	ExcludeCN bool   `json:"exclude_cn_from_sans"`
	Format    string `json:"format"`
}

// signFields says the plan in the fields of the API. What they would drop,
// change or take from the request is refused before anything is sent.
func signFields(o ra.Order, block string) (signBody, error) {
	plan := o.Plan()
	b := signBody{CSR: block, NotAfter: stamp(o.NotAfter()), ExcludeCN: true, Format: "pem",
		IPSANs: []string{}, URISANs: []string{}, OtherSANs: []string{}}
	if len(plan.Extensions) > 0 {
		return b, fmt.Errorf("the plan has the extension %s, and sign/:role can't be told: use `cel`", plan.Extensions[0].ID)
	}
	if err := b.subject(plan.Names.Subject); err != nil {
		return b, err
	}
	// Vault takes these from the request where the field is missing.
	for _, taken := range []struct {
		oid   string
		given bool
	}{{oidSerialNumber, b.SerialNumber != ""}, {oidUserID, len(b.UserIDs) > 0}} {
		if !taken.given && hasAttribute(o.CSR().Names.Subject, taken.oid) {
			return b, fmt.Errorf("the policy has dropped the %s of the request, and sign/:role would take it over", typeName(taken.oid))
		}
	}
	if err := b.names(plan.Names.SAN); err != nil {
		return b, err
	}
	if len(plan.Names.Subject) == 0 && len(b.OtherSANs) > 0 {
		return b, errors.New("without a subject the SAN is critical (RFC 5280 section 4.2.1.6), and sign/:role makes one with otherNames that isn't")
	}
	return b, nil
}

// subject says what has a field. The places are the role's.
func (b *signBody) subject(name csr.Name) error {
	seen := map[string]bool{}
	for _, rdn := range name {
		a, err := single(rdn)
		if err != nil {
			return err
		}
		oid := a.Type.String()
		if seen[oid] && oid != oidUserID {
			return fmt.Errorf("the subject has several attributes %s, and Vault writes one", typeName(oid))
		}
		seen[oid] = true
		switch oid {
		case oidCommonName:
			b.CommonName = a.Value
		case oidSerialNumber:
			b.SerialNumber = a.Value
		case oidUserID:
			b.UserIDs = append(b.UserIDs, a.Value)
		default:
			if !slices.Contains(Carries(Sign).Fixed, oid) {
				return fmt.Errorf("the subject has the attribute %s, and sign/:role has no field for it", typeName(oid))
			}
		}
	}
	return nil
}

// single gives the attribute of an RDN that has one, with a text that can be
// told.
func single(rdn csr.RDN) (csr.AttributeValue, error) {
	if len(rdn) != 1 {
		return csr.AttributeValue{}, errors.New("the subject has several attributes in one RDN, and Vault puts each in its own")
	}
	if !rdn[0].Text || rdn[0].Value == "" {
		return csr.AttributeValue{}, fmt.Errorf("the subject's %s is no text", csr.TypeName(rdn[0].Type))
	}
	return rdn[0], nil
}

// names puts each name of the SAN into its field.
func (b *signBody) names(san []csr.GeneralName) error {
	var alt []string
	for _, name := range san {
		switch {
		case name.Form == csr.DNS && isHost(name.Value):
			alt = append(alt, name.Value)
		case name.Form == csr.Email && plain(name.Value) && strings.Contains(name.Value, "@"):
			alt = append(alt, name.Value)
		case name.Form == csr.IP && isAddress(name.Value):
			b.IPSANs = append(b.IPSANs, name.Value)
		case name.Form == csr.URI && isURI(name.Value):
			b.URISANs = append(b.URISANs, name.Value)
		default:
			text, ok := utf8Name(name)
			if !ok {
				return fmt.Errorf("sign/:role would not give the name %s of the SAN back as it is", name)
			}
			b.OtherSANs = append(b.OtherSANs, text)
		}
	}
	b.AltNames = strings.Join(alt, ",")
	return nil
}

// utf8Name writes an otherName of UTF-8 text as the API has it, such as
// 1.3.6.1.4.1.311.20.2.3;utf8:anna@example.net.
func utf8Name(name csr.GeneralName) (string, bool) {
	if name.Form != csr.OtherName {
		return "", false
	}
	oid := name.TypeID.String()
	text := name.Value
	switch oid {
	case csr.OIDPermanentIdentifier, csr.OIDHardwareModuleName:
		return "", false
	case csr.OIDUserPrincipalName: // UTF-8 by its definition
	default:
		var ok bool
		if text, ok = strings.CutPrefix(text, "utf8:"); !ok {
			return "", false
		}
	}
	made, err := csr.NewOtherName(name.TypeID, name.Value)
	same := err == nil && string(made.Raw) == string(name.Raw)
	return oid + ";utf8:" + text, same && text != "" && strings.TrimSpace(text) == text
}

// isHost says that Vault takes a DNS name for one: others it drops without a
// word.
func isHost(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	for label := range strings.SplitSeq(s, ".") {
		inner := func(r rune) bool {
			return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-'
		}
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.ContainsFunc(label, func(r rune) bool { return !inner(r) }) {
			return false
		}
	}
	return len(s) <= 253
}

// plain says that a text survives in a list that is parted by commas.
func plain(s string) bool { return s != "" && !strings.Contains(s, ",") && strings.TrimSpace(s) == s }

// isAddress: an IPv4 address in IPv6 would come back as IPv4.
func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && !a.Is4In6() && a.Zone() == ""
}

func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.String() == s && strings.TrimSpace(s) == s
}

func hasAttribute(name csr.Name, oid string) bool {
	return slices.ContainsFunc(name, func(rdn csr.RDN) bool {
		return slices.ContainsFunc(rdn, func(a csr.AttributeValue) bool { return a.Type.String() == oid })
	})
}

// typeName is how messages call a type.
func typeName(oid string) string {
	id, ok := csr.TypeOID(oid)
	if !ok {
		return oid
	}
	return csr.TypeName(id)
}

// stamp is a time as the API takes it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
