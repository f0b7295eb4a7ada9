// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// seeds are requests of many shapes, good and bad.
func seeds(f testing.TB) [][]byte {
	files, err := filepath.Glob("testdata/*.b64")
	if err != nil || len(files) == 0 {
		f.Fatalf("no test data: %v", err)
	}
	var list [][]byte
	for _, file := range files {
		list = append(list, readBase64(f, file))
	}
	for _, odd := range OddRequests(f) {
		list = append(list, odd.DER)
	}
	return append(list, nil, SEQ(), SEQ(SEQ(), SEQ(), BITS(0)),
		New(f, Subject(), Signer(Key(f, "ed25519"))),
		New(f, Subject(O("b"), CN("a"), CN("a\x00"), RDN(ATV("2.5.4.3", INTEGER(1)), ATV("1.2.3", Text(30, "\x00a"))))),
		New(f, SAN(OtherName("1.2.3", UTF8("x")), Email("a@b"), DNS("a"), X400(), DirectoryName(CN("a")), EDIParty("x"),
			URI("urn:a"), IP("10.0.0.1"), IP("2001:db8::1"), RegisteredID("1.2.3"))),
		New(f, SAN(DNS("a")), SAN(DNS("b"))),
		New(f, SAN()),
		New(f, SAN(OtherName(csr.OIDHardwareModuleName, SEQ(OID("1.2.3"), Text(4, "a"))),
			OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("a"), OID("1.2.3"))))),
		New(f, Extension(csr.OIDKeyUsage, true, BITS(5, 0xa0)), Extension(csr.OIDExtKeyUsage, false, SEQ(OID("1.2"))),
			Extension(csr.OIDBasicConstraints, true, SEQ([]byte{1, 1, 0xff}, INTEGER(0)))),
		New(f, Attribute(ChallengePassword, Printable("x")), Attribute("1.2.3")),
		New(f, Signer(Key(f, "rsa2048")), Signature(x509.SHA256WithRSAPSS)),
		New(f, BadSignature(), SPKI(SEQ(SEQ(OID("1.2.3")), BITS(0, 1)))),
	)
}

// FuzzParse looks for panics in everything that reads a request, and checks
// that what was parsed is encoded as it came.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := csr.Parse(der)
		if err != nil {
			if r != nil || err.Error() == "" {
				t.Errorf("request %v, error %q", r, err)
			}
			return
		}
		subject, err := r.Names.Subject.MarshalDER()
		if err != nil || !bytes.Equal(subject, r.RawSubject) {
			t.Errorf("subject %x is encoded as %x, %v", r.RawSubject, subject, err)
		}
		if san, ok := r.Extension(csr.OIDSubjectAltName); ok {
			value, err := csr.MarshalSAN(r.Names.SAN)
			if err != nil || !bytes.Equal(value, san.Value) || !r.Names.HasSAN {
				t.Errorf("SAN %x is encoded as %x, %v", san.Value, value, err)
			}
			csr.AllDeviceNames(san.Value)
		}
		if !r.Names.Equal(r.Names) || !r.Names.EqualDER(r.Names) {
			t.Errorf("%v is not equal to itself", r.Names)
		}
		for _, g := range r.Names.SAN {
			g.DeviceIdentity()
			onlyPrintable(t, g.String())
		}
		onlyPrintable(t, r.Names.Subject.String())
		callTheRest(t, r)
	})
}

func callTheRest(t *testing.T, r *csr.Request) {
	if err := r.CheckPOP(); err != nil {
		onlyPrintable(t, err.Error())
	}
	usage, present, err := r.RequestedKeyUsage()
	if present && err == nil {
		if _, err := csr.MarshalKeyUsage(usage); err != nil {
			t.Error(err)
		}
	}
	usages, present, err := r.RequestedExtKeyUsage()
	if e, _ := r.Extension(csr.OIDExtKeyUsage); present && err == nil {
		if der, err := csr.MarshalExtKeyUsage(usages); err != nil || !bytes.Equal(der, e.Value) {
			t.Errorf("extKeyUsage %x is encoded as %x, %v", e.Value, der, err)
		}
	}
	_, _, _ = r.RequestedBasicConstraints()
	onlyPrintable(t, fmt.Sprintf("%v %+v %s", r, r.Attributes, r.SignatureName()))
}

func onlyPrintable(t *testing.T, s string) {
	for _, c := range s {
		if c < 0x20 || 0x7f <= c && c < 0xa0 {
			t.Errorf("%q has a control character", s)
			return
		}
	}
}

// FuzzParseName checks that what String writes is read as an equal name.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"O=Example Net, CN=a", `CN=\ a\,b\+\C3\A9`, "CN=a+O=b", "1.2.3=x", `CN=\`, "=", `CN=\#\<\>\;`, "CN=#0500"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := csr.ParseName(text)
		if err != nil {
			return
		}
		again, err := csr.ParseName(name.String())
		if err != nil || again.String() != name.String() || !again.Equal(name) {
			t.Errorf("%q is shown as %q, and that is read as %q, error %v", text, name, again, err)
		}
	})
}

// FuzzName checks that any text which can be encoded as a name is read as
// the same text, and that both are equal.
func FuzzName(f *testing.F) {
	for _, text := range []string{"", "rtr-1", "a b", " a  b ", "Müller", "a\x00b", "a\xffb", "*.example", "a@b", "\u202e", "DE"} {
		f.Add("CN", text)
		f.Add("C", text)
		f.Add("DC", text)
	}
	f.Fuzz(func(t *testing.T, typ, text string) {
		oid, ok := csr.TypeOID(typ)
		if !ok {
			return
		}
		made := csr.Name{{csr.NewAttributeValue(oid, text)}}
		onlyPrintable(t, made.String())
		der, err := made.MarshalDER()
		if err != nil {
			return
		}
		r, err := csr.Parse(request(der))
		if err != nil {
			t.Fatal(err)
		}
		if v := r.Names.Subject[0][0]; !v.Text || v.Value != text || !made.Equal(r.Names.Subject) {
			t.Errorf("%q is read as %+v", text, v)
		}
	})
}

// request has a subject and a key and signature of nobody.
func request(subject []byte) []byte {
	info := SEQ(INTEGER(0), subject, SEQ(SEQ(OID("1.2.3")), BITS(0, 1)), ConstructedName(0))
	return SEQ(info, SEQ(OID("1.2.3")), BITS(0, 1))
}
