// SPDX-License-Identifier: Apache-2.0

package est

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// kiosks is a policy with something to get around: one common name, names of
// one zone, addresses of one network; and an organization that may be any text.
const kiosks = `
version: 1
name: policy of the bypass tests
default: kiosks
profiles:
  kiosks:
    labels: [kiosks]
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present}
    subject: {CN: {allow: [kiosk]}, O: {allow: ["**"]}}
    san: {dns: {allow: ["**.good.example"]}, ip: {allow: ["10.0.0.0/8"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

// A vector is a request that shows a checker one thing and the CA another.
// policy/csr/bypass_test.go has the same ones, below the server.
type vector struct {
	name string
	opts []csrtest.Option
	want string // in the record: of the reason of a 400, of a finding of a 403
}

func kiosk(opts ...csrtest.Option) []csrtest.Option {
	return append([]csrtest.Option{csrtest.Subject(csrtest.CN("kiosk"))}, opts...)
}

func named(name ...[]byte) []csrtest.Option {
	return kiosk(csrtest.SAN(append([][]byte{csrtest.DNS("a.good.example")}, name...)...))
}

// organization has a value that the policy takes as any text.
func organization(value []byte) []csrtest.Option {
	return []csrtest.Option{csrtest.Subject(csrtest.CN("kiosk"), csrtest.RDN(csrtest.ATV("2.5.4.10", value)))}
}

// unreadable are requests that can't be read in one way only: 400.
func unreadable() []vector {
	san := func(value []byte) []csrtest.Option {
		return kiosk(csrtest.Extension(csrtest.SubjectAltName, false, value))
	}
	second := csrtest.SEQ(csrtest.SEQ(csrtest.OID(csrtest.SubjectAltName), csrtest.Text(4, string(csrtest.SEQ(csrtest.DNS("evil.example"))))))
	good, text := csrtest.SAN(csrtest.DNS("a.good.example")), csrtest.UTF8
	return []vector{
		{"two SAN extensions", kiosk(good, csrtest.SAN(csrtest.DNS("evil.example"))), "2.5.29.17 occurs twice"},
		{"a second extensionRequest", kiosk(good, csrtest.Attribute(csrtest.ExtensionRequest, second)), "1.2.840.113549.1.9.14: occurs twice"},
		{"an attribute twice", kiosk(good, csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("a")),
			csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("b"))), "1.2.840.113549.1.9.7: occurs twice"},
		{"a NUL in a dNSName", named(csrtest.DNS("b.good.example\x00.evil")), "control character or beyond ASCII"},
		{"a NUL before the good zone", named(csrtest.DNS("evil\x00.good.example")), "control character or beyond ASCII"},
		{"DEL in a dNSName", named(csrtest.DNS("a\x7f.good.example")), "control character or beyond ASCII"},
		{"a Cyrillic letter in a dNSName", named(csrtest.DNS("\u0430.good.example")), "control character or beyond ASCII"},
		{"a line feed in an e-mail", named(csrtest.Email("a@b\n")), "control character or beyond ASCII"},
		{"a Cyrillic letter in a URI", named(csrtest.URI("http://\u0430/")), "control character or beyond ASCII"},
		{"an empty dNSName", named(csrtest.DNS("")), "dns: empty"},
		{"an address of five bytes", named(csrtest.GeneralName(7, []byte{10, 2, 3, 4, 5})), "5 bytes, where an address has 4 or 16"},
		{"an address with a mask", named(csrtest.GeneralName(7, []byte{10, 0, 0, 0, 255, 0, 0, 0})), "8 bytes, where an address has 4 or 16"},
		{"an OID cut short", named(csrtest.GeneralName(8, []byte{0x2a, 0x83})), "not an OBJECT IDENTIFIER"},
		{"tag 9", named(csrtest.GeneralName(9, nil)), "tag 0x89 is not that of a GeneralName"},
		{"a universal tag", named(text("a")), "tag 0x0c is not that of a GeneralName"},
		{"a constructed dNSName", named(csrtest.ConstructedName(2, csrtest.IA5("a"))), "wrong encoding form"},
		{"a primitive otherName", named(csrtest.GeneralName(0, nil)), "wrong encoding form"},
		{"an otherName without type", named(csrtest.ConstructedName(0, text("a"))), "no type-id"},
		{"an otherName of two", named(csrtest.ConstructedName(0, csrtest.OID("1.2.3"), csrtest.ConstructedName(0, text("a"), text("b")))), "not exactly one"},
		{"a directoryName of two", named(csrtest.ConstructedName(4, csrtest.Name(), csrtest.Name())), "trailing bytes"},
		{"an empty SAN", san(csrtest.SEQ()), "subjectAltName: empty"},
		{"a SAN of nothing", san(nil), "not a SEQUENCE of GeneralNames in DER"},
		{"bytes after the SAN", san(append(csrtest.SEQ(csrtest.DNS("a.good.example")), 5, 0)), "2 trailing bytes"},
		{"257 names", kiosk(csrtest.SAN(slices.Repeat([][]byte{csrtest.DNS("a.good.example")}, 257)...)), "more than 256 names"},
	}
}

// unwanted are requests that the policy sees in full, and refuses: 403.
func unwanted() []vector {
	mapped := csrtest.GeneralName(7, append(make([]byte, 10), 0xff, 0xff, 10, 0, 0, 1))
	all := []vector{
		{"an otherName", named(csrtest.OtherName("1.3.6.1.4.1.311.20.2.3", csrtest.UTF8("admin@corp.example"))), "upn:admin@corp.example"},
		{"a user principal name that is no text", named(csrtest.OtherName("1.3.6.1.4.1.311.20.2.3", csrtest.INTEGER(1))), "otherName:1.3.6.1.4.1.311.20.2.3:der:AgEB"},
		{"a permanentIdentifier", named(csrtest.OtherName("1.3.6.1.5.5.7.8.3", csrtest.SEQ(csrtest.UTF8("kiosk")))), "permanentIdentifier:/kiosk"},
		{"a hardwareModuleName", named(csrtest.OtherName("1.3.6.1.5.5.7.8.4", csrtest.SEQ(csrtest.OID("1.2.3"), csrtest.Text(4, "k")))), "hardwareModuleName:1.2.3/6b"},
		{"an otherName that says a host", named(csrtest.OtherName("1.3.6.1.5.5.7.8.7", csrtest.IA5("_sip.a.good.example"))), "ia5:_sip.a.good.example"},
		{"an xn-- label of nothing", named(csrtest.DNS("xn--a.good.example")), "xn--a.good.example"},
		{"a U-label in a common name", []csrtest.Option{csrtest.Subject(csrtest.CN("ki\u00f6sk"))}, "CN"},
		{"an x400Address", named(csrtest.X400()), "x400Address"},
		{"a directoryName", named(csrtest.DirectoryName(csrtest.CN("kiosk"))), "directoryName"},
		{"an ediPartyName", named(csrtest.EDIParty("x")), "ediPartyName"},
		{"a registeredID", named(csrtest.RegisteredID("1.2.3")), "registeredID"},
		{"an IPv4-mapped address", named(mapped), "::ffff:10.0.0.1"},
		{"two common names", []csrtest.Option{csrtest.Subject(csrtest.CN("kiosk"), csrtest.CN("kiosk"))}, "CN"},
		{"a second common name", []csrtest.Option{csrtest.Subject(csrtest.CN("kiosk"), csrtest.CN("evil"))}, "evil"},
		{"two common names in one RDN", []csrtest.Option{csrtest.Subject(csrtest.RDN(
			csrtest.ATV("2.5.4.3", csrtest.UTF8("evil")), csrtest.ATV("2.5.4.3", csrtest.UTF8("kiosk"))))}, "evil"},
		{"two attributes in one RDN", []csrtest.Option{csrtest.Subject(csrtest.RDN(
			csrtest.ATV("2.5.4.10", csrtest.UTF8("a")), csrtest.ATV("2.5.4.3", csrtest.UTF8("kiosk"))))}, "one attribute in each RDN"},
		{"an unknown RDN", []csrtest.Option{csrtest.Subject(csrtest.CN("kiosk"), csrtest.RDN(csrtest.ATV("1.2.3.4", csrtest.UTF8("b"))))}, "1.2.3.4"},
		{"an unknown attribute beside a known one", []csrtest.Option{csrtest.Subject(csrtest.CN("kiosk"),
			csrtest.RDN(csrtest.ATV("2.5.4.10", csrtest.UTF8("a")), csrtest.ATV("1.2.3.4", csrtest.UTF8("b"))))}, "1.2.3.4"},
	}
	for name, value := range map[string][]byte{
		"an INTEGER":                             csrtest.INTEGER(1),
		"a SEQUENCE":                             csrtest.SEQ(csrtest.UTF8("admin")),
		"a context tag with UTF8String's number": csrtest.GeneralName(12, []byte("admin")),
		"a NUL":                                  csrtest.UTF8("admin\x00.evil"),
		"a NUL in BMPString":                     csrtest.Text(30, "\x00a\x00\x00"),
		"a line feed":                            csrtest.UTF8("a\nb"),
		"DEL":                                    csrtest.IA5("a\x7f"),
		"a C1 control":                           csrtest.UTF8("a\u0085b"),
		"bytes that aren't UTF-8":                csrtest.UTF8("a\xff"),
		"an overlong NUL":                        csrtest.UTF8("a\xc0\x80"),
		"an @ in PrintableString":                csrtest.Printable("a@b"),
		"a * in PrintableString":                 csrtest.Printable("*.example"),
		"a letter in NumericString":              csrtest.Text(18, "1a"),
		"8 bits in IA5String":                    csrtest.IA5("caf\xe9"),
		"8 bits in TeletexString":                csrtest.Text(20, "caf\xe9"),
		"an odd BMPString":                       csrtest.Text(30, "\x00a\x00"),
		"a surrogate pair in BMPString":          csrtest.Text(30, "\xd8\x3d\xde\x00"),
		"a UniversalString beyond Unicode":       csrtest.Text(28, "\x00\x11\x00\x00"),
		"a UniversalString with a negative rune": csrtest.Text(28, "\xff\xff\xff\xff"),
	} {
		all = append(all, vector{"no text: " + name, organization(value), `"got":"(not text)"`})
	}
	for _, alike := range []string{"\u212aiosk", "k\u0131osk", "ki\u043esk", "kiosk\u200b", "kio\u017fk", "ｋiosk", "kiosk\u00a0"} {
		all = append(all, vector{"a look-alike " + alike, []csrtest.Option{csrtest.Subject(csrtest.CN(alike))}, "CN"})
	}
	return all
}

// Design, section 11: what has shown a checker one thing and the CA another is
// refused end to end. Nothing is ordered, and the one record says why.
func TestThreat_WhatPolicyCannotSeeIsRefused(t *testing.T) {
	x := newSite(t, under(kiosks))
	client := x.client(false)
	try := func(v vector, status int, kind, public string) {
		t.Run(v.name, func(t *testing.T) {
			before := len(x.records)
			g := x.doWith(client, call{user: right, body: csrBody(t, v.opts...)})
			x.refused(t, g, status, kind, public)
			record, _ := x.last(g.Header.Get("X-Request-Id"))
			why := string(record.Reason)
			if status == 403 {
				findings, err := json.Marshal(record.Decision)
				if err != nil {
					t.Fatal(err)
				}
				why = string(findings)
			}
			if !strings.Contains(why, v.want) {
				t.Errorf("the record says %s, want %q", why, v.want)
			}
			if n := len(x.records) - before; n != 1 {
				t.Errorf("%d records", n)
			}
		})
	}
	for _, v := range unreadable() {
		try(v, 400, "malformed", unread)
	}
	for _, v := range unwanted() {
		try(v, 403, "refused", "refused by policy")
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
	// All that stands beside those names is allowed.
	for name, opts := range map[string][]csrtest.Option{
		"a name": named(csrtest.IP("10.0.0.1")), "a text": organization(csrtest.UTF8("any text")),
	} {
		if g := x.doWith(client, call{user: right, body: csrBody(t, opts...)}); g.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, g.StatusCode, g.body)
		}
	}
}
