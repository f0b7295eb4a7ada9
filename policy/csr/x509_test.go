// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// FuzzAgainstX509 holds Parse against crypto/x509 and encoding/asn1. Of any
// bytes one of these holds:
//
//   - Parse gives a *ParseError with words, so that the request is refused; or
//   - crypto/x509 doesn't read them; or
//   - each thing that crypto/x509 reads is in our view, in the same place and
//     with the same value, and each thing in our view of the kinds that
//     crypto/x509 reads is in its own (see differences).
//
// What is in our view and named by no rule, a policy refuses.
func FuzzAgainstX509(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(againstX509)
}

func againstX509(t *testing.T, der []byte) {
	ours, err := csr.Parse(der)
	if err != nil {
		if parse := new(csr.ParseError); !errors.As(err, &parse) || parse.Reason == "" {
			t.Errorf("the error is %T, %q", err, err)
		}
		return
	}
	theirs, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return
	}
	for _, difference := range differences(theirs, ours) {
		t.Error(difference)
	}
	if ours.CheckPOP() == nil && theirs.CheckSignature() != nil {
		t.Errorf("crypto/x509 says %v", theirs.CheckSignature())
	}
}

// Mutants reach more of both readers than bytes that change at random.
func TestMutantsAreReadAsCryptoX509ReadsThem(t *testing.T) {
	random := rand.New(rand.NewPCG(2986, 5280))
	all := seeds(t)
	read := 0
	for i := range 20_000 {
		mutant := Mutate(random, all[i%len(all)], all[random.IntN(len(all))])
		againstX509(t, mutant)
		if t.Failed() {
			t.Fatalf("mutant %d: %x", i, mutant)
		}
		if _, err := csr.Parse(mutant); err == nil {
			read++
		}
	}
	if read < 2000 {
		t.Errorf("only %d mutants were read at all", read)
	}
}

// differences gives what one of the two views has and the other has not, or
// has otherwise.
func differences(theirs *x509.CertificateRequest, ours *csr.Request) []string {
	var found []string
	for name, pair := range map[string][2][]byte{
		"request":   {theirs.Raw, ours.Raw},
		"info":      {theirs.RawTBSCertificateRequest, ours.RawInfo},
		"subject":   {theirs.RawSubject, ours.RawSubject},
		"key":       {theirs.RawSubjectPublicKeyInfo, ours.RawSPKI},
		"signature": {theirs.Signature, ours.Signature},
	} {
		if !bytes.Equal(pair[0], pair[1]) {
			found = append(found, fmt.Sprintf("%s: %x, ours is %x", name, pair[0], pair[1]))
		}
	}
	if theirs.Version != ours.Version {
		found = append(found, fmt.Sprintf("version: %d, ours is %d", theirs.Version, ours.Version))
	}
	for name, pair := range map[string][2][]string{
		"subject":    {theirSubject(theirs), ourSubject(ours)},
		"SAN":        {theirSAN(theirs), ourSAN(ours)},
		"names":      {rawSAN(theirs), everyName(ours)},
		"extensions": {theirExtensions(theirs), ourExtensions(ours)},
		"attributes": {theirAttributes(theirs), ourAttributes(ours)},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			found = append(found, fmt.Sprintf("%s: %q, ours is %q", name, pair[0], pair[1]))
		}
	}
	return append(found, otherKey(theirs, ours)...)
}

// otherKey: a key that we don't know is UnknownKey, and an exponent beyond 31
// bits is 0. No policy accepts either.
func otherKey(theirs *x509.CertificateRequest, ours *csr.Request) []string {
	if ours.Key.Algorithm == csr.UnknownKey || ours.Key.Algorithm == csr.RSA && ours.Key.Exponent == 0 && ours.Key.Public == nil {
		return nil
	}
	if key, ok := theirs.PublicKey.(interface{ Equal(any) bool }); ok && key.Equal(ours.Key.Public) {
		return nil
	}
	if reflect.DeepEqual(theirs.PublicKey, ours.Key.Public) {
		return nil
	}
	return []string{fmt.Sprintf("key: %T %v, ours is %T %v", theirs.PublicKey, theirs.PublicKey, ours.Key.Public, ours.Key.Public)}
}

func theirSubject(r *x509.CertificateRequest) []string {
	var list []string
	for _, v := range r.Subject.Names {
		list = append(list, fmt.Sprintf("%v=%v", v.Type, v.Value))
	}
	return list
}

// ourSubject shows text as it was decoded. What isn't text to us, no policy
// accepts: of that the type is compared, and that encoding/asn1 reads from
// our bytes what it read from the request's.
func ourSubject(r *csr.Request) []string {
	var list []string
	for _, rdn := range r.Names.Subject {
		for _, v := range rdn {
			var value any = v.Value
			if !v.Text || v.Tag == 26 || v.Tag == 28 { // encoding/asn1 has no VisibleString and no UniversalString
				value = nil
				_, _ = asn1.Unmarshal(v.Raw, &value)
			}
			list = append(list, fmt.Sprintf("%v=%v", v.Type, value))
		}
	}
	return list
}

func theirSAN(r *x509.CertificateRequest) []string {
	var list []string
	for _, name := range r.EmailAddresses {
		list = append(list, "email:"+name)
	}
	for _, name := range r.DNSNames {
		list = append(list, "dns:"+name)
	}
	for _, uri := range r.URIs {
		list = append(list, "uri:"+uri.String())
	}
	for _, ip := range r.IPAddresses {
		addr, _ := netip.AddrFromSlice(ip)
		list = append(list, "ip:"+addr.String())
	}
	return list
}

// ourSAN has the four forms that crypto/x509 reads, in the same order.
func ourSAN(r *csr.Request) []string {
	var list []string
	for _, form := range []csr.NameForm{csr.Email, csr.DNS, csr.URI, csr.IP} {
		for _, g := range r.Names.SAN {
			if g.Form != form {
				continue
			}
			value := g.Value
			if uri, err := url.Parse(value); form == csr.URI && err == nil {
				value = uri.String()
			}
			list = append(list, form.String()+":"+value)
		}
	}
	return list
}

// rawSAN has every GeneralName that encoding/asn1 finds: crypto/x509 passes
// over five of the forms.
func rawSAN(r *x509.CertificateRequest) []string {
	var list []string
	for _, e := range r.Extensions {
		if e.Id.String() != csr.OIDSubjectAltName {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			list = append(list, "unreadable")
		}
		for _, name := range names {
			list = append(list, fmt.Sprintf("%d:%x", name.Tag, name.FullBytes))
		}
	}
	return list
}

func everyName(r *csr.Request) []string {
	var list []string
	for _, g := range r.Names.SAN {
		list = append(list, fmt.Sprintf("%d:%x", g.Form, g.Raw))
	}
	return list
}

func theirExtensions(r *x509.CertificateRequest) []string {
	var list []string
	for _, e := range r.Extensions {
		list = append(list, fmt.Sprintf("%v %t %x", e.Id, e.Critical, e.Value))
	}
	return list
}

func ourExtensions(r *csr.Request) []string {
	var list []string
	for _, e := range r.Extensions {
		list = append(list, fmt.Sprintf("%v %t %x", e.ID, e.Critical, e.Value))
	}
	return list
}

// theirAttributes has what encoding/asn1 reads as attributes: crypto/x509
// leaves out those whose values it doesn't know.
func theirAttributes(r *x509.CertificateRequest) []string {
	var info struct {
		Raw        asn1.RawContent
		Version    int
		Subject    asn1.RawValue
		Key        asn1.RawValue
		Attributes []struct {
			Type   asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		} `asn1:"tag:0"`
	}
	if _, err := asn1.Unmarshal(r.RawTBSCertificateRequest, &info); err != nil {
		return []string{"unreadable"}
	}
	var list []string
	for _, a := range info.Attributes {
		line := a.Type.String()
		if line == csr.OIDExtensionRequest {
			continue
		}
		for _, value := range a.Values {
			line += fmt.Sprintf(" %x", value.FullBytes)
		}
		list = append(list, line)
	}
	return list
}

func ourAttributes(r *csr.Request) []string {
	var list []string
	for _, a := range r.Attributes {
		line := a.Type.String()
		for _, value := range a.Values {
			line += fmt.Sprintf(" %x", value)
		}
		list = append(list, line)
	}
	return list
}

// A comparison that finds nothing proves nothing: each of these is found.
func TestWhatOneReaderLosesIsFound(t *testing.T) {
	der := New(t, Subject(O("o"), CN("a")), SAN(Email("a@b"), DNS("a"), DNS("b"), OtherName("1.2.3", UTF8("x")), URI("urn:a"), IP("10.0.0.1"), RegisteredID("1.2.3")),
		Extension("1.2.3.4", true, []byte{5, 0}), Attribute(ChallengePassword, Printable("x"), UTF8("y")), Attribute("1.2.3.5"))
	read := func() (*x509.CertificateRequest, *csr.Request) {
		theirs, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		return theirs, parse(t, der)
	}
	if theirs, ours := read(); differences(theirs, ours) != nil {
		t.Fatal(differences(theirs, ours))
	}
	other := parse(t, New(t, Signer(Key(t, "P-256/other"))))
	type views = func(*x509.CertificateRequest, *csr.Request)
	for name, change := range map[string]views{
		"an RDN":                 func(_ *x509.CertificateRequest, r *csr.Request) { r.Names.Subject = r.Names.Subject[1:] },
		"an attribute of an RDN": func(_ *x509.CertificateRequest, r *csr.Request) { r.Names.Subject[1] = nil },
		"the end of a value":     func(_ *x509.CertificateRequest, r *csr.Request) { r.Names.Subject[1][0].Value = "" },
		"a value that is no text": func(_ *x509.CertificateRequest, r *csr.Request) {
			r.Names.Subject[1][0] = csr.AttributeValue{Type: r.Names.Subject[1][0].Type}
		},
		"a name that crypto/x509 reads": func(_ *x509.CertificateRequest, r *csr.Request) { r.Names.SAN = slices.Delete(r.Names.SAN, 2, 3) },
		"a name that it doesn't read":   func(_ *x509.CertificateRequest, r *csr.Request) { r.Names.SAN = slices.Delete(r.Names.SAN, 3, 4) },
		"the form of a name":            func(_ *x509.CertificateRequest, r *csr.Request) { r.Names.SAN[1].Form = csr.Email },
		"the text of a name":            func(_ *x509.CertificateRequest, r *csr.Request) { r.Names.SAN[5].Value = "10.0.0.2" },
		"an extension":                  func(_ *x509.CertificateRequest, r *csr.Request) { r.Extensions = r.Extensions[:1] },
		"that it is critical":           func(_ *x509.CertificateRequest, r *csr.Request) { r.Extensions[1].Critical = false },
		"the value of an extension":     func(_ *x509.CertificateRequest, r *csr.Request) { r.Extensions[1].Value = nil },
		"an attribute":                  func(_ *x509.CertificateRequest, r *csr.Request) { r.Attributes = r.Attributes[1:] },
		"an attribute without values":   func(_ *x509.CertificateRequest, r *csr.Request) { r.Attributes = r.Attributes[:1] },
		"a value of an attribute":       func(_ *x509.CertificateRequest, r *csr.Request) { r.Attributes[0].Values = r.Attributes[0].Values[:1] },
		"the key":                       func(_ *x509.CertificateRequest, r *csr.Request) { r.Key.Public = other.Key.Public },
		"the key's bytes":               func(_ *x509.CertificateRequest, r *csr.Request) { r.RawSPKI = other.RawSPKI },
		"the version":                   func(_ *x509.CertificateRequest, r *csr.Request) { r.Version = 1 },
		"the other way: a DNS name":     func(r *x509.CertificateRequest, _ *csr.Request) { r.DNSNames = r.DNSNames[1:] },
		"the other way: a URI":          func(r *x509.CertificateRequest, _ *csr.Request) { r.URIs = nil },
		"the other way: an RDN":         func(r *x509.CertificateRequest, _ *csr.Request) { r.Subject.Names = r.Subject.Names[1:] },
		"the other way: an extension":   func(r *x509.CertificateRequest, _ *csr.Request) { r.Extensions = r.Extensions[:1] },
		"the other way: the SAN":        func(r *x509.CertificateRequest, _ *csr.Request) { r.Extensions = r.Extensions[1:] },
		"the other way: attributes":     func(r *x509.CertificateRequest, _ *csr.Request) { r.RawTBSCertificateRequest = other.RawInfo },
		"the other way: the key":        func(r *x509.CertificateRequest, _ *csr.Request) { r.PublicKey = nil },
	} {
		t.Run(name, func(t *testing.T) {
			theirs, ours := read()
			change(theirs, ours)
			if len(differences(theirs, ours)) == 0 {
				t.Error("no difference is found")
			}
		})
	}
}
