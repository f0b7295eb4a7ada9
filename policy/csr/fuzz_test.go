// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// seeds are requests of many shapes, good and bad.
func seeds(f *testing.F) [][]byte {
	files, err := filepath.Glob("testdata/*.b64")
	if err != nil || len(files) == 0 {
		f.Fatalf("no test data: %v", err)
	}
	var list [][]byte
	for _, file := range files {
		list = append(list, readBase64(f, file))
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

// FuzzAgainstX509 holds Parse against crypto/x509: of a request that both
// take, both see the same subject, DNS names, e-mail addresses, addresses and
// number of URIs, and no signature is good to us only.
func FuzzAgainstX509(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		ours, err := csr.Parse(der)
		if err != nil {
			return
		}
		theirs, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return
		}
		if !bytes.Equal(ours.RawSubject, theirs.RawSubject) || !bytes.Equal(ours.RawInfo, theirs.RawTBSCertificateRequest) ||
			!bytes.Equal(ours.RawSPKI, theirs.RawSubjectPublicKeyInfo) || !bytes.Equal(ours.Signature, theirs.Signature) {
			t.Error("subject, info, key or signature have other bytes")
		}
		var addresses []string
		for _, ip := range theirs.IPAddresses {
			addr, _ := netip.AddrFromSlice(ip)
			addresses = append(addresses, addr.String())
		}
		sameNames(t, ours, csr.DNS, theirs.DNSNames)
		sameNames(t, ours, csr.Email, theirs.EmailAddresses)
		sameNames(t, ours, csr.IP, addresses)
		if n := len(values(ours, csr.URI)); n != len(theirs.URIs) {
			t.Errorf("%d URIs, crypto/x509 has %d", n, len(theirs.URIs))
		}
		if len(ours.Extensions) != len(theirs.Extensions) {
			t.Errorf("%d extensions, crypto/x509 has %d", len(ours.Extensions), len(theirs.Extensions))
		}
		sameSubject(t, ours, theirs)
		sameSAN(t, ours)
		if ours.CheckPOP() == nil && theirs.CheckSignature() != nil {
			t.Errorf("crypto/x509 says %v", theirs.CheckSignature())
		}
	})
}

func values(r *csr.Request, form csr.NameForm) []string {
	var list []string
	for _, g := range r.Names.SAN {
		if g.Form == form {
			list = append(list, g.Value)
		}
	}
	return list
}

func sameNames(t *testing.T, ours *csr.Request, form csr.NameForm, theirs []string) {
	if got := values(ours, form); !slices.Equal(got, theirs) {
		t.Errorf("%s names are %q, crypto/x509 has %q", form, got, theirs)
	}
}

// sameSubject checks that each attribute that crypto/x509 sees as a string
// is in our view, and says the same where it is text to us.
func sameSubject(t *testing.T, ours *csr.Request, theirs *x509.CertificateRequest) {
	var flat []csr.AttributeValue
	for _, rdn := range ours.Names.Subject {
		flat = append(flat, rdn...)
	}
	if len(flat) != len(theirs.Subject.Names) {
		t.Errorf("%d attributes, crypto/x509 has %d", len(flat), len(theirs.Subject.Names))
		return
	}
	for i, v := range flat {
		other := theirs.Subject.Names[i]
		text, isString := other.Value.(string)
		if !v.Type.Equal(other.Type) || v.Text && isString && v.Value != text {
			t.Errorf("attribute %d is %s, crypto/x509 has %v=%q", i+1, v, other.Type, text)
		}
	}
}

// sameSAN checks that each entry that encoding/asn1 finds in a SAN is in our
// view, byte for byte: crypto/x509 passes over five of the forms.
func sameSAN(t *testing.T, ours *csr.Request) {
	san, ok := ours.Extension(csr.OIDSubjectAltName)
	if !ok {
		return
	}
	var raw []asn1.RawValue
	if rest, err := asn1.Unmarshal(san.Value, &raw); err != nil || len(rest) > 0 || len(raw) != len(ours.Names.SAN) {
		t.Errorf("%d names, encoding/asn1 has %d (%v)", len(ours.Names.SAN), len(raw), err)
		return
	}
	for i, g := range ours.Names.SAN {
		if int(g.Form) != raw[i].Tag || !bytes.Equal(g.Raw, raw[i].FullBytes) {
			t.Errorf("name %d is %v (%x), encoding/asn1 has %x", i+1, g, g.Raw, raw[i].FullBytes)
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
