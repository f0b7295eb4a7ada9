// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func TestNewNameEncodesWhatParseReads(t *testing.T) {
	tests := map[string]struct {
		form  csr.NameForm
		value string
		want  []byte
	}{
		"a DNS name":        {csr.DNS, "a.example", DNS("a.example")},
		"an e-mail address": {csr.Email, "a@b.example", Email("a@b.example")},
		"a URI":             {csr.URI, "urn:x", URI("urn:x")},
		"an IPv4 address":   {csr.IP, "10.0.0.1", GeneralName(7, []byte{10, 0, 0, 1})},
		"an IPv6 address":   {csr.IP, "2001:db8::1", IP("2001:db8::1")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := csr.NewName(test.form, test.value)
			if err != nil || !bytes.Equal(g.Raw, test.want) || g.Form != test.form || g.Value != test.value {
				t.Fatalf("got %+v, %v", g, err)
			}
			san, err := csr.MarshalSAN([]csr.GeneralName{g})
			if err != nil || !bytes.Equal(san, SEQ(test.want)) {
				t.Errorf("SAN is %x, %v", san, err)
			}
		})
	}
}

// What crypto/x509 writes, and what we make from the same text, are the same
// bytes.
func TestNamesAreEncodedAsCryptoX509Does(t *testing.T) {
	directory, err := asn1.Marshal(pkix.Name{CommonName: "a, b", Organization: []string{"J\u00f6rg"}, Country: []string{"DE"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{
		DNSNames: []string{"a.example"}, EmailAddresses: []string{"a@b.example"}, IPAddresses: []net.IP{{10, 0, 0, 1}, net.ParseIP("2001:db8::1")},
		URIs: []*url.URL{{Scheme: "https", Host: "a.example", Path: "/b"}},
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, Key(t, "P-256"))
	if err != nil {
		t.Fatal(err)
	}
	theirs := parse(t, der).Names.SAN
	theirs = append(theirs, asked(t, ConstructedName(4, directory)))
	for i, text := range []string{
		"dns:a.example", "email:a@b.example", "ip:10.0.0.1", "ip:2001:db8::1", "uri:https://a.example/b", "directoryName:C=DE, O=J\u00f6rg, CN=a\\, b",
	} {
		made, err := csr.ParseGeneralName(text)
		if err != nil || !bytes.Equal(made.Raw, theirs[i].Raw) || theirs[i].String() != text {
			t.Errorf("%s is %x (%v), and crypto/x509 writes %s, %x", text, made.Raw, err, theirs[i], theirs[i].Raw)
		}
	}
}

func TestNewNameRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		form  csr.NameForm
		value string
		want  string
	}{
		"an empty DNS name":      {csr.DNS, "", "dns: empty"},
		"a DNS name in Unicode":  {csr.DNS, "é", `dns: byte 1 of "é" is a control character or beyond ASCII`},
		"an address with a zone": {csr.IP, "fe80::1%eth0", `ip: "fe80::1%eth0" is not an address`},
		"a host as an address":   {csr.IP, "localhost", `ip: "localhost" is not an address`},
		"a form that isn't text": {csr.OtherName, "x", "a name of form otherName can't be made from text"},
		"a form that isn't one":  {csr.NameForm(9), "x", "a name of form unknown can't be made from text"},
	} {
		if g, err := csr.NewName(test.form, test.value); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, %v", name, g, err)
		}
	}
}

func TestMarshalSANKeepsEveryForm(t *testing.T) {
	r := parse(t, New(t, SAN(OtherName("1.2.3", UTF8("x")), X400(), DirectoryName(CN("a")), EDIParty("x"), RegisteredID("1.2.3"), DNS("a"))))
	san, _ := r.Extension(csr.OIDSubjectAltName)
	got, err := csr.MarshalSAN(r.Names.SAN)
	if err != nil || !bytes.Equal(got, san.Value) {
		t.Errorf("got %x, %v, want %x", got, err, san.Value)
	}
}

func TestMarshalSANRefuses(t *testing.T) {
	two := append(DNS("a"), DNS("b")...)
	for name, names := range map[string][]csr.GeneralName{
		"no names":                {},
		"the zero value":          {{}},
		"a name without encoding": {{Form: csr.DNS, Value: "a"}},
		"another form's encoding": {{Form: csr.DNS, Raw: Email("a")}},
		"two names in one":        {{Form: csr.DNS, Raw: two}},
		"bytes that are no name":  {{Form: csr.DNS, Raw: UTF8("a")}},
	} {
		if der, err := csr.MarshalSAN(names); err == nil {
			t.Errorf("%s: encoded as %x", name, der)
		}
	}
}

func TestDirectoryNameIsReadable(t *testing.T) {
	r := parse(t, New(t, SAN(DirectoryName(CN("a"), O("b")), DNS("a"))))
	name, err := r.Names.SAN[0].DirectoryName()
	if err != nil || name.String() != "CN=a, O=b" {
		t.Errorf("got %s, %v", name, err)
	}
	if _, err := r.Names.SAN[1].DirectoryName(); err == nil {
		t.Error("a dNSName has a directoryName")
	}
	if _, err := (csr.GeneralName{Form: csr.DirectoryName}).DirectoryName(); err == nil {
		t.Error("a name without encoding has a directoryName")
	}
}

func TestStringOfAGeneralNameThatWasMadeByHand(t *testing.T) {
	for want, g := range map[string]csr.GeneralName{
		`dns:a\0Ab`:      {Form: csr.DNS, Value: "a\nb"},
		"otherName:":     {},
		"directoryName:": {Form: csr.DirectoryName},
		"unknown:":       {Form: csr.NameForm(200)},
	} {
		if got := g.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOtherNameHasItsType(t *testing.T) {
	r := parse(t, New(t, SAN(OtherName("1.2.3", UTF8("x")))))
	if got := r.Names.SAN[0].TypeID.String(); got != "1.2.3" {
		t.Errorf("type-id is %s", got)
	}
}
