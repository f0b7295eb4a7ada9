// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

var (
	commonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	organization     = asn1.ObjectIdentifier{2, 5, 4, 10}
	organizationUnit = asn1.ObjectIdentifier{2, 5, 4, 11}
	identityLinking  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 58}
)

func context(n uint8, parts ...[]byte) []byte {
	return csrtest.TLV(cbasn1.Tag(n).ContextSpecific().Constructed(), parts...)
}

func octets(content []byte) []byte { return csrtest.TLV(cbasn1.OCTET_STRING, content) }

// The example of RFC 9908 section 3.4, with the OID of the module in place of
// the misprint.
func exampleOf34(extensionTemplateOID string) []byte {
	return csrtest.SEQ(
		csrtest.INTEGER(0),
		csrtest.SEQ(
			csrtest.SET(csrtest.SEQ(csrtest.OID("2.5.4.3"))),
			csrtest.SET(csrtest.SEQ(csrtest.OID("2.5.4.11"), csrtest.UTF8("myDept"))),
			csrtest.SET(csrtest.SEQ(csrtest.OID("2.5.4.11"), csrtest.UTF8("myGroup"))),
		),
		context(0, csrtest.SEQ(csrtest.OID("1.2.840.10045.2.1"), csrtest.OID("1.2.840.10045.3.1.7"))),
		context(1, csrtest.SEQ(csrtest.OID(extensionTemplateOID), csrtest.SET(csrtest.SEQ(
			csrtest.SEQ(csrtest.OID("2.5.29.17"), octets(csrtest.SEQ(csrtest.DNS("www.myServer.com"), []byte{0x87, 0}))),
			csrtest.SEQ(csrtest.OID("2.5.29.15"), []byte{1, 1, 0xff}, octets([]byte{3, 2, 3, 0x88})),
			csrtest.SEQ(csrtest.OID("2.5.29.37")),
		)))),
	)
}

func TestTheExampleTemplateOfRFC9908IsReadAndWritten(t *testing.T) {
	der := exampleOf34("1.2.840.113549.1.9.16.2.62")
	got, err := ParseTemplate(der)
	if err != nil {
		t.Fatal(err)
	}
	want := Template{
		Subject: []RDN{
			{{Type: commonName}},
			{{Type: organizationUnit, Value: csrtest.UTF8("myDept")}},
			{{Type: organizationUnit, Value: csrtest.UTF8("myGroup")}},
		},
		Key: &Key{Algorithm: keyTypes[csr.ECDSA], Parameters: csrtest.OID("1.2.840.10045.3.1.7")},
		Extensions: []Extension{
			{ID: subjectAltName, Value: csrtest.SEQ(csrtest.DNS("www.myServer.com"), []byte{0x87, 0})},
			{ID: oidKeyUsage, Critical: true, Value: []byte{3, 2, 3, 0x88}},
			{ID: oidExtKeyUsage},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v", got)
	}
	again, err := want.Marshal()
	if err != nil || !bytes.Equal(again, der) {
		t.Errorf("written %x, %v", again, err)
	}
	names, err := got.Extensions[0].Names()
	if err != nil || len(names) != 2 || names[0].Form != csr.DNS || names[0].Raw == nil || names[1].Form != csr.IP || names[1].Raw != nil {
		t.Errorf("names %+v, %v", names, err)
	}
	misprinted, err := ParseTemplate(exampleOf34("1.2.840.113549.1.9.62"))
	if err != nil || !reflect.DeepEqual(misprinted, want) {
		t.Errorf("with the misprinted OID: %+v, %v", misprinted, err)
	}
}

// The same example from hints.
func TestHintsMakeATemplate(t *testing.T) {
	dns, err := csr.NewName(csr.DNS, "www.myServer.com")
	if err != nil {
		t.Fatal(err)
	}
	hints := policy.Hints{
		Format:      policy.HintTemplate,
		Keys:        []policy.KeyHint{{Algorithm: csr.RSA, Bits: 3072}},
		Signature:   sha256WithRSA,
		Linking:     []asn1.ObjectIdentifier{challengePassword, identityLinking},
		Attributes:  []asn1.ObjectIdentifier{macAddress},
		Subject:     []policy.RDNHint{{{Type: commonName}}, {{Type: organization, Value: "Example Net"}}, {{Type: organizationUnit}, {Type: serialNumber, Value: "1"}}},
		SAN:         []policy.NameHint{{Form: csr.DNS, Raw: dns.Raw}, {Form: csr.IP}, {Form: csr.DirectoryName}, {Form: csr.DNS}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}},
		Planned:     []csr.Extension{{ID: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Critical: true, Value: []byte{5, 0}}},
		Required:    []asn1.ObjectIdentifier{{2, 5, 29, 32}},
	}
	der, err := Encode(hints)
	if err != nil {
		t.Fatal(err)
	}
	list, err := Parse(der)
	if err != nil || len(list) != 1 || !list[0].OID.Equal(oidTemplate) || len(list[0].Values) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	w, err := Read(list)
	if err != nil {
		t.Fatal(err)
	}
	wantSubject := []RDN{
		{{Type: commonName}},
		{{Type: organization, Value: csrtest.Printable("Example Net")}},
		{{Type: organizationUnit}, {Type: serialNumber, Value: csrtest.Printable("1")}},
	}
	if !w.FromTemplate || !reflect.DeepEqual(w.Subject, wantSubject) {
		t.Errorf("subject %+v", w.Subject)
	}
	if !reflect.DeepEqual(w.Keys, hints.Keys) || w.Signature != nil {
		t.Errorf("keys %+v, signature %v", w.Keys, w.Signature)
	}
	for _, oid := range slices.Concat(hints.Linking, hints.Attributes) {
		if !w.Asks(oid) {
			t.Errorf("%s isn't asked for", oid)
		}
	}
	wantSAN := csrtest.SEQ(csrtest.DNS("www.myServer.com"), []byte{0x87, 0}, context(4, csrtest.SEQ()), []byte{0x82, 0})
	wantExtensions := []Extension{
		{ID: subjectAltName, Value: wantSAN},
		{ID: oidKeyUsage, Critical: true, Value: []byte{3, 2, 7, 0x80}},
		{ID: oidExtKeyUsage, Value: csrtest.SEQ(csrtest.OID("1.3.6.1.5.5.7.3.2"))},
		{ID: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Critical: true, Value: []byte{5, 0}},
		{ID: asn1.ObjectIdentifier{2, 5, 29, 32}},
	}
	if !reflect.DeepEqual(w.Extensions, wantExtensions) {
		t.Errorf("extensions %+v", w.Extensions)
	}
}

// Requirement 92 and 93: attributes [1] is there even if empty, and complete
// values go as id-ExtensionReq.
func TestWhatATemplateLeavesOut(t *testing.T) {
	for name, test := range map[string]struct {
		template Template
		want     []byte
	}{
		"everything": {Template{}, csrtest.SEQ(csrtest.INTEGER(0), context(1))},
		"what is the client's, where values are complete": {
			Template{Extensions: []Extension{{ID: oidKeyUsage, Critical: true, Value: []byte{3, 2, 7, 0x80}}}},
			csrtest.SEQ(csrtest.INTEGER(0), context(1, csrtest.SEQ(csrtest.OID("1.2.840.113549.1.9.14"), csrtest.SET(csrtest.SEQ(
				csrtest.SEQ(csrtest.OID("2.5.29.15"), []byte{1, 1, 0xff}, octets([]byte{3, 2, 7, 0x80}))))))),
		},
		"the placeholder of an Ed25519 key": {
			Template{Key: &Key{Algorithm: keyTypes[csr.Ed25519]}},
			csrtest.SEQ(csrtest.INTEGER(0), context(0, csrtest.SEQ(csrtest.OID("1.3.101.112"))), context(1)),
		},
	} {
		der, err := test.template.Marshal()
		if err != nil || !bytes.Equal(der, test.want) {
			t.Errorf("%s: %x, %v, want %x", name, der, err, test.want)
		}
	}
}

// Requirement 91: the placeholder is a public key of the length, and nobody's.
func TestThePlaceholderOfAnRSAKeyHasItsLength(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4096, 8192} {
		der, err := (&Key{Algorithm: keyTypes[csr.RSA], Parameters: []byte{5, 0}, Bits: bits}).marshal()
		if err != nil {
			t.Fatal(err)
		}
		var content cryptobyte.String
		input := cryptobyte.String(der)
		if !input.ReadASN1(&content, cbasn1.Tag(0).ContextSpecific().Constructed()) {
			t.Fatal("no [0]")
		}
		public, err := x509.ParsePKIXPublicKey(csrtest.SEQ(content))
		key, ok := public.(*rsa.PublicKey)
		if err != nil || !ok || key.N.BitLen() != bits {
			t.Errorf("%d: %v", bits, err)
		}
		parsed, err := parseKey(content)
		if err != nil || parsed.Bits != bits {
			t.Errorf("%d: read %+v, %v", bits, parsed, err)
		}
	}
}

func TestParseTemplateTolerates(t *testing.T) {
	extension := csrtest.SEQ(csrtest.OID("2.5.29.37"))
	request := func(oid string, values ...[]byte) []byte {
		return csrtest.SEQ(csrtest.OID(oid), csrtest.SET(values...))
	}
	for name, test := range map[string]struct {
		der  []byte
		want Template
	}{
		"absent attributes": {csrtest.SEQ(csrtest.INTEGER(0)), Template{}},
		"an empty subject":  {csrtest.SEQ(csrtest.INTEGER(0), csrtest.SEQ(), context(1)), Template{}},
		"a single ExtensionTemplate, as the text of section 3.4 has it": {
			csrtest.SEQ(csrtest.INTEGER(0), context(1, request("1.2.840.113549.1.9.16.2.62", extension))),
			Template{Extensions: []Extension{{ID: oidExtKeyUsage}}},
		},
		"an attribute without values": {
			csrtest.SEQ(csrtest.INTEGER(0), context(1, request("1.2.840.113549.1.9.7"))),
			Template{Attributes: []csr.Attribute{{Type: challengePassword}}},
		},
		"the same attribute again": {
			csrtest.SEQ(csrtest.INTEGER(0), context(1, request("1.2.840.113549.1.9.7"), request("1.2.840.113549.1.9.7"))),
			Template{Attributes: []csr.Attribute{{Type: challengePassword}}},
		},
		"both attributes for extensions": {
			csrtest.SEQ(csrtest.INTEGER(0), context(1,
				request("1.2.840.113549.1.9.14", csrtest.SEQ(csrtest.SEQ(csrtest.OID("2.5.29.15"), octets([]byte{3, 2, 7, 0x80})))),
				request("1.2.840.113549.1.9.16.2.62", csrtest.SEQ(extension)))),
			Template{Extensions: []Extension{{ID: oidKeyUsage, Value: []byte{3, 2, 7, 0x80}}, {ID: oidExtKeyUsage}}},
		},
		"an attribute for extensions without values": {csrtest.SEQ(csrtest.INTEGER(0), context(1, request("1.2.840.113549.1.9.14"))), Template{}},
		"empty values, as CMP writes them": {
			csrtest.SEQ(csrtest.INTEGER(0), csrtest.SEQ(csrtest.SET(csrtest.SEQ(csrtest.OID("2.5.4.3"), csrtest.UTF8("")))),
				context(0, csrtest.SEQ(csrtest.OID("1.3.101.112")), []byte{3, 1, 0}),
				context(1, request("1.2.840.113549.1.9.14", csrtest.SEQ(csrtest.SEQ(csrtest.OID("2.5.29.37"), octets(nil)))))),
			Template{Subject: []RDN{{{Type: commonName}}}, Key: &Key{Algorithm: keyTypes[csr.Ed25519]}, Extensions: []Extension{{ID: oidExtKeyUsage}}},
		},
		"a critical FALSE that is written out": {
			csrtest.SEQ(csrtest.INTEGER(0), context(1, request("1.2.840.113549.1.9.16.2.62", csrtest.SEQ(csrtest.SEQ(csrtest.OID("2.5.29.37"), []byte{1, 1, 0}))))),
			Template{Extensions: []Extension{{ID: oidExtKeyUsage}}},
		},
		"a key that we can't make": {
			csrtest.SEQ(csrtest.INTEGER(0), context(0, csrtest.SEQ(csrtest.OID("1.3.101.113"))), context(1)),
			Template{Key: &Key{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 113}}},
		},
	} {
		got, err := ParseTemplate(test.der)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	request := func(value []byte) []byte {
		return csrtest.SEQ(csrtest.INTEGER(0), context(1, csrtest.SEQ(csrtest.OID("1.2.840.113549.1.9.16.2.62"), csrtest.SET(value))))
	}
	extension := csrtest.SEQ(csrtest.OID("2.5.29.37"))
	many := func(part []byte) []byte { return bytes.Repeat(part, maxEntries+1) }
	hugeKey := csrtest.SEQ(csrtest.TLV(cbasn1.INTEGER, append([]byte{0}, bytes.Repeat([]byte{0xff}, maxBits/8+1)...)), csrtest.INTEGER(65537))
	for name, test := range map[string]struct {
		der  []byte
		says string
	}{
		"nothing":                 {nil, "version"},
		"no version":              {csrtest.SEQ(csrtest.SEQ()), "version"},
		"another version":         {csrtest.SEQ(csrtest.INTEGER(1), context(1)), "version 1"},
		"bytes after it":          {append(csrtest.SEQ(csrtest.INTEGER(0), context(1)), 0), "SEQUENCE"},
		"a field after it":        {csrtest.SEQ(csrtest.INTEGER(0), context(1), context(2)), "follows"},
		"fields in wrong order":   {csrtest.SEQ(csrtest.INTEGER(0), context(1), context(0, csrtest.SEQ(csrtest.OID("1.2.3")))), "follows"},
		"an empty RDN":            {csrtest.SEQ(csrtest.INTEGER(0), csrtest.SEQ(csrtest.SET()), context(1)), "RDN 1"},
		"two values in an RDN":    {csrtest.SEQ(csrtest.INTEGER(0), csrtest.SEQ(csrtest.SET(csrtest.SEQ(csrtest.OID("2.5.4.3"), csrtest.UTF8("a"), csrtest.UTF8("b"))))), "RDN 1"},
		"too many RDNs":           {csrtest.SEQ(csrtest.INTEGER(0), csrtest.SEQ(many(csrtest.SET(csrtest.SEQ(csrtest.OID("2.5.4.3")))))), "one too many"},
		"too many in an RDN":      {csrtest.SEQ(csrtest.INTEGER(0), csrtest.SEQ(csrtest.SET(many(csrtest.SEQ(csrtest.OID("2.5.4.3")))))), "one too many"},
		"a key without algorithm": {csrtest.SEQ(csrtest.INTEGER(0), context(0), context(1)), "algorithm"},
		"a placeholder of another kind": {
			csrtest.SEQ(csrtest.INTEGER(0), context(0, csrtest.SEQ(csrtest.OID("1.2.840.113549.1.1.1")), csrtest.BITS(0, 1, 2)), context(1)), "placeholder"},
		"a placeholder without end": {
			csrtest.SEQ(csrtest.INTEGER(0), context(0, csrtest.SEQ(csrtest.OID("1.2.840.113549.1.1.1")), csrtest.BITS(0, hugeKey...)), context(1)), "16384"},
		"a bare OID as attribute":    {csrtest.SEQ(csrtest.INTEGER(0), context(1, csrtest.OID("1.2.3"))), "attribute 1"},
		"too many attributes":        {csrtest.SEQ(csrtest.INTEGER(0), context(1, many(csrtest.SEQ(csrtest.OID("1.2.3"), csrtest.SET())))), "more than 100"},
		"extensions of another kind": {request(csrtest.UTF8("x")), "SEQUENCE of extensions"},
		"an extension twice":         {request(csrtest.SEQ(extension, extension)), "twice"},
		"an extension with more":     {request(csrtest.SEQ(csrtest.SEQ(csrtest.OID("2.5.29.37"), octets(nil), octets(nil)))), "OCTET STRING"},
		"names of another kind":      {request(csrtest.SEQ(csrtest.SEQ(csrtest.OID("2.5.29.17"), octets(csrtest.SEQ(csrtest.UTF8("x")))))), "GeneralName"},
		"too many names":             {request(csrtest.SEQ(csrtest.SEQ(csrtest.OID("2.5.29.17"), octets(csrtest.SEQ(many([]byte{0x82, 0})))))), "more than 100"},
	} {
		got, err := ParseTemplate(test.der)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %+v, error %v", name, got, err)
		}
	}
}

func TestMarshalTemplateRefuses(t *testing.T) {
	extension := Extension{ID: oidExtKeyUsage}
	for name, template := range map[string]Template{
		"an RDN without attributes": {Subject: []RDN{{}}},
		"an extension twice":        {Extensions: []Extension{extension, extension}},
		"extensionRequest among the attributes": {
			Attributes: []csr.Attribute{{Type: oidExtensionReq}}},
		"an attribute twice":   {Attributes: []csr.Attribute{{Type: macAddress}, {Type: macAddress}}},
		"a negative size":      {Key: &Key{Algorithm: keyTypes[csr.RSA], Bits: -1}},
		"an OID of one arc":    {Attributes: []csr.Attribute{{Type: asn1.ObjectIdentifier{1}}}},
		"a size without end":   {Key: &Key{Algorithm: keyTypes[csr.RSA], Bits: 1 << 20}},
		"a key without a type": {Key: &Key{}},
	} {
		if der, err := template.Marshal(); err == nil {
			t.Errorf("%s: %x", name, der)
		}
	}
}

// RFC 9908 section 4: a client that knows both uses the template alone.
func TestWhereThereIsATemplateNothingElseCounts(t *testing.T) {
	hints := policy.Hints{
		Format: policy.HintBoth, Keys: []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-256"}}, AnyKey: true,
		Signature: ecdsaWithSHA384, Attributes: []asn1.ObjectIdentifier{macAddress},
	}
	der, err := Encode(hints)
	if err != nil {
		t.Fatal(err)
	}
	list, err := Parse(der)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	list = append([]AttrOrOID{{OID: challengePassword}}, list...)
	w, err := Read(list)
	if err != nil || !w.FromTemplate || w.Asks(challengePassword) || !w.Asks(macAddress) || len(w.Keys) != 0 {
		t.Errorf("%+v, %v", w, err)
	}
	list[2].Values = [][]byte{{0x30, 0}}
	if w, err := Read(list); err == nil {
		t.Errorf("a malformed template: %+v", w)
	}
	list[2].Values = nil
	if w, err := Read(list); err != nil || w.FromTemplate || !w.Asks(challengePassword) {
		t.Errorf("a template without a value: %+v, %v", w, err)
	}
}

func TestReadOfTheList(t *testing.T) {
	for name, want := range map[string]Wanted{
		"RFC 9908 section 5.1": {Extensions: []Extension{{ID: subjectAltName, Critical: true, Value: acpName(t)}}},
		"RFC 9908 section 5.4": {
			Keys: []policy.KeyHint{{Algorithm: csr.RSA, Bits: 4096}}, Signature: sha256WithRSA,
			Attributes: []csr.Attribute{{Type: challengePassword}}},
		"RFC 9908 section 5.5": {
			Keys: []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}}, Signature: ecdsaWithSHA384,
			Attributes: []csr.Attribute{{Type: challengePassword}, {Type: serialNumber}}},
		// The bare OID in extensionRequest means the attribute.
		"RFC 8951 section 4": {
			Keys: []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}}, Signature: ecdsaWithSHA384,
			Attributes: []csr.Attribute{{Type: challengePassword}, {Type: macAddress}}},
	} {
		list, err := Parse(decode64(t, vectors[name]))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Read(list); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(exampleOf34("1.2.840.113549.1.9.16.2.62"))
	f.Add(exampleOf34("1.2.840.113549.1.9.62"))
	f.Add(csrtest.SEQ(csrtest.INTEGER(0), context(1)))
	rsaKey, err := Template{Key: &Key{Algorithm: keyTypes[csr.RSA], Parameters: []byte{5, 0}, Bits: 2048}}.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rsaKey)
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := ParseTemplate(der)
		if err != nil {
			return
		}
		first, err := got.Marshal()
		if err != nil {
			t.Fatalf("%x is read and can't be written: %v", der, err)
		}
		again, err := ParseTemplate(first)
		if err != nil {
			t.Fatalf("%x: %v", first, err)
		}
		second, err := again.Marshal()
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s comes back as %s, %v", hex.EncodeToString(first), hex.EncodeToString(second), err)
		}
		if _, err := Read([]AttrOrOID{{OID: oidTemplate, Attribute: true, Values: [][]byte{der}}}); err != nil {
			t.Fatal(err)
		}
	})
}
