// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/wire"
)

var (
	oidCN         = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidOU         = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidMacAddress = asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}
)

// encoded is the body of /csrattrs for hints.
func encoded(t *testing.T, h policy.Hints) string {
	t.Helper()
	der, err := csrattrs.Encode(h)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func generalName(t *testing.T, form csr.NameForm, value string) csr.GeneralName {
	t.Helper()
	name, err := csr.NewName(form, value)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func subjectOf(pairs ...string) csr.Name {
	var name csr.Name
	for i := 0; i < len(pairs); i += 2 {
		oid, _ := csr.TypeOID(pairs[i])
		name = append(name, csr.RDN{csr.NewAttributeValue(oid, pairs[i+1])})
	}
	return name
}

// sent is what the client sends where the server says so.
func sent(t *testing.T, attrs string, template Template) *csr.Request {
	t.Helper()
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), tls.VersionTLS13)
	r.attrs = attrs
	if _, err := r.client().Enroll(context.Background(), newKey(t), template); err != nil {
		t.Fatal(err)
	}
	list := r.seen()
	der, _, err := wire.DecodeBody(list[len(list)-1].body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.CheckPOP(); err != nil {
		t.Error(err)
	}
	return request
}

func namesText(names csr.Names) string {
	texts := []string{names.Subject.String()}
	for _, n := range names.SAN {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, " | ")
}

func TestTheTemplateIsFilled(t *testing.T) {
	www := generalName(t, csr.DNS, "www.example")
	hints := policy.Hints{
		Format:      policy.HintTemplate,
		Linking:     []asn1.ObjectIdentifier{oidChallengePassword, oidIdentityLinking},
		Attributes:  []asn1.ObjectIdentifier{oidMacAddress},
		Subject:     []policy.RDNHint{{{Type: oidOU, Value: "myDept"}}, {{Type: oidCN}}, {{Type: oidOU, Value: "myGroup"}}},
		SAN:         []policy.NameHint{{Form: csr.DNS, Raw: www.Raw}, {Form: csr.IP}, {Form: csr.URI}},
		SANCritical: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}},
		Required:    []asn1.ObjectIdentifier{{2, 5, 29, 32}},
	}
	ours := Template{
		Names: csr.Names{
			Subject: subjectOf("CN", "device", "OU", "mine", "L", "Bonn"),
			SAN: []csr.GeneralName{
				generalName(t, csr.DNS, "mine.example"), generalName(t, csr.IP, "192.0.2.1"), generalName(t, csr.IP, "192.0.2.2"), generalName(t, csr.Email, "a@mine.example"),
			},
		},
		Extensions: []csr.Extension{{ID: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{3, 2, 5, 0xa0}}, {ID: asn1.ObjectIdentifier{2, 5, 29, 32}, Value: []byte{0x30, 0}}},
		Attributes: []csr.Attribute{{Type: oidMacAddress, Values: [][]byte{csrtest.IA5("00-53-00-00-00-01")}}},
	}
	request := sent(t, encoded(t, hints), ours)
	want := "OU=myDept, CN=device, OU=myGroup, L=Bonn | dns:www.example | ip:192.0.2.1 | ip:192.0.2.2 | email:a@mine.example"
	if got := namesText(request.Names); got != want {
		t.Errorf("names %s\nwant  %s", got, want)
	}
	san, _ := request.Extension(csr.OIDSubjectAltName)
	usage, _ := request.Extension(csr.OIDKeyUsage)
	if !san.Critical || !usage.Critical || !bytes.Equal(usage.Value, []byte{3, 2, 7, 0x80}) || len(request.Extensions) != 4 {
		t.Errorf("extensions %+v", request.Extensions)
	}
	for oid, count := range map[string]int{oidMacAddress.String(): 1, oidIdentityLinking.String(): 1, csr.OIDChallengePassword: 0} {
		a, there := request.Attribute(oid)
		if there != (count == 1) || there && len(a.Values) != 1 {
			t.Errorf("attribute %s: %+v", oid, a)
		}
	}
}

func TestWhatTheClientLacksIsLeftOut(t *testing.T) {
	hints := policy.Hints{
		Format: policy.HintTemplate, Attributes: []asn1.ObjectIdentifier{oidMacAddress}, Required: []asn1.ObjectIdentifier{{2, 5, 29, 32}},
		Subject: []policy.RDNHint{{{Type: oidCN}, {Type: oidOU}}, {{Type: oidOU}}}, SAN: []policy.NameHint{{Form: csr.IP}},
	}
	request := sent(t, encoded(t, hints), Template{Names: csr.Names{Subject: subjectOf("CN", "device")}})
	if got := namesText(request.Names); got != "CN=device" || request.Names.HasSAN || len(request.Attributes) != 0 || len(request.Extensions) != 0 {
		t.Errorf("%s, %+v, %+v", got, request.Attributes, request.Extensions)
	}
}

func TestTheListIsFilled(t *testing.T) {
	www := generalName(t, csr.DNS, "www.example")
	san, err := csr.MarshalSAN([]csr.GeneralName{www})
	if err != nil {
		t.Fatal(err)
	}
	hints := policy.Hints{
		Linking: []asn1.ObjectIdentifier{oidChallengePassword}, Attributes: []asn1.ObjectIdentifier{oidMacAddress},
		Extensions: []csr.Extension{{ID: oidSubjectAltName, Critical: true, Value: san}},
		Signature:  asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4},
	}
	request := sent(t, encoded(t, hints), device(t, "mine.example"))
	if got := namesText(request.Names); got != "CN=mine.example | dns:www.example" {
		t.Errorf("names %s", got)
	}
	if _, linked := request.Attribute(csr.OIDChallengePassword); !linked {
		t.Error("not linked by challengePassword")
	}
	if request.SignatureOID.String() != "1.2.840.10045.4.3.4" {
		t.Errorf("signed with %s, want ecdsa-with-SHA512", request.SignatureOID)
	}
}

func TestASchemeThatTheKeyCannotDoIsNotTaken(t *testing.T) {
	for wanted, want := range map[string]string{
		"1.2.840.113549.1.1.11": "1.2.840.10045.4.3.2",
		"1.2.840.10045.4.3.3":   "1.2.840.10045.4.3.3",
		"1.3.101.112":           "1.2.840.10045.4.3.2",
	} {
		if got := signedWith(t, newKey(t), wanted); got.SignatureOID.String() != want {
			t.Errorf("%s: signed with %v", wanted, got.SignatureOID)
		}
	}
	for wanted, want := range map[string]string{
		"": "SHA256-RSA", "1.2.840.113549.1.1.13": "SHA512-RSA", "1.2.840.113549.1.1.10": "SHA256-RSAPSS", "1.2.840.10045.4.3.2": "SHA256-RSA",
	} {
		if got := signedWith(t, csrtest.Key(t, "rsa2048"), wanted); got.SignatureName() != want {
			t.Errorf("%s: signed with %v", wanted, got.SignatureName())
		}
	}
}

func signedWith(t *testing.T, key crypto.Signer, wanted string) *csr.Request {
	t.Helper()
	oid, _ := csr.TypeOID(wanted)
	der, err := Request(rand.Reader, key, Template{Signature: oid}, "")
	if err != nil {
		t.Fatal(err)
	}
	request, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.CheckPOP(); err != nil {
		t.Errorf("%s: %v", wanted, err)
	}
	return request
}

// RFC 7030 section 4.2.2: a renewal has the names of the certificate.
func TestARenewalTakesNoNamesFromTheServer(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	key := newKey(t)
	current := ca.issue(x509.Certificate{RawSubject: csrtest.Name(csrtest.CN("a.example")), DNSNames: []string{"a.example"}}, key.Public())
	r.attrs = encoded(t, policy.Hints{
		Format: policy.HintTemplate, Linking: []asn1.ObjectIdentifier{oidIdentityLinking},
		Subject: []policy.RDNHint{{{Type: oidOU, Value: "x"}}}, SAN: []policy.NameHint{{Form: csr.DNS, Raw: generalName(t, csr.DNS, "other.example").Raw}},
		KeyUsage: x509.KeyUsageDigitalSignature,
	})
	done, err := r.client().Reenroll(context.Background(), tls.Certificate{Certificate: [][]byte{current.Raw}, PrivateKey: key}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	request, err := csr.Parse(done.CSR)
	if err != nil {
		t.Fatal(err)
	}
	if got := namesText(request.Names); got != "CN=a.example | dns:a.example" || done.Linked == "" {
		t.Errorf("renewed as %s, linked %q", got, done.Linked)
	}
	if _, asked := request.Extension(csr.OIDKeyUsage); !asked {
		t.Error("the key usage of the template is not asked for")
	}
}

func TestAServersNamesAreReadBeforeTheyAreSent(t *testing.T) {
	broken := csrattrs.Wanted{Extensions: []csrattrs.Extension{{ID: oidSubjectAltName, Value: csrtest.SEQ([]byte{0x87, 3, 1, 2, 3})}}}
	if filled, err := (Template{}).Fill(broken); err == nil {
		t.Errorf("an IP address of three bytes: %v", filled.Names)
	}
}

// What a stranger sends must neither panic nor make a request that can't be
// read.
func FuzzFill(f *testing.F) {
	for _, body := range []string{asksChallenge, "MAA="} {
		der, _ := base64.StdEncoding.DecodeString(body)
		f.Add(der)
	}
	der, err := csrattrs.Encode(policy.Hints{
		Format: policy.HintBoth, Subject: []policy.RDNHint{{{Type: oidOU, Value: "x"}}, {{Type: oidCN}}},
		SAN: []policy.NameHint{{Form: csr.DNS}, {Form: csr.IP}}, KeyUsage: x509.KeyUsageDigitalSignature, Keys: []policy.KeyHint{{Algorithm: csr.Ed25519}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	key := csrtest.Key(f, "P-256")
	f.Fuzz(func(t *testing.T, der []byte) {
		list, err := csrattrs.Parse(der)
		if err != nil {
			return
		}
		w, err := csrattrs.Read(list)
		if err != nil {
			return
		}
		for _, line := range w.Lines() {
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%q", line)
			}
		}
		filled, err := Template{Names: csr.Names{Subject: subjectOf("CN", "a")}}.Fill(w)
		if err != nil {
			return
		}
		if _, err := requestInfo(key.Public(), filled, "x"); err != nil && !strings.Contains(err.Error(), "OID") {
			t.Fatal(err)
		}
	})
}
