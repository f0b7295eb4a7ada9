// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// everything is a profile that allows all that a policy can name, as widely
// as it can be written.
func everything(t *testing.T) *policy.Profile {
	t.Helper()
	var text strings.Builder
	text.WriteString(`version: 1
name: everything
guardrails: {limits: {names: 1000, csr_bytes: 1MiB}}
profiles:
  all:
    labels: [""]
    enroll: {who: [{http_basic: {users: [anna]}}], linking: if_present}
    key: {rsa: [2048, 3072, 4096], ecdsa: [P-256, P-384, P-521], ed25519: true}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
    san:
      dns: {allow: ["**"], wildcard: true}
      ip: {allow: ["0.0.0.0/0", "::/0"]}
      email: {allow: ["**@**"]}
      uri: {allow: ["https://**/**", "urn:**"]}
      upn: {allow: ["**@**"]}
      directory_name: {allow: ["CN=**"]}
      registered_id: {allow: ["**"]}
      permanent_identifier: {allow: ["**/**"]}
      hardware_module_name: {allow: ["**/*"]}
      other_name: {"1.2.3": {allow: ["utf8:**", "ia5:**", "oid:**"]}}
    subject:
`)
	attributes := []string{"1.2.3.4", "2.5.4.999"}
	for _, name := range csr.TypeNames() {
		if !slices.Contains(notOfSubjects, name) {
			attributes = append(attributes, name)
		}
	}
	for _, name := range attributes {
		allow := "**"
		if name == "emailAddress" {
			allow = "**@**"
		}
		fmt.Fprintf(&text, "      %q: {allow: [%q], max: 256}\n", name, allow)
	}
	text.WriteString(`    attributes: {allow: ["1.2.3", "1.2.3.4", "1.2.3.5", "1.2.3.9", macAddress, friendlyName, unstructuredName]}
    extensions: {allow: ["1.2.3.4", "1.2.3.5", "1.2.3.6", certificatePolicies, cRLDistributionPoints, tlsFeature, netscapeComment, issuerAltName]}
`)
	file, err := policy.Parse("everything.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	profile, _ := compiled.Profile("")
	return profile
}

var notOfSubjects = []string{"challengePassword", "extensionRequest", "otpChallenge", "revocationChallenge", "estIdentityLinking"}

var planNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func decided(profile *policy.Profile, r *csr.Request) (policy.Decision, []policy.Step) {
	return profile.Explain(policy.Request{
		Op: policy.SimpleEnroll, CSR: r, Now: planNow,
		Who: policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: "anna"}}},
	})
}

func reportLost(t *testing.T, odd Odd, r *csr.Request, profile *policy.Profile) {
	t.Helper()
	decision, steps := decided(profile, r)
	for _, what := range lost(r, decision, steps) {
		t.Errorf("%s: %s is neither planned nor in a finding\n%x", odd.Name, what, odd.DER)
	}
}

// lost gives what a request asks for that is neither planned as it was asked
// nor in a finding. Whether SAN, usages and basicConstraints are critical is
// not asked: that follows from the certificate (RFC 5280 section 4.2.1).
func lost(r *csr.Request, d policy.Decision, steps []policy.Step) []string {
	var list []string
	missing := func(what string, planned bool, tells ...string) {
		if !planned && !found(d, tells) {
			list = append(list, what)
		}
	}
	for _, rdn := range r.Names.Subject {
		for _, v := range rdn {
			kind, value := csr.TypeName(v.Type), beginning(v.Value)
			if !v.Text {
				value = "not text"
			}
			missing("subject "+kind, inSubject(d.Plan.Names.Subject, v), kind, value)
		}
	}
	for _, g := range r.Names.SAN {
		same := func(other csr.GeneralName) bool { return bytes.Equal(other.Raw, g.Raw) }
		value := g.Value
		if value == "" {
			value = g.String()
		}
		missing("SAN "+g.String(), slices.ContainsFunc(d.Plan.Names.SAN, same), beginning(value))
	}
	for _, e := range r.Extensions {
		if e.ID.String() == csr.OIDSubjectAltName {
			continue // above
		}
		planned, word := extensionPlanned(r, d, e)
		missing("extension "+e.ID.String(), planned, word)
	}
	for _, a := range r.Attributes {
		missing("attribute "+a.Type.String(), taken(steps, a.Type), attributeWord(a.Type))
	}
	return list
}

// found tells whether some finding has all the words.
func found(d policy.Decision, words []string) bool {
	return slices.ContainsFunc(d.Findings, func(f policy.Finding) bool {
		text := f.Path + " " + f.Got + " " + f.Message
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
	})
}

// beginning is how findings show the beginning of a value.
func beginning(value string) string {
	var kept strings.Builder
	for _, c := range value {
		if kept.Len() > 30 {
			break
		}
		kept.WriteRune(c)
	}
	quoted := strconv.QuoteToASCII(kept.String())
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func inSubject(name csr.Name, v csr.AttributeValue) bool {
	return slices.ContainsFunc(name, func(rdn csr.RDN) bool {
		return slices.ContainsFunc(rdn, func(p csr.AttributeValue) bool { return p.Type.Equal(v.Type) && bytes.Equal(p.Raw, v.Raw) })
	})
}

// extensionPlanned tells whether the certificate has what an extension asks
// for, and the word by which findings name it.
func extensionPlanned(r *csr.Request, d policy.Decision, e csr.Extension) (bool, string) {
	switch e.ID.String() {
	case csr.OIDKeyUsage:
		usage, _, err := r.RequestedKeyUsage()
		return err == nil && usage&^d.Plan.KeyUsage == 0, unlessUnread(err, "keyUsage", "key usage")
	case csr.OIDExtKeyUsage:
		usages, _, err := r.RequestedExtKeyUsage()
		more := func(oid asn1.ObjectIdentifier) bool { return !slices.ContainsFunc(d.Plan.ExtKeyUsage, oid.Equal) }
		return err == nil && !slices.ContainsFunc(usages, more), unlessUnread(err, "extKeyUsage", "extended key usage")
	case csr.OIDBasicConstraints:
		isCA, _, err := r.RequestedBasicConstraints()
		return err == nil && !isCA, unlessUnread(err, "basicConstraints", "CA")
	}
	same := func(p csr.Extension) bool {
		return p.ID.Equal(e.ID) && p.Critical == e.Critical && bytes.Equal(p.Value, e.Value)
	}
	word := "the extension "
	if name, ok := extensionWords[e.ID.String()]; ok {
		word += name
	} else if !strings.HasPrefix(e.ID.String(), "2.5.29.") && !strings.HasPrefix(e.ID.String(), "1.3.6.1.") {
		word += e.ID.String()
	}
	return slices.ContainsFunc(d.Plan.Extensions, same), word
}

// unlessUnread gives the word for an extension, which is another one where it
// can't be read.
func unlessUnread(err error, unread, word string) string {
	if err != nil {
		return "requested " + unread + " can't be read"
	}
	return word
}

var extensionWords = map[string]string{
	"2.5.29.14": "subjectKeyIdentifier", "2.5.29.30": "nameConstraints", "2.5.29.35": "authorityKeyIdentifier",
	"1.3.6.1.4.1.311.20.2": "certificateTemplateName", "2.16.840.1.113730.1.13": "netscapeComment",
}

// taken tells whether a rule of the policy names the attribute. What links
// identity and key is compared before, and nothing of it is for a certificate.
func taken(steps []policy.Step, oid asn1.ObjectIdentifier) bool {
	switch oid.String() {
	case csr.OIDChallengePassword, "1.2.840.113549.1.9.16.2.58":
		return slices.ContainsFunc(steps, func(s policy.Step) bool { return strings.HasSuffix(s.Path, ".linking") })
	}
	return slices.ContainsFunc(steps, func(s policy.Step) bool {
		return strings.Contains(s.Path, ".attributes.allow") && (s.Got == oid.String() || s.Got == csr.TypeName(oid)) && s.Outcome == "holds"
	})
}

func attributeWord(oid asn1.ObjectIdentifier) string {
	switch name := csr.TypeName(oid); {
	case oid.String() == csr.OIDChangeSubjectName:
		return "changeSubjectName"
	case strings.HasPrefix(name, "1.3.6.1.4.1.311.") || strings.HasPrefix(name, "1.2.840.113549.1.9."):
		return "the attribute " // Microsoft's and RFC 2985's have names of their own
	default:
		return "the attribute " + name
	}
}

// Without OpenSSL it takes no process, so there can be many more requests.
func TestNothingIsLostBetweenRequestAndPlan(t *testing.T) {
	profile := everything(t)
	all := collection(t)
	allowed := 0
	for _, odd := range slices.Concat(all, mutated(all, 5000)) {
		r, err := csr.Parse(odd.DER)
		if err != nil {
			continue
		}
		reportLost(t, odd, r, profile)
		if d, _ := decided(profile, r); d.Verdict == policy.Allow {
			allowed++
		}
	}
	if allowed < 500 {
		t.Errorf("only %d requests are allowed", allowed)
	}
}

// The comparison finds what is taken out of a plan, and a finding that is
// left out.
func TestWhatAPlanLosesIsFound(t *testing.T) {
	profile := everything(t)
	r := parsed(t, New(t, Subject(O("Lost Property"), CN("a"), RDN(ATV("2.5.4.11", INTEGER(1)))), SAN(DNS("lost.example"), X400()),
		Extension("2.5.29.15", true, BITS(2, 0x84)), Extension("2.5.29.37", false, SEQ(OID("1.3.6.1.5.5.7.3.1"))), Extension("2.5.29.19", true, SEQ([]byte{1, 1, 0xff})),
		Extension("1.2.3.4", true, []byte{5, 0}), Extension("1.2.3.7", false, []byte{5, 0}), Extension("2.5.29.14", false, Text(4, "abcd")),
		Attribute("1.2.3.5", INTEGER(1)), Attribute("1.2.3.8", INTEGER(1))))
	if d, steps := decided(profile, r); lost(r, d, steps) != nil {
		t.Fatal(lost(r, d, steps))
	}
	type change = func(*policy.Decision) *policy.Decision
	for want, change := range map[string]change{
		"subject O":           func(d *policy.Decision) *policy.Decision { d.Plan.Names.Subject = d.Plan.Names.Subject[1:]; return d },
		"SAN dns:lost":        func(d *policy.Decision) *policy.Decision { d.Plan.Names.SAN = nil; return d },
		"extension 1.2.3.4":   func(d *policy.Decision) *policy.Decision { d.Plan.Extensions = nil; return d },
		"subject OU":          without("OU"),
		"SAN x400":            without("x400"),
		"extension 2.5.29.15": without("key usage"),
		"extension 2.5.29.37": without("extended key usage"),
		"extension 2.5.29.19": without("CA"),
		"extension 2.5.29.14": without("subjectKeyIdentifier"),
		"extension 1.2.3.7":   without("1.2.3.7"),
		"attribute 1.2.3.8":   without("1.2.3.8"),
	} {
		t.Run(want, func(t *testing.T) {
			d, steps := decided(profile, r)
			got := lost(r, *change(&d), steps)
			if !slices.ContainsFunc(got, func(what string) bool { return strings.HasPrefix(what, want) }) {
				t.Errorf("what is lost is %q", got)
			}
		})
	}
	if d, _ := decided(profile, r); !slices.Contains(lost(r, d, nil), "attribute 1.2.3.5") {
		t.Error("an attribute that no step names is not missed")
	}
}

func without(word string) func(*policy.Decision) *policy.Decision {
	return func(d *policy.Decision) *policy.Decision {
		d.Findings = slices.DeleteFunc(d.Findings, func(f policy.Finding) bool { return strings.Contains(f.Path+f.Got+f.Message, word) })
		return d
	}
}
