// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// A linking value stands in challengePassword (RFC 7030 section 3.5) or in
// estIdentityLinking (RFC 7894): a device learns both names.
func TestHintsHaveBothLinkingAttributesWhereAnOperationRequiresOne(t *testing.T) {
	const who = "{who: [{http_basic: {users: [anna]}}], linking: "
	for name, test := range map[string]struct {
		operations string
		want       string
	}{
		"enroll requires it":      {"enroll: " + who + "required}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58"},
		"reenroll alone does":     {"enroll: " + who + "if_present}\n    reenroll: " + who + "required}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58"},
		"both do":                 {"enroll: " + who + "required}\n    reenroll: " + who + "required}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58"},
		"neither does":            {"enroll: " + who + "if_present}\n    reenroll: " + who + "if_present}", ""},
		"beside what must be":     {"enroll: " + who + "required}\n    attributes: {require: [friendlyName], allow: [macAddress]}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58 1.2.840.113549.1.9.20"},
		"without it what must be": {"enroll: " + who + "if_present}\n    attributes: {require: [friendlyName], allow: [macAddress]}", "1.2.840.113549.1.9.20"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(smallest, "enroll: "+who+"if_present}", test.operations, 1)
			profile, _ := mustCompile(t, "p.yaml", []byte(text)).Profile("")
			for _, op := range []Op{CSRAttrs, SimpleEnroll, SimpleReenroll} {
				var got []string
				h := profile.Hints(op)
				for _, oid := range slices.Concat(h.Linking, h.Attributes) {
					got = append(got, oid.String())
				}
				if strings.Join(got, " ") != test.want {
					t.Errorf("%s: %v, want %s", op, got, test.want)
				}
			}
		})
	}
}

// Each case is a body of a profile, and what is expected of a subject and of
// names: = is a value that there can only be one of, and nothing one of the
// client's.
func TestHintsNameWhatARequestMustHave(t *testing.T) {
	for name, test := range map[string]struct {
		names, subject, san string
	}{
		"what must be there": {"subject: {CN: {require: true, allow: [\"*.example\"]}, L: {allow: [\"*\"]}}\nsan: {dns: {require: true, allow: [\"*.example\"]}, ip: {allow: [10.0.0.0/8]}}", "CN", "dns"},
		"what is set":        {"subject: {CN: {allow: [\"*\"]}, O: {set: Example}}\nsan: {dns: {set: [a.example, b.example]}}", "O=Example", "dns:a.example dns:b.example"},
		"what must be there, if it can be one only": {"subject: {C: {require: true, allow: [DE]}, OU: {require: [Web, \"Mail *\"]}}\nsan: {ip: {require: [10.0.0.1, 10.1.0.0/16]}}", "C=DE OU=Web OU", "ip:10.0.0.1 ip"},
		"a name, where none must be there":          {"subject: {L: {allow: [\"*\"]}, CN: {allow: [\"*\"]}}", "L", ""},
		"a name of the SAN, where none must be":     {"san: {uri: {allow: [\"urn:x:*\"]}, dns: {allow: [\"*.example\"]}}", "", "uri"},
		"nothing beside what an expression sets":    {"subject: {CN: {set: {cel: \"'x' + csr.subject.L\"}}, L: {allow: [\"*\"]}}", "", ""},
		"what must be there for an expression":      {"subject: {CN: {require: true, set: {cel: \"'x' + csr.subject.CN\"}}}", "CN", ""},
		"what enroll sets":                          {"subject: {CN: {require: true, allow: [\"*\"]}}\nenroll: {who: [{http_basic: {users: [anna]}}, {http_basic: {users: [eve]}, set: {subject: {L: Bonn}}}], linking: if_present, set: {subject: {O: Example}}}", "CN O=Example", ""},
		"what the only line sets":                   {"subject: {CN: {require: true, allow: [\"*\"]}}\nenroll: {who: [{http_basic: {users: [anna]}, set: {subject: {L: Bonn}}}], linking: if_present}", "CN L=Bonn", ""},
	} {
		t.Run(name, func(t *testing.T) {
			body := "\n" + test.names + "\nusage: {key: [digitalSignature], ext: [clientAuth]}\nvalidity: {default: 30d}\n"
			if !strings.Contains(body, "enroll:") {
				body += "enroll: {who: [{http_basic: {users: [anna]}}], linking: if_present}\n"
			}
			text := "version: 1\nname: x\ndefault: all\nprofiles:\n  all:" + strings.ReplaceAll(body, "\n", "\n    ") + "\n"
			profile, _ := mustCompile(t, "p.yaml", []byte(text)).Profile("")
			h := profile.Hints(SimpleEnroll)
			var subject, san []string
			for _, rdn := range h.Subject {
				text := csr.TypeName(rdn[0].Type)
				if rdn[0].Value != "" {
					text += "=" + rdn[0].Value
				}
				subject = append(subject, text)
			}
			for _, hint := range h.SAN {
				text := hint.Form.String()
				if hint.Raw != nil {
					parsed, err := csr.Parse(csrtest.New(t, csrtest.SAN(hint.Raw)))
					if err != nil {
						t.Fatal(err)
					}
					text = parsed.Names.SAN[0].String()
				}
				san = append(san, text)
			}
			if strings.Join(subject, " ") != test.subject || strings.Join(san, " ") != test.san {
				t.Errorf("subject %q, san %q", subject, san)
			}
			if h.SANCritical != (len(subject) == 0) {
				t.Errorf("critical: %v", h.SANCritical)
			}
			complete := len(san) > 0 && !slices.ContainsFunc(h.SAN, func(n NameHint) bool { return n.Raw == nil })
			if (len(h.Extensions) == 1) != complete {
				t.Errorf("extensions: %v", h.Extensions)
			}
		})
	}
}

// A key that the policy doesn't write is a recommendation.
func TestHintsSayWhetherAnyKeyWillDo(t *testing.T) {
	for keys, want := range map[string]bool{
		"": true, "key: {rsa_exponents: [65537]}": true, "key: {ecdsa: [P-256]}": false, "key: {signatures: [SHA256-RSA, ECDSA-SHA256, Ed25519]}": false,
	} {
		profile, _ := mustCompile(t, "p.yaml", []byte(smallest+"    "+keys+"\n")).Profile("")
		if got := profile.Hints(SimpleEnroll).AnyKey; got != want {
			t.Errorf("%q: %v", keys, got)
		}
	}
}

func TestHintsHaveTheFormatThatIsWritten(t *testing.T) {
	for written, want := range map[string]HintFormat{
		"": HintBoth, "csrattrs: {linking: both}": HintBoth, "csrattrs: {format: both}": HintBoth,
		"csrattrs: {format: legacy}": HintList, "csrattrs: {format: template}": HintTemplate,
	} {
		profile, _ := mustCompile(t, "p.yaml", []byte(smallest+"    "+written+"\n")).Profile("")
		if got := profile.Hints(SimpleEnroll); got.Format != want || got.Off {
			t.Errorf("%q: %+v", written, got)
		}
	}
	profile, _ := mustCompile(t, "p.yaml", []byte(smallest+"    csrattrs: {format: \"off\"}\n")).Profile("")
	if got := profile.Hints(SimpleEnroll); !got.Off {
		t.Errorf("off: %+v", got)
	}
}
