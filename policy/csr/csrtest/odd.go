// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// An Odd is a request that two readers are known, or likely, to read
// differently, with what is odd about it.
type Odd struct {
	Name string
	DER  []byte
}

// OddRequests gives requests for comparing readers. Some are good, most are
// not. All but those whose key is what matters are the same in every run.
func OddRequests(t testing.TB) []Odd {
	t.Helper()
	var list []Odd
	for _, group := range []map[string][]Option{oddSubjects(), oddSANs(), oddExtensions(), oddAttributes()} {
		for name, opts := range group {
			list = append(list, Odd{name, New(t, append([]Option{Signer(fixed)}, opts...)...)})
		}
	}
	for name, opts := range oddKeys(t) {
		list = append(list, Odd{name, New(t, opts...)})
	}
	plain := New(t, Signer(fixed), SAN(DNS("a.example")))
	for name, der := range map[string][]byte{
		"trailing DER":     append(plain[:len(plain):len(plain)], 5, 0),
		"an empty request": SEQ(),
		"an empty info":    SEQ(SEQ(), SEQ(OID("1.3.101.112")), BITS(0, 1)),
		"no attributes":    SEQ(SEQ(INTEGER(0), Name(CN("a")), fixedSPKI(t)), SEQ(OID("1.3.101.112")), BITS(0, 1)),
	} {
		list = append(list, Odd{name, der})
	}
	slices.SortFunc(list, func(a, b Odd) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// fixed is the same key in every run.
var fixed crypto.Signer = ed25519.NewKeyFromSeed([]byte("the key of all the odd requests."))

func fixedSPKI(t testing.TB) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(fixed.Public())
	if err != nil {
		t.Fatalf("csrtest: %v", err)
	}
	return spki
}

func oddSubjects() map[string][]Option {
	cn := func(value []byte) []Option { return []Option{Subject(RDN(ATV("2.5.4.3", value)))} }
	return map[string][]Option{
		"a plain subject":                 {Subject(O("Example Net"), CN("rtr-1"), SerialNumber("42"))},
		"an empty subject":                {Subject()},
		"a CN twice":                      {Subject(CN("good"), CN("evil"))},
		"two CNs in one RDN":              {Subject(RDN(ATV("2.5.4.3", UTF8("a")), ATV("2.5.4.3", UTF8("b"))))},
		"three attributes in one RDN":     {Subject(RDN(ATV("2.5.4.10", UTF8("a")), ATV("2.5.4.11", UTF8("b")), ATV("2.5.4.3", UTF8("c"))))},
		"attributes of unknown types":     {Subject(CN("a"), RDN(ATV("1.2.3.4", UTF8("b"))), RDN(ATV("2.5.4.999", UTF8("c"))))},
		"every named attribute":           {Subject(named()...)},
		"an INTEGER":                      cn(INTEGER(1)),
		"a BIT STRING":                    cn(BITS(0, 'a')),
		"a SEQUENCE":                      cn(SEQ(UTF8("admin"))),
		"NULL":                            cn([]byte{5, 0}),
		"an OID":                          cn(OID("1.2.3")),
		"an ENUMERATED":                   cn([]byte{10, 1, 1}),
		"a GeneralString":                 cn(Text(27, "admin")),
		"a VideotexString":                cn(Text(21, "admin")),
		"a constructed UTF8String":        cn(TLV(0x2c, UTF8("ad"), UTF8("min"))),
		"a context tag":                   cn(GeneralName(12, []byte("admin"))),
		"an empty value":                  cn(UTF8("")),
		"a NUL":                           cn(UTF8("good.example\x00.evil")),
		"a line feed":                     cn(UTF8("a\n        Attributes:")),
		"an escape":                       cn(UTF8("\x1b[31madmin")),
		"a right-to-left override":        cn(UTF8("nimda\u202e")),
		"a Cyrillic letter":               cn(UTF8("\u0430dmin")),
		"a Kelvin sign":                   cn(UTF8("\u212aiosk")),
		"a zero-width space":              cn(UTF8("kiosk\u200b")),
		"broken UTF-8":                    cn(UTF8("a\xc0\x80")),
		"a BMPString":                     cn(Text(30, "\x00a\x04\x30")),
		"a BMPString with a NUL":          cn(Text(30, "\x00a\x00\x00")),
		"a BMPString of odd length":       cn(Text(30, "\x00a\x00")),
		"a BMPString with a surrogate":    cn(Text(30, "\xd8\x3d\xde\x00")),
		"a TeletexString":                 cn(Text(20, "caf\xe9")),
		"a TeletexString of ASCII":        cn(Text(20, "cafe")),
		"a UniversalString":               cn(Text(28, "\x00\x00\x00a\x00\x01\xf6\x00")),
		"a UniversalString that is none":  cn(Text(28, "\x00\x00\x00")),
		"a NumericString with a letter":   cn(Text(18, "1a")),
		"a VisibleString":                 cn(Text(26, "a b")),
		"an IA5String with 8 bits":        cn(IA5("caf\xe9")),
		"a PrintableString with a star":   cn(Printable("*.example")),
		"a PrintableString with an at":    cn(Printable("a@b&c_d")),
		"a slash and a comma":             cn(UTF8(`a/CN=b, CN=c+O=d\`)),
		"spaces at the ends":              cn(UTF8("  a  ")),
		"a C of three letters":            {Subject(RDN(ATV("2.5.4.6", Printable("DEU"))))},
		"a C in UTF8String":               {Subject(RDN(ATV("2.5.4.6", UTF8("DE"))))},
		"an emailAddress with a NUL":      {Subject(RDN(ATV("1.2.840.113549.1.9.1", IA5("a@b\x00"))))},
		"an empty RDN":                    {Subject(CN("a"), RDN())},
		"an RDN that is a SEQUENCE":       {Subject(SEQ(ATV("2.5.4.3", UTF8("a"))))},
		"a type without a value":          {Subject(RDN(SEQ(OID("2.5.4.3"))))},
		"a type with two values":          {Subject(RDN(SEQ(OID("2.5.4.3"), UTF8("a"), UTF8("b"))))},
		"an OID with a number of 64 bits": {Subject(RDN(SEQ(TLV(asn1.OBJECT_IDENTIFIER, []byte("\x69\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f")), UTF8("a"))))},
		"an OID written too long":         {Subject(RDN(SEQ(TLV(asn1.OBJECT_IDENTIFIER, []byte("\x55\x04\x80\x03")), UTF8("a"))))},
		"version 1":                       {Version(1)},
		"version 2":                       {Version(2)},
		"a negative version":              {Version(-1)},
		"a version of 64 bits":            {Version(1 << 62)},
		"a long CN":                       cn(UTF8(strings.Repeat("a", 4000))),
	}
}

// named has every attribute type that has a name in OpenSSL or here.
func named() [][]byte {
	var rdns [][]byte
	for _, oid := range []string{"2.5.4.4", "2.5.4.5", "2.5.4.6", "2.5.4.7", "2.5.4.8", "2.5.4.9", "2.5.4.10", "2.5.4.11", "2.5.4.12", "2.5.4.13",
		"2.5.4.15", "2.5.4.17", "2.5.4.41", "2.5.4.42", "2.5.4.43", "2.5.4.44", "2.5.4.46", "2.5.4.65", "2.5.4.97",
		"1.3.6.1.4.1.311.60.2.1.3", "1.2.840.113549.1.9.2", "1.2.840.113549.1.9.8", "0.9.2342.19200300.100.1.1"} {
		rdns = append(rdns, RDN(ATV(oid, Printable("DE"))))
	}
	return append(rdns, RDN(ATV("1.2.840.113549.1.9.1", IA5("a@b.example"))), RDN(ATV("0.9.2342.19200300.100.1.25", IA5("example"))))
}

func oddSANs() map[string][]Option {
	san := func(names ...[]byte) []Option { return []Option{SAN(names...)} }
	raw := func(value []byte) []Option { return []Option{Extension(SubjectAltName, false, value)} }
	return map[string][]Option{
		"every form of SAN": san(OtherName("1.2.3", UTF8("x")), Email("a@b.example"), DNS("a.example"), X400(), DirectoryName(CN("a")),
			EDIParty("x"), URI("urn:a"), IP("10.0.0.1"), IP("2001:db8::1"), RegisteredID("1.2.3")),
		"names that a policy takes": san(DNS("a.example"), DNS("*.example"), IP("10.0.0.1"), IP("::ffff:10.0.0.1"), Email("a@b.example"), URI("https://a.example/b")),
		"every otherName": san(OtherName("1.3.6.1.4.1.311.20.2.3", UTF8("u@x.example")), OtherName("1.3.6.1.5.5.7.8.4", SEQ(OID("1.2.3"), Text(4, "ab"))),
			OtherName("1.3.6.1.5.5.7.8.3", SEQ(UTF8("a"), OID("1.2.3"))), OtherName("1.3.6.1.5.5.7.8.9", UTF8("a@b")), OtherName("1.3.6.1.5.5.7.8.5", UTF8("a")),
			OtherName("1.3.6.1.5.5.7.8.7", IA5("_sip.a")), OtherName("1.3.6.1.5.5.7.8.8", UTF8("a")), OtherName("1.2.3", INTEGER(5))),
		"a principal name in IA5String":   san(OtherName("1.3.6.1.4.1.311.20.2.3", IA5("u@x.example"))),
		"an otherName with a line feed":   san(OtherName("1.2.3", UTF8("x\n                X509v3 Key Usage: "))),
		"an otherName with a NUL":         san(OtherName("1.2.3", UTF8("x\x00y"))),
		"an otherName without a value":    san(ConstructedName(0, OID("1.2.3"))),
		"an otherName with two values":    san(ConstructedName(0, OID("1.2.3"), ConstructedName(0, UTF8("a"), UTF8("b")))),
		"a raw tag 0":                     san(GeneralName(0, []byte("a"))),
		"a raw tag 3":                     san(GeneralName(3, []byte("a"))),
		"a raw tag 4":                     san(GeneralName(4, Name(CN("a")))),
		"a raw tag 5":                     san(GeneralName(5, []byte("a"))),
		"a raw tag 8 that is no OID":      san(GeneralName(8, []byte{0x2a, 0x83})),
		"a raw tag 9":                     san(GeneralName(9, []byte("a"))),
		"a tag of two octets":             san([]byte{0x9f, 0x22, 1, 'a'}),
		"a constructed dNSName":           san(ConstructedName(2, IA5("a"))),
		"a universal tag in a SAN":        san(UTF8("a")),
		"a SAN twice":                     {SAN(DNS("good.example")), SAN(DNS("evil.example"))},
		"an empty SAN":                    san(),
		"a SAN of no bytes":               raw(nil),
		"a SAN that is a SET":             raw(SET(DNS("a"))),
		"bytes after a SAN":               raw(append(SEQ(DNS("a")), 5, 0)),
		"a SAN that is critical":          {Extension(SubjectAltName, true, SEQ(DNS("a.example")))},
		"a comma in a dNSName":            san(DNS("a, DNS:b, IP Address:10.0.0.1")),
		"a NUL in a dNSName":              san(DNS("good.example\x00.evil")),
		"a line feed in a dNSName":        san(DNS("a\n                X509v3 Key Usage: ")),
		"an empty dNSName":                san(DNS("")),
		"UTF-8 in a dNSName":              san(DNS("caf\u00e9.example")),
		"a NUL in a URI":                  san(URI("http://a\x00b/")),
		"a URI that is none":              san(URI("http://[::1")),
		"a NUL in an e-mail":              san(Email("a@b\x00.c")),
		"an address of no bytes":          san(GeneralName(7, nil)),
		"an address of five bytes":        san(GeneralName(7, []byte{1, 2, 3, 4, 5})),
		"an address with a mask":          san(GeneralName(7, []byte{10, 0, 0, 0, 255, 0, 0, 0})),
		"a directoryName without RDNs":    san(DirectoryName()),
		"a directoryName with odd values": san(DirectoryName(CN("a/b\x01\u00e9"), RDN(ATV("1.2.3", UTF8("k")), ATV("2.5.4.10", Text(28, "\x00\x00\x00a"))), RDN(ATV("2.5.4.3", Text(30, "\x00a"))))),
		"a directoryName with an INTEGER": san(DirectoryName(RDN(ATV("2.5.4.3", INTEGER(1))))),
		"a directoryName of two":          san(ConstructedName(4, Name(), Name())),
		"a long directoryName":            san(DirectoryName(CN(strings.Repeat("a", 200)), CN(strings.Repeat("b", 200)))),
		"a registeredID with a name":      san(RegisteredID("2.5.4.3")),
	}
}

func oddExtensions() map[string][]Option {
	return map[string][]Option{
		"key usages": {Extension("2.5.29.15", true, BITS(5, 0xa0)), Extension("2.5.29.37", false, SEQ(OID("1.2"), OID("1.3.6.1.5.5.7.3.2"))),
			Extension("2.5.29.19", true, SEQ())},
		"a CA":                      {Extension("2.5.29.19", true, SEQ([]byte{1, 1, 0xff}, INTEGER(0)))},
		"a CA with a BOOLEAN of 1":  {Extension("2.5.29.19", true, SEQ([]byte{1, 1, 1}))},
		"a negative path length":    {Extension("2.5.29.19", true, SEQ([]byte{1, 1, 0xff}, INTEGER(-1)))},
		"a tenth key usage":         {Extension("2.5.29.15", true, BITS(6, 0x80, 0x40))},
		"no key usage":              {Extension("2.5.29.15", true, BITS(0))},
		"dirty unused bits":         {Extension("2.5.29.15", true, BITS(7, 0xff))},
		"bytes after a key usage":   {Extension("2.5.29.15", true, append(BITS(7, 0x80), 0))},
		"an empty extKeyUsage":      {Extension("2.5.29.37", false, SEQ())},
		"a key usage twice":         {Extension("2.5.29.15", true, BITS(7, 0x80)), Extension("2.5.29.15", true, BITS(2, 0x04))},
		"extensions of unknown OID": {Extension("1.2.3.4", true, []byte{5, 0}), Extension("1.2.3.5", false, nil), Extension("1.2.3.6", false, []byte("no DER\n                DNS:a"))},
		"key identifiers":           {Extension("2.5.29.14", false, Text(4, "abcdefgh")), Extension("2.5.29.35", false, SEQ(GeneralName(0, []byte("abcd"))))},
		"extensions that CAs know": {Extension("2.5.29.32", false, SEQ(SEQ(OID("1.2.3")))), Extension("2.5.29.31", false, INTEGER(4)), Extension("1.3.6.1.5.5.7.1.24", false, SEQ(INTEGER(5))),
			Extension("2.16.840.1.113730.1.13", false, IA5("a\n            Requested Extensions:")), Extension("1.3.6.1.4.1.311.20.2", false, Text(30, "\x00C\x00A")),
			Extension("2.5.29.30", true, SEQ()), Extension("2.5.29.18", false, SEQ(DNS("a")))},
		"a critical FALSE": {Extension("1.2.3.4", false, []byte{5, 0}), RawAttribute(SEQ(OID("1.2.3.9"), SET(SEQ(SEQ(OID("1.2.3"), []byte{1, 1, 0}, Text(4, ""))))))},
	}
}

func oddAttributes() map[string][]Option {
	const microsoft = "1.3.6.1.4.1.311.2.1.14"
	evil := SEQ(SEQ(OID(SubjectAltName), Text(4, string(SEQ(DNS("evil.example"))))))
	good := SEQ(SEQ(OID(SubjectAltName), Text(4, string(SEQ(DNS("good.example"))))))
	return map[string][]Option{
		"a challengePassword":               {Attribute(ChallengePassword, Printable("secret"))},
		"two values of a challengePassword": {Attribute(ChallengePassword, Printable("a"), UTF8("b\nc"))},
		"a challengePassword twice":         {Attribute(ChallengePassword, Printable("a")), Attribute(ChallengePassword, Printable("b"))},
		"a challengePassword in BMPString":  {Attribute(ChallengePassword, Text(30, "\x00a"))},
		"attributes of many types":          {Attribute("1.2.3.4", INTEGER(5), UTF8("k")), Attribute("1.3.6.1.1.1.1.22", IA5("00:00:5E:00:53:00")), Attribute("1.2.840.113549.1.9.20", Text(30, "\x00a"))},
		"an attribute without values":       {Attribute("1.2.3")},
		"an attribute whose set is a SEQ":   {RawAttribute(SEQ(OID("1.2.3"), SEQ(UTF8("a"))))},
		"an attribute with a third part":    {RawAttribute(SEQ(OID("1.2.3"), SET(UTF8("a")), SET()))},
		"a bare value as an attribute":      {RawAttribute(UTF8("a"))},
		"an attribute without DER":          {RawAttribute([]byte{0x30, 0x80, 0, 0})},
		"Microsoft's extensions alone":      {Attribute(microsoft, evil)},
		"Microsoft's extensions as well":    {SAN(DNS("good.example")), Attribute(microsoft, evil)},
		"two extensionRequests":             {Attribute(ExtensionRequest, good), Attribute(ExtensionRequest, evil)},
		"two values of an extensionRequest": {Attribute(ExtensionRequest, good, evil)},
		"no value of an extensionRequest":   {Attribute(ExtensionRequest)},
		"an empty extensionRequest":         {Attribute(ExtensionRequest, SEQ())},
		"an extensionRequest that is a SET": {Attribute(ExtensionRequest, SET(SEQ(OID(SubjectAltName), Text(4, string(SEQ(DNS("a")))))))},
		"bytes after an extension":          {Attribute(ExtensionRequest, SEQ(SEQ(OID(SubjectAltName), Text(4, string(SEQ(DNS("a")))), UTF8("x"))))},
		"another name asked for":            {Attribute("1.3.6.1.5.5.7.7.36", SEQ(Name(CN("evil")), SEQ(DNS("evil.example"))))},
		"the attributes of RFC 7894":        {Attribute("1.2.840.113549.1.9.16.2.56", UTF8("a")), Attribute("1.2.840.113549.1.9.16.2.57", UTF8("b")), Attribute("1.2.840.113549.1.9.16.2.58", UTF8("c"))},
	}
}

func oddKeys(t testing.TB) map[string][]Option {
	t.Helper()
	const ec, prime = "1.2.840.10045.2.1", "1.2.840.10045.1.1"
	// The parameters are of the right shape; the numbers are of no curve.
	explicit := SEQ(INTEGER(1), SEQ(OID(prime), INTEGER(23)), SEQ(Text(4, "\x01"), Text(4, "\x01")), Text(4, "\x04\x03\x0a"), INTEGER(29), INTEGER(1))
	key := func(der []byte) []Option { return []Option{Signer(fixed), SPKI(der)} }
	return map[string][]Option{
		"an RSA key":                {Signer(Key(t, "rsa2048"))},
		"a signature of RSA-PSS":    {Signer(Key(t, "rsa2048")), Signature(x509.SHA256WithRSAPSS)},
		"a P-256 key":               {Signer(Key(t, "P-256"))},
		"a P-224 key":               {Signer(Key(t, "P-224"))},
		"a P-521 key":               {Signer(Key(t, "P-521"))},
		"a wrong signature":         {BadSignature()},
		"explicit curve parameters": key(SEQ(SEQ(OID(ec), explicit), BITS(0, 4, 3, 10))),
		"no curve":                  key(SEQ(SEQ(OID(ec)), BITS(0, 4, 3, 10))),
		"a curve that is NULL":      key(SEQ(SEQ(OID(ec), []byte{5, 0}), BITS(0, 4, 3, 10))),
		"a point that is on none":   key(SEQ(SEQ(OID(ec), OID("1.2.840.10045.3.1.7")), BITS(0, 4, 3, 10))),
		"an RSA-PSS key":            key(SEQ(SEQ(OID("1.2.840.113549.1.1.10")), BITS(0, SEQ(INTEGER(1<<40+1), INTEGER(65537))...))),
		"an RSA key without NULL":   key(SEQ(SEQ(OID("1.2.840.113549.1.1.1")), BITS(0, SEQ(INTEGER(1<<40+1), INTEGER(65537))...))),
		"a negative modulus":        key(SEQ(SEQ(OID("1.2.840.113549.1.1.1"), []byte{5, 0}), BITS(0, SEQ(INTEGER(-5), INTEGER(65537))...))),
		"an Ed448 key":              key(SEQ(SEQ(OID("1.3.101.113")), BITS(0, make([]byte, 57)...))),
		"an X25519 key":             key(SEQ(SEQ(OID("1.3.101.110")), BITS(0, make([]byte, 32)...))),
		"a key of unknown type":     key(SEQ(SEQ(OID("1.2.3")), BITS(0, 1))),
		"a key of odd bits":         key(SEQ(SEQ(OID("1.3.101.112")), BITS(1, make([]byte, 32)...))),
		"a key with parameters":     key(SEQ(SEQ(OID("1.3.101.112"), []byte{5, 0}), BITS(0, make([]byte, 32)...))),
	}
}
