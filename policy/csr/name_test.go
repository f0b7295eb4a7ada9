// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

var (
	commonName = asn1.ObjectIdentifier{2, 5, 4, 3}
	country    = asn1.ObjectIdentifier{2, 5, 4, 6}
)

func TestEveryStringTypeIsDecoded(t *testing.T) {
	tests := map[string]struct {
		value []byte
		want  string
	}{
		"UTF8String":              {UTF8("Müller"), "Müller"},
		"an empty UTF8String":     {UTF8(""), ""},
		"PrintableString":         {Printable("O'Hara (1+2), a-b./:=?"), "O'Hara (1+2), a-b./:=?"},
		"NumericString":           {Text(18, "12 34"), "12 34"},
		"IA5String":               {IA5("a@b.example"), "a@b.example"},
		"VisibleString":           {Text(26, "a_b"), "a_b"},
		"TeletexString":           {Text(20, "ACME"), "ACME"},
		"BMPString":               {Text(30, "\x00M\x00\xfc"), "Mü"},
		"UniversalString":         {Text(28, "\x00\x00\x00M\x00\x01\xf6\x00"), "M😀"},
		"a zero width joiner too": {UTF8("a\u200db"), "a\u200db"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := parse(t, New(t, Subject(RDN(ATV("2.5.4.3", test.value))))).Names.Subject[0][0]
			if !v.Text || v.Value != test.want || v.Tag != int(test.value[0]) {
				t.Errorf("Text %t, Value %q, Tag %d", v.Text, v.Value, v.Tag)
			}
		})
	}
}

func TestNameStringIsSafeToPrint(t *testing.T) {
	tests := map[string]struct {
		rdn  []byte
		want string
	}{
		"plain text":           {CN("device 1"), "CN=device 1"},
		"what RFC 4514 takes":  {CN(`a,b+c"d\e<f>g;h=i`), `CN=a\,b\+c\"d\\e\<f\>g\;h\=i`},
		"spaces at the ends":   {CN("  a "), `CN=\  a\ `},
		"a hash at the start":  {CN("#a#"), `CN=\#a#`},
		"direction overrides":  {CN("a\u202eb"), `CN=a\E2\80\AEb`},
		"letters beyond ASCII": {CN("Zürich"), "CN=Zürich"},
		"a value with NUL":     {CN("a\x00"), "CN=#0c026100"},
		"an unknown type":      {RDN(ATV("1.2.3.4", UTF8("x"))), "1.2.3.4=x"},
		"two in one RDN":       {RDN(ATV("2.5.4.3", UTF8("x")), ATV("0.9.2342.19200300.100.1.1", UTF8("y"))), "CN=x+UID=y"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := parse(t, New(t, Subject(test.rdn))).Names.Subject.String(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestAParsedNameIsEncodedAsItWas(t *testing.T) {
	unsorted := RDN(ATV("2.5.4.10", UTF8("z")), ATV("2.5.4.3", Printable("a")), ATV("2.5.4.3", INTEGER(5)))
	r := parse(t, New(t, Subject(CN("a\x00"), unsorted, RDN(ATV("2.5.4.6", UTF8("Germany"))))))
	got, err := r.Names.Subject.MarshalDER()
	if err != nil || !bytes.Equal(got, r.RawSubject) {
		t.Errorf("got %x, %v, want %x", got, err, r.RawSubject)
	}
}

func TestAMadeValueGetsTheStringTypeThatItsTypeWants(t *testing.T) {
	tests := map[string]struct {
		oid   asn1.ObjectIdentifier
		value string
		want  []byte
		err   string
	}{
		"PrintableString where it fits":       {oid: commonName, value: "Example Net", want: Printable("Example Net")},
		"UTF8String where it doesn't":         {oid: commonName, value: "Example & Söhne", want: UTF8("Example & Söhne")},
		"UTF8String for an asterisk":          {oid: commonName, value: "*.example", want: UTF8("*.example")},
		"PrintableString for a country":       {oid: country, value: "DE", want: Printable("DE")},
		"a country that doesn't fit":          {oid: country, value: "Ö", err: `RDN 1: C: "Ö" does not fit a PrintableString, the only type that it may have`},
		"a serial number that doesn't fit":    {oid: oid(t, "serialNumber"), value: "a_b", err: `RDN 1: serialNumber: "a_b" does not fit a PrintableString, the only type that it may have`},
		"a dnQualifier that doesn't fit":      {oid: oid(t, "dnQualifier"), value: "a*", err: `RDN 1: dnQualifier: "a*" does not fit a PrintableString, the only type that it may have`},
		"IA5String for a domain component":    {oid: oid(t, "DC"), value: "example", want: IA5("example")},
		"IA5String for an e-mail address":     {oid: oid(t, "emailAddress"), value: "a@b.example", want: IA5("a@b.example")},
		"an e-mail address that doesn't fit":  {oid: oid(t, "emailAddress"), value: "ä@b", err: `RDN 1: emailAddress: "ä@b" does not fit an IA5String, the only type that it may have`},
		"a NUL":                               {oid: commonName, value: "a\x00", err: "RDN 1: CN: the value is not text without control characters"},
		"bytes that aren't UTF-8":             {oid: commonName, value: "a\xff", err: "RDN 1: CN: the value is not text without control characters"},
		"an empty value":                      {oid: commonName, value: "", err: "RDN 1: CN: the value is empty"},
		"a type that is no object identifier": {oid: asn1.ObjectIdentifier{9}, value: "a", err: "RDN 1: 9: cryptobyte: invalid OID: 9"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := csr.Name{{csr.NewAttributeValue(test.oid, test.value)}}.MarshalDER()
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error is %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, Name(RDN(ATV(test.oid.String(), test.want)))) {
				t.Errorf("got %x, %v", got, err)
			}
		})
	}
}

func TestAMadeRDNIsSorted(t *testing.T) {
	rdn := csr.RDN{csr.NewAttributeValue(oid(t, "O"), "b"), csr.NewAttributeValue(commonName, "a")}
	got, err := csr.Name{rdn}.MarshalDER()
	want := Name(RDN(ATV("2.5.4.3", Printable("a")), ATV("2.5.4.10", Printable("b"))))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

func TestNamesThatCannotBeEncoded(t *testing.T) {
	for name, n := range map[string]csr.Name{
		"an empty RDN":                    {{}},
		"the zero value":                  {{{}}},
		"a value without text or DER":     {{{Type: commonName}}},
		"a value that claims to be text ": {{{Type: commonName, Value: "a\nb", Text: true}}},
	} {
		if der, err := n.MarshalDER(); err == nil {
			t.Errorf("%s is encoded as %x", name, der)
		}
	}
}

func TestTypeNamesAndOIDsAreEachOthersInverse(t *testing.T) {
	names := "CN SN serialNumber C L ST STREET O OU title postalCode GN initials generationQualifier " +
		"dnQualifier pseudonym UID DC organizationIdentifier emailAddress unstructuredName challengePassword " +
		"macAddress friendlyName otpChallenge revocationChallenge estIdentityLinking"
	seen := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		got := oid(t, name)
		if csr.TypeName(got) != name || seen[got.String()] {
			t.Errorf("%s is %v, which is %s", name, got, csr.TypeName(got))
		}
		seen[got.String()] = true
	}
	if got := csr.TypeName(asn1.ObjectIdentifier{1, 2, 3}); got != "1.2.3" {
		t.Errorf("1.2.3 is %s", got)
	}
	for _, dotted := range []string{"1.2.3", "2.999.1", "2.5.4.3", "1.2.2147483647"} {
		if got, ok := csr.TypeOID(dotted); !ok || got.String() != dotted {
			t.Errorf("%s is %v, %t", dotted, got, ok)
		}
	}
	for _, wrong := range []string{"", "cn", "Cn", "1", "1.", ".1", "1..2", "1.02", "3.1", "1.40", "1.2.-3", "1.+2", "1.2.2147483648", "2.2147483647", "x.y"} {
		if got, ok := csr.TypeOID(wrong); ok {
			t.Errorf("%q is %v", wrong, got)
		}
	}
}

func TestACallerCannotChangeTheTableOfTypes(t *testing.T) {
	oid(t, "CN")[3] = 10
	if got := oid(t, "CN"); !got.Equal(commonName) {
		t.Errorf("CN is now %v", got)
	}
}

func oid(t *testing.T, name string) asn1.ObjectIdentifier {
	t.Helper()
	oid, ok := csr.TypeOID(name)
	if !ok {
		t.Fatalf("no attribute type %q", name)
	}
	return oid
}

func TestAJoinedRDNIsSortedAsDERWants(t *testing.T) {
	long, err := csr.ValueOf(country, Printable("DE and more"))
	if err != nil {
		t.Fatal(err)
	}
	short, err := csr.ValueOf(commonName, UTF8("a"))
	if err != nil {
		t.Fatal(err)
	}
	want := Name(RDN(ATV("2.5.4.3", UTF8("a")), ATV("2.5.4.6", Printable("DE and more"))))
	for _, rdn := range []csr.RDN{{long, short}, {short, long}} {
		der, err := csr.Name{rdn.Sorted()}.MarshalDER()
		if err != nil || !bytes.Equal(der, want) {
			t.Errorf("%v is encoded as %x, %v, want %x", rdn, der, err, want)
		}
	}
}
