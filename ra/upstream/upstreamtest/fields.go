// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// A field is one thing that a policy decides by itself, beside a CN and a DNS name
// that are the request's.
type field struct {
	name    string
	subject string // lines of the policy
	san     string
	rest    string
	carried func(policy.Capabilities) bool
	// fixed says that it stands in the CA's own configuration, of which the suite
	// knows nothing.
	fixed func(policy.Capabilities) bool
}

func attribute(name, oid, value string) field {
	return field{
		name: "the subject's " + name, subject: fmt.Sprintf("      %q: {set: %q}\n", name, value),
		carried: func(can policy.Capabilities) bool { return can.Attribute(oid) },
		fixed:   func(can policy.Capabilities) bool { return slices.Contains(can.Fixed, oid) },
	}
}

func alternative(name string, form csr.NameForm, value string) field {
	return field{
		name: "the name " + name, san: fmt.Sprintf("      %s: {set: %q}\n", name, value),
		carried: func(can policy.Capabilities) bool { return can.Name(form) },
	}
}

// otherName has a value of a type, such as utf8.
func otherName(name, value, kind string) field {
	f := alternative(name, csr.OtherName, value)
	f.carried = func(can policy.Capabilities) bool {
		return can.SAN || can.Name(csr.OtherName) && (can.OtherName == "" || can.OtherName == kind)
	}
	return f
}

var fields = []field{
	attribute("serialNumber", "2.5.4.5", "SN-7"),
	attribute("UID", "0.9.2342.19200300.100.1.1", "u-7"),
	attribute("O", "2.5.4.10", "Example, Net & Söhne"),
	attribute("OU", "2.5.4.11", "Depot+7"),
	attribute("C", "2.5.4.6", "DE"),
	attribute("L", "2.5.4.7", "Köln"),
	attribute("title", "2.5.4.12", "Router"),
	attribute("1.3.6.1.4.1.32473.1.5", "1.3.6.1.4.1.32473.1.5", "of nobody's type"),
	alternative("ip", csr.IP, "192.0.2.7"),
	alternative("email", csr.Email, "dev@fields.example"),
	alternative("uri", csr.URI, "https://fields.example/id/7"),
	alternative("directory_name", csr.DirectoryName, "O=Example,CN=rtr-7"),
	alternative("registered_id", csr.RegisteredID, "1.3.6.1.4.1.32473.1.6"),
	otherName("upn", "anna@fields.example", "utf8"),
	otherName("hardware_module_name", "1.3.6.1.4.1.32473.1.8/00ff", ""),
	{
		name: "the extension certificatePolicies", rest: "    extensions:\n      set:\n        certificatePolicies: {policies: [\"1.3.6.1.4.1.32473.1.1\"]}\n",
		carried: func(can policy.Capabilities) bool { return can.Extensions },
	},
}

const oneField = `
version: 1
name: policy of one field for tests
default: any
profiles:
  any:
    enroll:
      who: [{http_basic: {users: [ratest]}}]
      linking: if_present
    subject:
      CN: {allow: ["**"]}
%s    san:
      dns: {allow: ["**"]}
%s%s    usage: %s
    validity: {default: 1d}
`

// testFields orders each field alone. What can't be told must be refused, before
// anything is sent that the CA could issue from.
func (s Subject) testFields(t *testing.T) {
	up, sent := s.open(t), func() int { return 0 }
	if s.CA != nil {
		front := s.line(t)
		up = s.Open(t, Place{URL: front.URL})
		sent = func() int { _, signed := front.counts(); return signed }
	}
	can := up.Carries()
	for _, f := range fields {
		if f.fixed != nil && f.fixed(can) {
			continue
		}
		usage := usageOf(up, "{key: [digitalSignature], ext: [clientAuth, serverAuth]}")
		order := ratest.Order(t, ratest.Case{
			Policy: fmt.Sprintf(oneField, f.subject, f.san, f.rest, usage), CSR: named(t, can, "fields.example"), OwnSerials: !can.Serial,
		})
		if f.carried(can) {
			if _, err := issue(t.Context(), up, order); err != nil {
				t.Errorf("%s, which it carries: %v", f.name, err)
			}
			continue
		}
		before := sent()
		_, err := up.Issue(t.Context(), order)
		if kind, ok := kindOf(err); !ok || kind != ra.UpstreamRefused {
			t.Errorf("%s, which it doesn't carry: %v, want %v", f.name, err, ra.UpstreamRefused)
		}
		if sent() != before {
			t.Errorf("%s, which it doesn't carry, was sent without", f.name)
		}
	}
}
