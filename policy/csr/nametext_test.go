// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// asked gives a GeneralName as it is read in a request.
func asked(t testing.TB, name []byte) csr.GeneralName {
	t.Helper()
	return parse(t, New(t, SAN(name))).Names.SAN[0]
}

func TestEachFormHasATextThatMakesItAgain(t *testing.T) {
	for text, name := range map[string][]byte{
		"dns:a.example":           DNS("a.example"),
		"ip:2001:db8::1":          IP("2001:db8::1"),
		"email:a@b.example":       Email("a@b.example"),
		"uri:https://a.example/b": URI("https://a.example/b"),
		"registeredID:1.2.3":      RegisteredID("1.2.3"),
		"directoryName:O=Acme, CN=a\\, b": DirectoryName(
			RDN(ATV("2.5.4.10", Printable("Acme"))), RDN(ATV("2.5.4.3", Printable("a, b")))),
		"directoryName:serialNumber=7+CN=M\u00fcller": DirectoryName(
			RDN(ATV("2.5.4.5", Printable("7")), ATV("2.5.4.3", UTF8("M\u00fcller")))),
		"directoryName:CN=a+serialNumber=7": DirectoryName(
			RDN(ATV("2.5.4.3", Printable("a")), ATV("2.5.4.5", Printable("7")))),
		"directoryName:1.2.3.4=#0500":                DirectoryName(RDN(ATV("1.2.3.4", []byte{5, 0}))),
		"upn:anna@corp.example":                      OtherName(csr.OIDUserPrincipalName, UTF8("anna@corp.example")),
		"upn:j\u00f6rg@corp.example":                 OtherName(csr.OIDUserPrincipalName, UTF8("j\u00f6rg@corp.example")),
		"permanentIdentifier:1.2.3/SN/1":             OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("SN/1"), OID("1.2.3"))),
		"permanentIdentifier:/SN-1":                  OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("SN-1"))),
		"hardwareModuleName:1.2.3/01ab":              OtherName(csr.OIDHardwareModuleName, SEQ(OID("1.2.3"), octets("\x01\xab"))),
		"otherName:1.2.3:utf8:J\u00f6rg":             OtherName("1.2.3", UTF8("J\u00f6rg")),
		"otherName:1.3.6.1.5.5.7.8.7:ia5:_sip.a.net": OtherName("1.3.6.1.5.5.7.8.7", IA5("_sip.a.net")),
		"otherName:1.2.3:oid:1.2.840":                OtherName("1.2.3", OID("1.2.840")),
		"otherName:1.2.3:der:MAA=":                   OtherName("1.2.3", SEQ()),
	} {
		t.Run(text, func(t *testing.T) {
			g := asked(t, name)
			if g.String() != text {
				t.Errorf("it is written %q", g)
			}
			made, err := csr.ParseGeneralName(text)
			if err != nil || !bytes.Equal(made.Raw, name) || made.Value != g.Value || made.Form != g.Form || !made.TypeID.Equal(g.TypeID) {
				t.Errorf("made is %+v (%v), want %+v", made, err, g)
			}
		})
	}
}

func TestPolicyWordsNameTheFormsToo(t *testing.T) {
	for text, want := range map[string]string{
		"directory_name:CN=a":            "directoryName:CN=a",
		"registered_id:1.2":              "registeredID:1.2",
		"other_name:1.2.3:utf8:a":        "otherName:1.2.3:utf8:a",
		"permanent_identifier:/a":        "permanentIdentifier:/a",
		"hardware_module_name:1.2.3/0a":  "hardwareModuleName:1.2.3/0a",
		"DNS:a.example":                  "dns:a.example",
		"directory_name: O = a , CN = b": "directoryName:O=a, CN=b",
	} {
		if g, err := csr.ParseGeneralName(text); err != nil || g.String() != want {
			t.Errorf("%s is read as %s (%v)", text, g, err)
		}
	}
}

func TestTextsThatMakeNoNameAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a.example":                  `"a.example" is not of the form WORD:NAME, such as dns:a.example`,
		"host:a.example":             `"host" is not a form of name`,
		"x400Address:a":              "a name of form x400Address can't be made from text",
		"edi_party_name:a":           "a name of form ediPartyName can't be made from text",
		"registeredID:1":             `registeredID: "1" is not an OID`,
		"registeredID:1.40":          `registeredID: "1.40" is not an OID`,
		"directoryName:":             "directoryName: empty",
		"directoryName:a":            `directoryName: want TYPE=VALUE at "a"`,
		"directoryName:CN=":          "directoryName: RDN 1: CN: the value is empty",
		"directoryName:C=\u00c4":     `directoryName: RDN 1: C: "Ä" does not fit a PrintableString, the only type that it may have`,
		"directoryName:X=a":          `directoryName: "X" is neither a known attribute, such as CN, nor an OID`,
		"directoryName:CN=a\\0A":     "directoryName: CN: the value is not text without control characters",
		"directoryName:CN=a\\FF":     "directoryName: CN: the value is not text without control characters",
		"directoryName:CN=#05":       "directoryName: CN: #05 is not # and one DER value in hexadecimal",
		"upn:":                       "upn: empty",
		"upn:a\nb":                   `upn: "a\nb" has a character that it can't have`,
		"permanentIdentifier:a":      `permanentIdentifier: "a" is not of the form ASSIGNER/VALUE`,
		"permanentIdentifier:1.2/":   "permanentIdentifier: empty",
		"permanentIdentifier:x/a":    `permanentIdentifier: "x" is not an OID`,
		"hardwareModuleName:1.2.3":   `hardwareModuleName: "1.2.3" is not of the form TYPE/SERIAL with an OID and hexadecimal digits`,
		"hardwareModuleName:1.2.3/":  `hardwareModuleName: "1.2.3/" is not of the form TYPE/SERIAL with an OID and hexadecimal digits`,
		"hardwareModuleName:/0a":     `hardwareModuleName: "" is not an OID`,
		"hardwareModuleName:1.2/0A":  `hardwareModuleName: "1.2/0A" is written "1.2/0a"`,
		"otherName:a":                `otherName: "a" is not the OID of its type`,
		"otherName:1.2.3":            `otherName: "" begins with none of utf8:, ia5:, oid: and der:`,
		"otherName:1.2.3:a":          `otherName: "a" begins with none of utf8:, ia5:, oid: and der:`,
		"otherName:1.2.3:utf8:":      "otherName: empty",
		"otherName:1.2.3:ia5:\u00e9": `otherName: "é" has a character that it can't have`,
		"otherName:1.2.3:oid:x":      `otherName: "x" is not an OID`,
		"otherName:1.2.3:der:@":      `otherName: "@" is not base64`,
		"otherName:1.2.3:der:":       "otherName: 1.2.3: not exactly one [0] EXPLICIT value",
		"otherName:1.2.3:der:AAAA":   "otherName: 1.2.3: not exactly one [0] EXPLICIT value",
		"otherName:1.2.3:der:DAFh":   `otherName: "der:DAFh" is written "utf8:a"`,
		"otherName:" + csr.OIDUserPrincipalName + ":utf8:a": "otherName: the type 1.3.6.1.4.1.311.20.2.3 is written upn:",
	} {
		if g, err := csr.ParseGeneralName(text); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, %v", text, g, err)
		}
	}
}

func TestAnOtherNameThatIsNotOfItsTypeHasNoValue(t *testing.T) {
	for name, test := range map[string]struct {
		name []byte
		want string
	}{
		"a principal in IA5String":    {OtherName(csr.OIDUserPrincipalName, IA5("a@b")), "otherName:1.3.6.1.4.1.311.20.2.3:ia5:a@b"},
		"a principal with a NUL":      {OtherName(csr.OIDUserPrincipalName, UTF8("a\x00")), "otherName:1.3.6.1.4.1.311.20.2.3:der:DAJhAA=="},
		"an empty principal":          {OtherName(csr.OIDUserPrincipalName, UTF8("")), "otherName:1.3.6.1.4.1.311.20.2.3:der:DAA="},
		"an identifier without value": {OtherName(csr.OIDPermanentIdentifier, SEQ(OID("1.2.3"))), "otherName:1.3.6.1.5.5.7.8.3:der:MAQGAioD"},
		"a module without serial":     {OtherName(csr.OIDHardwareModuleName, SEQ(OID("1.2.3"), octets(""))), "otherName:1.3.6.1.5.5.7.8.4:der:MAYGAioDBAA="},
		"a directory name of nothing": {DirectoryName(), "directoryName:3000"},
	} {
		t.Run(name, func(t *testing.T) {
			if g := asked(t, test.name); g.Value != "" || g.String() != test.want {
				t.Errorf("value %q, written %q", g.Value, g)
			}
		})
	}
}

func TestNamesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"  ":                              "",
		"CN=a":                            "CN=a",
		"O=a,CN=b":                        "O=a, CN=b",
		" O = a b , CN =  c ":             "O=a b, CN=c",
		`CN=a\ ,O=b`:                      `CN=a\ , O=b`,
		`CN=\ a`:                          `CN=\ a`,
		`CN=a\2Cb`:                        `CN=a\,b`,
		`CN=a\,b+O=c\+d`:                  `CN=a\,b+O=c\+d`,
		`CN=\#a`:                          `CN=\#a`,
		"2.5.4.3=a":                       "CN=a",
		"1.2.3.4=a":                       "1.2.3.4=a",
		"CN=#0C0161":                      "CN=a",
		"CN=#0500":                        "CN=#0500",
		"CN=a=b":                          `CN=a\=b`,
		"CN=\\C3\\BC":                     "CN=\u00fc",
		"CN=a, OU=b, OU=c, CN=" + "d+O=e": "CN=a, OU=b, OU=c, CN=d+O=e",
	} {
		name, err := csr.ParseName(text)
		if err != nil || name.String() != want {
			t.Errorf("%q is read as %q (%v), want %q", text, name, err, want)
		}
	}
	for text, want := range map[string]string{
		"CN=a,":                          `want TYPE=VALUE at ""`,
		"CN=a,,O=b":                      `",O" is neither a known attribute, such as CN, nor an OID`,
		`CN=a\`:                          "CN: a backslash at the end escapes nothing",
		`CN=\z1`:                         `CN: \z1 is no escape of RFC 4514`,
		"CN=#0":                          "CN: #0 is not # and one DER value in hexadecimal",
		"CN=#05000500":                   "CN: #05000500 is not # and one DER value in hexadecimal",
		"cn=a":                           `"cn" is neither a known attribute, such as CN, nor an OID`,
		strings.Repeat("+CN=a", 300)[1:]: "more than 256 attributes",
		strings.Repeat(",CN=a", 300)[1:]: "more than 256 attributes",
	} {
		if name, err := csr.ParseName(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %q, %v", text, name, err)
		}
	}
}

// FuzzGeneralName holds that a name read in a request has a text which makes
// an equal one, of the same bytes but for directoryNames: those have string types, and
// an order in each RDN, that the text doesn't say.
func FuzzGeneralName(f *testing.F) {
	for _, name := range [][]byte{
		DNS("a"), Email("a@b"), URI("urn:a"), IP("10.0.0.1"), RegisteredID("1.2.3"), DirectoryName(CN("a"), O(" b#")), X400(), EDIParty("x"),
		OtherName("1.2.3", UTF8("x")), OtherName("1.2.3", IA5("x")), OtherName("1.2.3", OID("1.2")), OtherName("1.2.3", SEQ()),
		OtherName(csr.OIDUserPrincipalName, UTF8("a@b")), OtherName(csr.OIDHardwareModuleName, SEQ(OID("1.2.3"), octets("\x01"))),
		OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("a"), OID("1.2.3"))), OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("/"))),
		DirectoryName(RDN(ATV("2.5.4.3", Text(30, "\x00a")), ATV("1.2.3", []byte{5, 0}))),
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		r, err := csr.Parse(requestWithSAN(name))
		if err != nil || len(r.Names.SAN) == 0 {
			return
		}
		g := r.Names.SAN[0]
		onlyPrintable(t, g.String())
		if g.Value == "" {
			return
		}
		made, err := makeAgain(g)
		if err != nil {
			if g.Form == csr.DirectoryName {
				return // a value in a string type that its attribute doesn't have
			}
			t.Fatalf("%v can't be made: %v", g, err)
		}
		exact := made.Value == g.Value && bytes.Equal(made.Raw, g.Raw)
		if !made.Equal(g) || !exact && g.Form != csr.DirectoryName {
			t.Errorf("%v (%x) is made again as %v (%x)", g, g.Raw, made, made.Raw)
		}
	})
}

func makeAgain(g csr.GeneralName) (csr.GeneralName, error) {
	if g.Form == csr.OtherName {
		return csr.NewOtherName(g.TypeID, g.Value)
	}
	return csr.NewName(g.Form, g.Value)
}

// requestWithSAN has one name, and a key and signature of nobody.
func requestWithSAN(name []byte) []byte {
	request := SEQ(OID(ExtensionRequest), SET(SEQ(SEQ(OID(SubjectAltName), Text(4, string(SEQ(name)))))))
	info := SEQ(INTEGER(0), Name(), SEQ(SEQ(OID("1.2.3")), BITS(0, 1)), ConstructedName(0, request))
	return SEQ(info, SEQ(OID("1.2.3")), BITS(0, 1))
}

// FuzzGeneralNameText holds that a text which makes a name is the text of the
// name, or is read as the same name.
func FuzzGeneralNameText(f *testing.F) {
	for _, text := range []string{"dns:a", "ip:::1", "ip:::ffff:10.0.0.1", "directoryName:CN=a+O=b, C=DE", "upn:a@b", "otherName:1.2.3:utf8:a",
		"otherName:1.2.3:der:MAA=", "permanent_identifier:1.2/a", "hardwareModuleName:1.2.3/01", "registered_id:1.2", "directoryName:CN=#0C0161", `directoryName:CN=\FF`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := csr.ParseGeneralName(text)
		if err != nil {
			return
		}
		if r, err := csr.Parse(requestWithSAN(g.Raw)); err != nil || r.Names.SAN[0].Value != g.Value || r.Names.SAN[0].String() != g.String() {
			t.Fatalf("%q makes %v, which is read as %v (%v)", text, g, r, err)
		}
		again, err := makeAgain(g)
		if err != nil || again.Value != g.Value {
			t.Errorf("%q makes %q, and that %q (%v)", text, g.Value, again.Value, err)
		}
	})
}
