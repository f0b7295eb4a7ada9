// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func cn(value []byte) Option { return Subject(RDN(ATV("2.5.4.3", value))) }

func TestNamesEqual(t *testing.T) {
	type options = []Option
	base := options{Subject(O("Example"), CN("rtr-1"))}
	with := func(names ...[]byte) options { return options{base[0], SAN(names...)} }
	tests := map[string]struct {
		a, b options
		want bool
	}{
		"the same":                          {base, base, true},
		"another string type":               {options{cn(UTF8("rtr-1"))}, options{cn(Printable("rtr-1"))}, true},
		"a BMPString of the same text":      {options{cn(Text(30, "\x00a"))}, options{cn(UTF8("a"))}, true},
		"another case":                      {options{cn(UTF8("RTR-1"))}, options{cn(UTF8("rtr-1"))}, true},
		"more spaces":                       {options{cn(UTF8("  a   b "))}, options{cn(UTF8("a b"))}, true},
		"no space":                          {options{cn(UTF8("a b"))}, options{cn(UTF8("ab"))}, false},
		"an empty text":                     {options{cn(UTF8(""))}, options{cn(UTF8("a"))}, false},
		"another case beyond ASCII":         {options{cn(UTF8("É"))}, options{cn(UTF8("é"))}, false},
		"another value":                     {base, options{Subject(O("Example"), CN("rtr-2"))}, false},
		"another type":                      {options{Subject(O("a"))}, options{Subject(CN("a"))}, false},
		"another order":                     {base, options{Subject(CN("rtr-1"), O("Example"))}, false},
		"one RDN more":                      {base, options{Subject(O("Example"), CN("rtr-1"), CN("x"))}, false},
		"the same CN twice":                 {options{Subject(CN("a"))}, options{Subject(CN("a"), CN("a"))}, false},
		"an RDN in another order":           {options{Subject(RDN(ATV("2.5.4.3", UTF8("a")), ATV("2.5.4.10", UTF8("b"))))}, options{Subject(RDN(ATV("2.5.4.10", UTF8("B")), ATV("2.5.4.3", UTF8("a"))))}, true},
		"one RDN of two, and two RDNs":      {options{Subject(RDN(ATV("2.5.4.3", UTF8("a")), ATV("2.5.4.10", UTF8("b"))))}, options{Subject(CN("a"), O("b"))}, false},
		"a value twice in an RDN":           {options{Subject(RDN(ATV("2.5.4.3", UTF8("a")), ATV("2.5.4.3", UTF8("a"))))}, options{Subject(CN("a"))}, false},
		"the same bytes that aren't text":   {options{cn(INTEGER(1))}, options{cn(INTEGER(1))}, true},
		"other bytes that aren't text":      {options{cn(INTEGER(1))}, options{cn(INTEGER(2))}, false},
		"a text, and its bytes as no text":  {options{cn(UTF8("a"))}, options{cn(octets("a"))}, false},
		"empty subjects":                    {options{Subject()}, options{Subject()}, true},
		"SANs in another order":             {with(DNS("a"), DNS("b")), with(DNS("b"), DNS("a")), true},
		"SANs as multisets":                 {with(DNS("a"), DNS("a"), DNS("b")), with(DNS("a"), DNS("b"), DNS("b")), false},
		"a SAN in one only":                 {base, with(DNS("a")), false},
		"one name more":                     {with(DNS("a")), with(DNS("a"), DNS("b")), false},
		"another form with the same text":   {with(DNS("a")), with(URI("a")), false},
		"DNS names in another case":         {with(DNS("A.Example")), with(DNS("a.example")), true},
		"a DNS name with a final dot":       {with(DNS("a.example.")), with(DNS("a.example")), false},
		"a mail host in another case":       {with(Email("a@B.Example")), with(Email("a@b.example")), true},
		"a mailbox in another case":         {with(Email("A@b.example")), with(Email("a@b.example")), false},
		"a mailbox with a quoted @":         {with(Email(`"A@b"@c`)), with(Email(`"a@b"@c`)), false},
		"an e-mail address without host":    {with(Email("A")), with(Email("a")), false},
		"a URI's scheme and host":           {with(URI("HTTPS://A.Example:80/p")), with(URI("https://a.example:80/p")), true},
		"a URI's path in another case":      {with(URI("https://a/P")), with(URI("https://a/p")), false},
		"a URI's query in another case":     {with(URI("https://a?P")), with(URI("https://a?p")), false},
		"a URI's user in another case":      {with(URI("https://U@A/")), with(URI("https://u@a/")), false},
		"a URI's host after the same user":  {with(URI("https://u@A/")), with(URI("https://u@a/")), true},
		"a URN in another case":             {with(URI("urn:A")), with(URI("urn:a")), false},
		"a URN's scheme in another case":    {with(URI("URN:a")), with(URI("urn:a")), true},
		"a URI without scheme":              {with(URI("A")), with(URI("a")), false},
		"a path that looks like a scheme":   {with(URI("/A:b")), with(URI("/a:b")), false},
		"the same address":                  {with(IP("10.0.0.1")), with(IP("10.0.0.1")), true},
		"another address":                   {with(IP("10.0.0.1")), with(IP("10.0.0.2")), false},
		"directoryNames in another case":    {with(DirectoryName(CN("A"))), with(DirectoryName(RDN(ATV("2.5.4.3", Printable("a"))))), true},
		"other directoryNames":              {with(DirectoryName(CN("a"))), with(DirectoryName(CN("b"))), false},
		"empty directoryNames":              {with(DirectoryName()), with(DirectoryName()), true},
		"otherNames with the same bytes":    {with(OtherName("1.2", UTF8("a"))), with(OtherName("1.2", UTF8("a"))), true},
		"otherNames in another case":        {with(OtherName("1.2", UTF8("a"))), with(OtherName("1.2", UTF8("A"))), false},
		"registeredIDs":                     {with(RegisteredID("1.2.3")), with(RegisteredID("1.2.4")), false},
		"a quote that could end a value":    {options{cn(UTF8(`a" "b`))}, options{cn(UTF8("a b"))}, false},
		"an X.400 address is equal by byte": {with(X400()), with(X400()), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := parse(t, New(t, test.a...)).Names, parse(t, New(t, test.b...)).Names
			if a.Equal(b) != test.want || b.Equal(a) != test.want {
				t.Errorf("%v and %v: not %t", a, b, test.want)
			}
			if !a.Equal(a) || !a.EqualDER(a) {
				t.Errorf("%v is not equal to itself", a)
			}
		})
	}
}

func TestEqualDERWantsTheSameEncoding(t *testing.T) {
	names := func(opts ...Option) csr.Names { return parse(t, New(t, opts...)).Names }
	if !names(cn(UTF8("a")), SAN(DNS("a"))).EqualDER(names(cn(UTF8("a")), SAN(DNS("a")))) {
		t.Error("the same names differ")
	}
	base := names(cn(UTF8("a")), SAN(DNS("a"), DNS("b")))
	for name, other := range map[string]csr.Names{
		"another string type": names(cn(Printable("a")), SAN(DNS("a"), DNS("b"))),
		"another order":       names(cn(UTF8("a")), SAN(DNS("b"), DNS("a"))),
		"another case":        names(cn(UTF8("a")), SAN(DNS("A"), DNS("b"))),
		"no SAN":              names(cn(UTF8("a"))),
		"no subject":          names(Subject(), SAN(DNS("a"), DNS("b"))),
	} {
		if base.EqualDER(other) || other.EqualDER(base) {
			t.Errorf("%s: equal", name)
		}
	}
}

func TestNamesWithoutContentAreEqualToNothing(t *testing.T) {
	for name, n := range map[string]csr.Names{
		"a value that is the zero value":  {Subject: csr.Name{{{}}}},
		"a GeneralName that is":           {HasSAN: true, SAN: []csr.GeneralName{{}}},
		"a directoryName without content": {HasSAN: true, SAN: []csr.GeneralName{{Form: csr.DirectoryName}}},
	} {
		if n.Equal(n) || n.EqualDER(n) {
			t.Errorf("%s: equal to itself", name)
		}
	}
}

func TestPresenceOfTheSANIsPartOfTheNames(t *testing.T) {
	none, empty := csr.Names{}, csr.Names{HasSAN: true}
	if none.Equal(empty) || none.EqualDER(empty) || empty.Equal(none) || empty.EqualDER(none) {
		t.Error("no SAN is equal to an empty one")
	}
}

func TestAMadeNameEqualsTheParsedOne(t *testing.T) {
	parsed := parse(t, New(t, Subject(O("Example Net"), CN("rtr-1")), SAN(DNS("rtr-1.example")))).Names
	dns, err := csr.NewName(csr.DNS, "RTR-1.example")
	if err != nil {
		t.Fatal(err)
	}
	made := csr.Names{
		Subject: csr.Name{{csr.NewAttributeValue(oid(t, "O"), "Example Net")}, {csr.NewAttributeValue(commonName, "rtr-1")}},
		SAN:     []csr.GeneralName{dns}, HasSAN: true,
	}
	if !made.Equal(parsed) || !parsed.Equal(made) {
		t.Errorf("%v and %v differ", made, parsed)
	}
}

// serial is a serial number for certificates that nobody looks up.
var serial = big.NewInt(1)

func TestNamesOfACertificateAreThoseOfTheRequest(t *testing.T) {
	r := parse(t, New(t, Subject(CN("a"), CN("b")), SAN(OtherName("1.2.3", UTF8("x")), DNS("a.example"))))
	san, _ := r.Extension(csr.OIDSubjectAltName)
	template := &x509.Certificate{SerialNumber: serial, RawSubject: r.RawSubject,
		ExtraExtensions: []pkix.Extension{{Id: san.ID, Value: san.Value}}}
	cert := certificate(t, template)
	names, err := csr.NamesOf(cert)
	if err != nil || !names.Equal(r.Names) || !names.EqualDER(r.Names) {
		t.Errorf("names are %v, %v", names, err)
	}
	cert.Extensions = append(cert.Extensions, cert.Extensions...)
	if _, err := csr.NamesOf(cert); err == nil {
		t.Error("two SAN extensions are taken")
	}
}

func TestNamesOfWantsAParsedCertificate(t *testing.T) {
	for _, cert := range []*x509.Certificate{nil, {}, {RawSubject: []byte{0x30}}} {
		if names, err := csr.NamesOf(cert); err == nil {
			t.Errorf("names are %v", names)
		}
	}
}

func certificate(t *testing.T, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	key := Key(t, "P-256")
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
