// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// The types of the REST API, with its names in JSON.
type (
	// entity is AddEndEntityRestRequest.
	entity struct {
		Username           string  `json:"username"`
		Password           string  `json:"password"`
		Subject            string  `json:"subject_dn"`
		SAN                string  `json:"subject_alt_name,omitempty"`
		Extensions         []datum `json:"extension_data,omitempty"`
		Custom             []datum `json:"custom_data"`
		CA                 string  `json:"ca_name"`
		CertificateProfile string  `json:"certificate_profile_name"`
		EndEntityProfile   string  `json:"end_entity_profile_name"`
		Token              string  `json:"token"`
	}
	// datum is ExtendedInformationRestRequestComponent.
	datum struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	// status is SetEndEntityStatusRestRequest.
	status struct {
		Password string `json:"password"`
		Token    string `json:"token"`
		Status   string `json:"status"`
	}
	// certificateRequest is CertificateRequestRestRequest.
	certificateRequest struct {
		Request  string `json:"certificate_request"`
		Type     string `json:"certificate_request_type"`
		Username string `json:"username"`
		Password string `json:"password"`
		CA       string `json:"certificate_authority_name"`
		Chain    bool   `json:"include_chain"`
	}
)

const (
	// userGenerated: the key is the device's.
	userGenerated = "USERGENERATED"
	// endTime is the end of the validity, in UTC.
	endTime       = "customdata_ENDTIME"
	endTimeLayout = "2006-01-02 15:04:05"
)

// express writes down what is planned. An error says what an end entity can't be
// told; nothing has been sent then.
func (u *Upstream) express(o ra.Order) (entity, error) {
	plan := o.Plan()
	e := entity{
		CA: u.cfg.CA, CertificateProfile: u.cfg.CertificateProfile, EndEntityProfile: u.cfg.EndEntityProfile, Token: userGenerated,
		Custom: []datum{{endTime, o.NotAfter().UTC().Format(endTimeLayout)}},
	}
	var err error
	if e.Subject, err = subjectText(plan.Names.Subject); err != nil {
		return e, err
	}
	if e.SAN, err = sanText(plan.Names.SAN); err != nil {
		return e, err
	}
	for _, x := range plan.Extensions {
		if !u.cfg.Extensions {
			return e, fmt.Errorf("the plan has the extension %s: write `extensions` where the certificate profile has it", x.ID)
		}
		e.Extensions = append(e.Extensions, datum{x.ID.String(), hex.EncodeToString(x.Value)})
	}
	return e, nil
}

// subjectText writes a subject as EJBCA reads it.
func subjectText(name csr.Name) (string, error) {
	if len(name) == 0 {
		return "", errors.New("the plan has no subject, and an end entity needs one")
	}
	var parts []string
	seen := map[string]bool{}
	for _, rdn := range name {
		if len(rdn) != 1 || !rdn[0].Text || rdn[0].Value == "" {
			return "", fmt.Errorf("an end entity can't be told %s: it has one text in each RDN", csr.Name{rdn})
		}
		word, kind := wordOf(rdn[0].Type.String()), csr.TypeName(rdn[0].Type)
		switch {
		case word == "":
			return "", fmt.Errorf("an end entity can't be told the subject's %s", kind)
		case seen[word]:
			return "", fmt.Errorf("an end entity is told one %s of the subject, and the plan has several", kind)
		case !survives(rdn[0].Value):
			return "", fmt.Errorf("EJBCA would not give the subject's %s %q back as it is", kind, rdn[0].Value)
		}
		seen[word] = true
		parts = append(parts, word+"="+escape(rdn[0].Value))
	}
	return strings.Join(parts, ","), nil
}

func wordOf(oid string) string {
	for _, a := range attributes {
		if a.oid == oid {
			return a.word
		}
	}
	return ""
}

// sanText writes a SAN likewise.
func sanText(san []csr.GeneralName) (string, error) {
	var parts []string
	for _, g := range san {
		word := formWord(g)
		// What would be escaped in a DN, EJBCA takes apart in a SAN.
		if word == "" || !survives(g.Value) || escape(g.Value) != g.Value {
			return "", fmt.Errorf("EJBCA would not give the name %s of the SAN back as it is", g)
		}
		parts = append(parts, word+"="+g.Value)
	}
	return strings.Join(parts, ", "), nil
}

// formWord is empty for a name that can't be told. An IPv4 address in IPv6 would
// come back as IPv4.
func formWord(g csr.GeneralName) string {
	if a, err := netip.ParseAddr(g.Value); g.Form == csr.IP && (err != nil || a.Is4In6()) {
		return ""
	}
	for _, n := range names {
		if n.form == g.Form {
			return n.word
		}
	}
	return ""
}

// replaced are the characters that EJBCA writes as / by default, or that part or
// quote a DN.
const replaced = ";!%`?$~\"\\"

// survives says whether EJBCA takes a value for what it is.
func survives(s string) bool {
	return s != "" && strings.TrimSpace(s) == s && !strings.HasPrefix(s, "#") && !strings.ContainsAny(s, replaced) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}

// escape is that of RFC 4514 section 2.4, for what survives.
func escape(s string) string {
	return strings.NewReplacer(",", `\,`, "+", `\+`, "=", `\=`).Replace(s)
}
