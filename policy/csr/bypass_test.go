// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// Ways by which a request has shown a checker one thing and the CA another.
// Each must be refused here, or be in plain view of the policy.

func TestThreat_EveryGeneralNameFormIsVisible(t *testing.T) {
	r := parse(t, New(t, SAN(
		OtherName("1.2.3", UTF8("admin@corp.example")),
		Email("a@b.example"), DNS("a.example"), X400(), DirectoryName(CN("admin")),
		EDIParty("x"), URI("spiffe://a/b"), IP("10.0.0.1"), RegisteredID("1.2.3"))))
	want := []string{
		"otherName:1.2.3:utf8:admin@corp.example",
		"email:a@b.example", "dns:a.example", "x400Address:3000", "directoryName:CN=admin",
		"ediPartyName:a1030c0178", "uri:spiffe://a/b", "ip:10.0.0.1", "registeredID:1.2.3",
	}
	if len(r.Names.SAN) != len(want) {
		t.Fatalf("%d names, want %d", len(r.Names.SAN), len(want))
	}
	for i, g := range r.Names.SAN {
		if g.String() != want[i] || int(g.Form) != i {
			t.Errorf("name %d is form %d, %s; want %s", i, g.Form, g, want[i])
		}
	}
}

func TestThreat_DuplicateSANExtensionIsRefused(t *testing.T) {
	refused(t, New(t, SAN(DNS("good.example")), SAN(DNS("evil.example"))),
		"extensionRequest: extension 2.5.29.17 occurs twice")
}

func TestThreat_ASecondExtensionRequestIsRefused(t *testing.T) {
	second := SEQ(SEQ(OID(SubjectAltName), Text(4, string(SEQ(DNS("evil.example"))))))
	refused(t, New(t, SAN(DNS("good.example")), Attribute(ExtensionRequest, second)),
		"attribute 1.2.840.113549.1.9.14: occurs twice")
}

func TestThreat_AnAttributeTwiceIsRefused(t *testing.T) {
	refused(t, New(t, Attribute(ChallengePassword, Printable("a")), Attribute(ChallengePassword, Printable("b"))),
		"attribute 1.2.840.113549.1.9.7: occurs twice")
}

func TestThreat_DuplicateAndUnknownRDNsAreVisible(t *testing.T) {
	subject := Subject(CN("good"), CN("evil"), RDN(ATV("2.5.4.10", UTF8("a")), ATV("1.2.3.4", UTF8("b"))))
	r := parse(t, New(t, subject))
	if got := r.Names.Subject.String(); got != "CN=good, CN=evil, O=a+1.2.3.4=b" {
		t.Errorf("subject is %s", got)
	}
}

func TestThreat_ValuesThatAreNoTextSaySo(t *testing.T) {
	tests := map[string][]byte{
		"an INTEGER":                             INTEGER(1),
		"a SEQUENCE":                             SEQ(UTF8("admin")),
		"a context tag with UTF8String's number": GeneralName(12, []byte("admin")),
		"a NUL":                                  UTF8("admin\x00.evil"),
		"a NUL in BMPString":                     Text(30, "\x00a\x00\x00"),
		"a line feed":                            UTF8("a\nb"),
		"DEL":                                    IA5("a\x7f"),
		"a C1 control":                           UTF8("a\u0085b"),
		"bytes that aren't UTF-8":                UTF8("a\xff"),
		"an overlong NUL":                        UTF8("a\xc0\x80"),
		"an @ in PrintableString":                Printable("a@b"),
		"a * in PrintableString":                 Printable("*.example"),
		"a letter in NumericString":              Text(18, "1a"),
		"8 bits in IA5String":                    IA5("caf\xe9"),
		"8 bits in TeletexString":                Text(20, "caf\xe9"),
		"an odd BMPString":                       Text(30, "\x00a\x00"),
		"a surrogate pair in BMPString":          Text(30, "\xd8\x3d\xde\x00"),
		"a UniversalString beyond Unicode":       Text(28, "\x00\x11\x00\x00"),
		"a UniversalString with a negative rune": Text(28, "\xff\xff\xff\xff"),
	}
	for name, value := range tests {
		t.Run(name, func(t *testing.T) {
			v := parse(t, New(t, Subject(RDN(ATV("2.5.4.3", value))))).Names.Subject[0][0]
			if v.Text || v.Value != "" || string(v.Raw) != string(value) {
				t.Errorf("Text %t, Value %q, Raw %x", v.Text, v.Value, v.Raw)
			}
		})
	}
}

func TestThreat_ControlAndForeignBytesInGeneralNamesAreRefused(t *testing.T) {
	tests := map[string]struct {
		name []byte
		want string
	}{
		"a NUL in a dNSName":        {DNS("good.example\x00.evil"), `subjectAltName: name 1: dns: byte 13 of "good.example\x00.evil" is a control character or beyond ASCII`},
		"a line feed in an e-mail":  {Email("a@b\n"), `subjectAltName: name 1: email: byte 4 of "a@b\n" is a control character or beyond ASCII`},
		"a Cyrillic а in a URI":     {URI("http://\u0430/"), `subjectAltName: name 1: uri: byte 8 of "http://а/" is a control character or beyond ASCII`},
		"DEL in a dNSName":          {DNS("a\x7f"), `subjectAltName: name 1: dns: byte 2 of "a\x7f" is a control character or beyond ASCII`},
		"an empty dNSName":          {DNS(""), "subjectAltName: name 1: dns: empty"},
		"an address of five bytes":  {GeneralName(7, []byte{1, 2, 3, 4, 5}), "subjectAltName: name 1: ip: 5 bytes, where an address has 4 or 16"},
		"an address with a mask":    {GeneralName(7, []byte{10, 0, 0, 0, 255, 0, 0, 0}), "subjectAltName: name 1: ip: 8 bytes, where an address has 4 or 16"},
		"an OID cut short":          {GeneralName(8, []byte{0x2a, 0x83}), "subjectAltName: name 1: registeredID: not an OBJECT IDENTIFIER"},
		"tag 9":                     {GeneralName(9, nil), "subjectAltName: name 1: tag 0x89 is not that of a GeneralName"},
		"a universal tag":           {UTF8("a"), "subjectAltName: name 1: tag 0x0c is not that of a GeneralName"},
		"a constructed dNSName":     {ConstructedName(2, IA5("a")), "subjectAltName: name 1: dns: tag 0xa2 has the wrong encoding form"},
		"a primitive otherName":     {GeneralName(0, nil), "subjectAltName: name 1: otherName: tag 0x80 has the wrong encoding form"},
		"an otherName without type": {ConstructedName(0, UTF8("a")), "subjectAltName: name 1: otherName: no type-id"},
		"an otherName of two": {ConstructedName(0, OID("1.2.3"), ConstructedName(0, UTF8("a"), UTF8("b"))),
			"subjectAltName: name 1: otherName: 1.2.3: not exactly one [0] EXPLICIT value"},
		"a directoryName of two": {ConstructedName(4, Name(), Name()), "subjectAltName: name 1: directoryName: 2 trailing bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { refused(t, New(t, SAN(test.name)), test.want) })
	}
}

func TestThreat_OddSANsAreRefused(t *testing.T) {
	san := func(value []byte) []byte { return New(t, Extension(SubjectAltName, false, value)) }
	refused(t, san(SEQ()), "subjectAltName: empty")
	refused(t, san(nil), "subjectAltName: not a SEQUENCE of GeneralNames in DER")
	refused(t, san(append(SEQ(DNS("a")), 5, 0)), "subjectAltName: 2 trailing bytes")
	refused(t, New(t, SAN(repeat(DNS("a"), 257)...)), "subjectAltName: more than 256 names")
}

func TestThreat_LookAlikesAreNotEqual(t *testing.T) {
	plain := parse(t, New(t, Subject(CN("kiosk")))).Names
	for _, alike := range []string{"\u212aiosk", "k\u0131osk", "ki\u043esk", "kiosk\u200b", "kio\u017fk", "ｋiosk", "kiosk\u00a0"} {
		r := parse(t, New(t, Subject(CN(alike))))
		if !r.Names.Subject[0][0].Text {
			t.Errorf("%q is not text", alike)
		}
		if plain.Equal(r.Names) || r.Names.Equal(plain) {
			t.Errorf("%q passes for kiosk", alike)
		}
	}
}

func TestThreat_MappedAddressIsNotAnIPv4Address(t *testing.T) {
	mapped := GeneralName(7, append(make([]byte, 10), 0xff, 0xff, 10, 0, 0, 1))
	r := parse(t, New(t, SAN(mapped, IP("10.0.0.1"))))
	if got := r.Names.SAN[0].Value; got != "::ffff:10.0.0.1" {
		t.Errorf("the mapped address is %s", got)
	}
	one, other := csr.Names{HasSAN: true, SAN: r.Names.SAN[:1]}, csr.Names{HasSAN: true, SAN: r.Names.SAN[1:]}
	if one.Equal(other) {
		t.Error("both are equal")
	}
}
