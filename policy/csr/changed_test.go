// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"encoding/asn1"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func extensionOf(oid string, value []byte) []byte { return SEQ(OID(oid), TLV(4, value)) }

func TestWhatAnRAChangesLeavesTheRequestAsItWasSigned(t *testing.T) {
	r := parse(t, New(t, Subject(CN("a")), SAN(DNS("a.example")), Extension(csr.OIDKeyUsage, true, BITS(7, 0x80))))
	before := r.Names
	got, err := r.Changed(csr.Change{
		Subject:    Name(O("Example"), CN("b")),
		Extensions: SEQ(extensionOf(csr.OIDSubjectAltName, SEQ(DNS("b.example"))), extensionOf("1.2.3", UTF8("x"))),
		Without:    []asn1.ObjectIdentifier{{2, 5, 29, 15}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Names.Subject.String() != "O=Example, CN=b" || len(got.Names.SAN) != 1 || got.Names.SAN[0].Value != "b.example" {
		t.Errorf("names are %v", got.Names)
	}
	if _, ok := got.Extension(csr.OIDKeyUsage); ok || len(got.Extensions) != 2 {
		t.Errorf("extensions are %+v", got.Extensions)
	}
	if err := got.CheckPOP(); err != nil {
		t.Errorf("the signature of the request: %v", err)
	}
	if raw, ok := got.PKCS10(); !ok || !bytes.Equal(raw, r.Raw) {
		t.Error("the request itself has changed")
	}
	if original, changed := got.Original(); !changed || !original.EqualDER(before) {
		t.Errorf("its own names are %v, %t", original, changed)
	}
	if _, changed := r.Original(); changed || !r.Names.EqualDER(before) || len(r.Extensions) != 2 {
		t.Errorf("the caller's request has changed: %+v", r)
	}
	again, err := got.Changed(csr.Change{NoSubject: true})
	if err != nil || len(again.Names.Subject) != 0 || len(again.Names.SAN) != 1 {
		t.Fatalf("%v, %v", again, err)
	}
	if original, _ := again.Original(); !original.EqualDER(before) {
		t.Errorf("after two changes its own names are %v", original)
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	r := parse(t, New(t))
	for name, test := range map[string]struct {
		change csr.Change
		want   string
	}{
		"a subject that is no name":   {csr.Change{Subject: INTEGER(1)}, "subject: not a SEQUENCE of RDNs in DER"},
		"extensions that are none":    {csr.Change{Extensions: SEQ(INTEGER(1))}, "extensions: extension 1: not an Extension"},
		"an extension twice":          {csr.Change{Extensions: SEQ(extensionOf("1.2", nil), extensionOf("1.2", nil))}, "extensions: extension 1.2 occurs twice"},
		"a SAN that can't be decoded": {csr.Change{Extensions: SEQ(extensionOf(csr.OIDSubjectAltName, INTEGER(1)))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.Changed(test.change)
			if got != nil || err == nil || test.want != "" && err.Error() != test.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
