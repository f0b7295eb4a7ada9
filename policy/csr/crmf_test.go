// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// template gives what a PKCS #10 asks for as a CRMF template, with the
// signature of the one: enough where nothing verifies it.
func template(t *testing.T, opts ...Option) (csr.Template, *csr.Request) {
	t.Helper()
	r := parse(t, New(t, opts...))
	c := csr.Template{
		Raw: SEQ(r.RawInfo), Signed: r.RawInfo, Subject: r.RawSubject, SPKI: r.RawSPKI, Controls: r.Attributes,
		SignatureOID: r.SignatureOID, SignatureParams: r.SignatureParams, Signature: r.Signature,
	}
	var list [][]byte
	for _, e := range r.Extensions {
		parts := [][]byte{OID(e.ID.String())}
		if e.Critical {
			parts = append(parts, []byte{1, 1, 0xff})
		}
		list = append(list, SEQ(append(parts, TLV(4, e.Value))...))
	}
	if list != nil {
		c.Extensions = SEQ(list...)
	}
	return c, r
}

func TestACRMFTemplateIsReadLikeAPKCS10(t *testing.T) {
	asked, want := template(t, Subject(O("Example"), CN("a")), SAN(DNS("a.example"), OtherName("1.2.3", UTF8("x"))),
		Extension(csr.OIDKeyUsage, true, BITS(7, 0x80)), Attribute("1.2.3.4", UTF8("x")))
	got, err := csr.FromCRMF(asked)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Names.EqualDER(want.Names) || got.Key.Algorithm != want.Key.Algorithm || got.SPKISHA256() != want.SPKISHA256() {
		t.Errorf("names %v, key %+v; want %v, %+v", got.Names, got.Key, want.Names, want.Key)
	}
	if len(got.Extensions) != len(want.Extensions) || !got.Extensions[1].Critical {
		t.Errorf("extensions are %+v, want %+v", got.Extensions, want.Extensions)
	}
	if a, ok := got.Attribute("1.2.3.4"); !ok || !bytes.Equal(a.Values[0], UTF8("x")) {
		t.Errorf("the control is %+v, %t", a, ok)
	}
	if err := got.CheckPOP(); err != nil {
		t.Errorf("the signature over what is signed: %v", err)
	}
	asked.Signed = SEQ(asked.Signed)
	if got, err = csr.FromCRMF(asked); err != nil || got.CheckPOP() == nil {
		t.Errorf("a signature over something else holds, or %v", err)
	}
}

func TestACRMFRequestIsNotTakenForAPKCS10(t *testing.T) {
	asked, was := template(t)
	got, err := csr.FromCRMF(asked)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.PKCS10(); ok || got.Form() != csr.CRMF {
		t.Error("a CRMF request says that it is a PKCS #10")
	}
	if raw, ok := was.PKCS10(); !ok || was.Form() != csr.PKCS10 || !bytes.Equal(raw, was.Raw) {
		t.Error("a PKCS #10 says that it is none")
	}
	if _, err := x509.ParseCertificateRequest(got.Raw); err == nil {
		t.Error("crypto/x509 reads it as a PKCS #10")
	}
	asked.SignatureOID = nil
	if got, err = csr.FromCRMF(asked); err != nil {
		t.Fatal(err)
	}
	if err := got.CheckPOP(); err == nil || err.Error() != "the CRMF request has no signature of its key" {
		t.Errorf("without a signature CheckPOP gives %v", err)
	}
}

func TestACRMFRequestSharesNoMemory(t *testing.T) {
	asked, _ := template(t, SAN(DNS("a.example")), Attribute("1.2.3.4", UTF8("x")))
	got, err := csr.FromCRMF(asked)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{asked.Raw, asked.Signed, asked.Subject, asked.SPKI, asked.Extensions, asked.Signature, asked.Controls[0].Values[0]} {
		clear(part)
	}
	if got.Names.Subject.String() == "" || got.Names.SAN[0].Value != "a.example" || got.CheckPOP() != nil {
		t.Errorf("what was read has changed: %v", got)
	}
	if a, _ := got.Attribute("1.2.3.4"); !bytes.Equal(a.Values[0], UTF8("x")) {
		t.Error("a control has changed")
	}
}
