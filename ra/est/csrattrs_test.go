// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/wire"
)

// hinting has a profile for each format.
const hinting = `
version: 1
name: hints
default: both
profiles:
  both:
    labels: [both]
BODY
  template:
    labels: [template]
    csrattrs: {format: template}
BODY
  legacy:
    labels: [legacy]
    csrattrs: {format: legacy}
BODY
  "off":
    labels: ["off"]
    csrattrs: {format: "off"}
BODY
`

const hintedBody = `
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present}
    subject: {CN: {require: true, allow: ["*.example"]}, O: {set: Example}, OU: {require: [Routers, "Branch *"]}}
    san: {dns: {set: [a.example, b.example]}}
    key: {ecdsa: [P-256], ed25519: true}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

func hintingSite(t *testing.T) *site {
	return newSite(t, under(strings.ReplaceAll(hinting, "BODY", strings.Trim(hintedBody, "\n"))))
}

func (x *site) csrAttrs(label, agent string) []byte {
	x.t.Helper()
	g := x.do(call{method: "GET", path: label + "/csrattrs", header: http.Header{"User-Agent": {agent}}})
	if g.StatusCode != 200 {
		x.t.Fatalf("%s: %d %q", label, g.StatusCode, g.body)
	}
	der, _, err := wire.DecodeBody([]byte(g.body))
	if err != nil {
		x.t.Fatal(err)
	}
	return der
}

func TestCSRAttrsHasTheFormsThatTheProfileSays(t *testing.T) {
	x := hintingSite(t)
	const list = "1.2.840.10045.2.1 1.3.101.112 1.2.840.113549.1.9.14 1.2.840.10045.4.3.2"
	const template = "1.2.840.113549.1.9.16.2.61"
	const plain = "1.2.840.10045.2.1 1.2.840.10045.4.3.2"
	for _, c := range []struct{ label, agent, want string }{
		{"both", "strongSwan", list + " " + template},
		{"both", "libest 3.2.0p", plain},
		{"both", "Cisco EST client 1.0", plain},
		{"both", "", plain},
		{"template", "strongSwan", template},
		{"template", "libest 3.2.0p", template},
		{"legacy", "strongSwan", list},
		{"legacy", "libest 3.2.0p", plain},
	} {
		elements, err := csrattrs.Parse(x.csrAttrs(c.label, c.agent))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range elements {
			got = append(got, a.OID.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s for %q: %v", c.label, c.agent, got)
		}
	}
	if g := x.do(call{method: "GET", path: "off/csrattrs"}); g.StatusCode != 404 {
		t.Errorf("off: %d", g.StatusCode)
	}
}

// copies are the attributes that libest makes of an answer: each OID that
// OpenSSL knows, with an empty text.
func copies(t *testing.T, der cryptobyte.String) []csrtest.Option {
	t.Helper()
	var options []csrtest.Option
	for !der.Empty() {
		var element, content cryptobyte.String
		var tag asn1.Tag
		if !der.ReadAnyASN1Element(&element, &tag) {
			t.Fatal("not DER")
		}
		whole := element
		_ = whole.ReadAnyASN1(&content, nil)
		switch tag {
		case asn1.SEQUENCE, asn1.SET:
			options = append(options, copies(t, content)...)
		case asn1.OBJECT_IDENTIFIER:
			if !strings.HasSuffix(string(element), "\x10\x02\x3d") { // the template's OID
				options = append(options, csrtest.RawAttribute(csrtest.SEQ(element, csrtest.SET(csrtest.Printable("")))))
			}
		default:
		}
	}
	return options
}

func TestAClientThatCopiesWhatItFindsStillEnrols(t *testing.T) {
	x := hintingSite(t)
	names := []csrtest.Option{
		csrtest.Subject(csrtest.CN("a.example"), csrtest.O("Example"), csrtest.RDN(csrtest.ATV("2.5.4.11", csrtest.UTF8("Routers"))),
			csrtest.RDN(csrtest.ATV("2.5.4.11", csrtest.UTF8("Branch 7")))),
		csrtest.SAN(csrtest.DNS("a.example"), csrtest.DNS("b.example")),
	}
	for _, agent := range []string{"libest 3.2.0p", ""} {
		made := copies(t, x.csrAttrs("both", agent))
		if len(made) < 3 {
			t.Fatalf("%q copies only %d", agent, len(made))
		}
		g := x.do(call{path: "both/simpleenroll", user: right, body: csrBody(t, slices.Concat(names, made)...)})
		if g.StatusCode != 200 {
			record, _ := x.last(g.Header.Get("X-Request-Id"))
			t.Errorf("%q: %d %+v", agent, g.StatusCode, record.Decision)
		}
	}
	// Another client with the same habit: what the template has in its subject
	// is no foreign attribute.
	g := x.do(call{path: "both/simpleenroll", user: right, body: csrBody(t, slices.Concat(names, []csrtest.Option{
		csrtest.Attribute("2.5.4.3", csrtest.UTF8("test\n")), csrtest.Attribute("2.5.4.10", csrtest.Printable("")),
	})...)})
	if g.StatusCode != 200 {
		t.Errorf("attributes of the template's subject: %d %q", g.StatusCode, g.body)
	}
	leaf := g.certs(t)[0]
	if got := leaf.Subject.CommonName; got != "a.example" {
		t.Errorf("an attribute got into the certificate: %s", got)
	}
	g = x.do(call{path: "legacy/simpleenroll", user: right, body: csrBody(t, slices.Concat(names, []csrtest.Option{csrtest.Attribute("2.5.4.3", csrtest.UTF8("x"))})...)})
	if g.StatusCode != 403 {
		t.Errorf("where no template said so: %d", g.StatusCode)
	}
}
