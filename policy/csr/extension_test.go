// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func requesting(t *testing.T, oid string, value []byte) *csr.Request {
	t.Helper()
	return parse(t, New(t, Extension(oid, false, value)))
}

func TestRequestedKeyUsage(t *testing.T) {
	tests := map[string]struct {
		value []byte
		want  x509.KeyUsage
		err   string
	}{
		"digitalSignature":    {BITS(7, 0x80), x509.KeyUsageDigitalSignature, ""},
		"two usages":          {BITS(5, 0xa0), x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ""},
		"keyCertSign":         {BITS(2, 0x04), x509.KeyUsageCertSign, ""},
		"decipherOnly":        {BITS(7, 0x00, 0x80), x509.KeyUsageDecipherOnly, ""},
		"zeros at the end":    {BITS(0, 0x80), x509.KeyUsageDigitalSignature, ""},
		"no bit":              {BITS(0), 0, "keyUsage: no bit is set"},
		"only zeros":          {BITS(0, 0), 0, "keyUsage: no bit is set"},
		"a tenth bit":         {BITS(6, 0x80, 0x40), 0, "keyUsage: bit 9 is unknown"},
		"an INTEGER":          {INTEGER(1), 0, "keyUsage: not a BIT STRING in DER"},
		"trailing bytes":      {append(BITS(7, 0x80), 0), 0, "keyUsage: not a BIT STRING in DER"},
		"dirty unused bits":   {BITS(7, 0xff), 0, "keyUsage: not a BIT STRING in DER"},
		"nothing":             {nil, 0, "keyUsage: not a BIT STRING in DER"},
		"unused bits of nine": {BITS(9, 0x80), 0, "keyUsage: not a BIT STRING in DER"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, present, err := requesting(t, csr.OIDKeyUsage, test.value).RequestedKeyUsage()
			wantResult(t, err, test.err, got, test.want, present)
		})
	}
}

// wantResult checks what a decoder of a present extension gave.
func wantResult[T comparable](t *testing.T, err error, wantErr string, got, want T, present bool) {
	t.Helper()
	if !present {
		t.Error("not present")
	}
	if wantErr != "" {
		if err == nil || err.Error() != wantErr {
			t.Errorf("error is %v, want %s", err, wantErr)
		}
		return
	}
	if err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestEveryKeyUsageIsEncodedAsItIsDecoded(t *testing.T) {
	for usage := x509.KeyUsage(1); usage < 1<<9; usage++ {
		der, err := csr.MarshalKeyUsage(usage)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := requesting(t, csr.OIDKeyUsage, der).RequestedKeyUsage()
		if err != nil || got != usage {
			t.Errorf("%b is encoded as %x, which is %b, %v", usage, der, got, err)
		}
		cert := certificate(t, &x509.Certificate{SerialNumber: serial, KeyUsage: usage})
		if !bytes.Equal(cert.Extensions[0].Value, der) {
			t.Errorf("%b is %x, crypto/x509 has %x", usage, der, cert.Extensions[0].Value)
		}
	}
	for _, usage := range []x509.KeyUsage{0, -1, 1 << 9} {
		if der, err := csr.MarshalKeyUsage(usage); err == nil {
			t.Errorf("%d is encoded as %x", usage, der)
		}
	}
}

func TestRequestedExtKeyUsage(t *testing.T) {
	const malformed = "extKeyUsage: not a SEQUENCE of at least one OID"
	tests := map[string]struct {
		value []byte
		want  string
		err   string
	}{
		"one usage":       {SEQ(OID("1.3.6.1.5.5.7.3.2")), "[1.3.6.1.5.5.7.3.2]", ""},
		"two in order":    {SEQ(OID("1.3.6.1.5.5.7.3.2"), OID("1.3.6.1.5.5.7.3.1")), "[1.3.6.1.5.5.7.3.2 1.3.6.1.5.5.7.3.1]", ""},
		"none":            {SEQ(), "", malformed},
		"a SET":           {SET(OID("1.2")), "", malformed},
		"trailing bytes":  {append(SEQ(OID("1.2")), 0), "", malformed},
		"nothing":         {nil, "", malformed},
		"another element": {SEQ(OID("1.2"), INTEGER(1)), "", "extKeyUsage: entry 2 is not an OID, or one too many"},
		"far too many":    {SEQ(repeat(OID("1.2"), 257)...), "", "extKeyUsage: entry 257 is not an OID, or one too many"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, present, err := requesting(t, csr.OIDExtKeyUsage, test.value).RequestedExtKeyUsage()
			wantResult(t, err, test.err, fmt.Sprint(got), test.want, present)
			if err != nil {
				return
			}
			if der, err := csr.MarshalExtKeyUsage(got); err != nil || !bytes.Equal(der, test.value) {
				t.Errorf("encoded as %x, %v", der, err)
			}
		})
	}
	for _, usages := range [][]asn1.ObjectIdentifier{nil, {{}}, {{3, 1}}} {
		if der, err := csr.MarshalExtKeyUsage(usages); err == nil {
			t.Errorf("%v is encoded as %x", usages, der)
		}
	}
}

func TestRequestedBasicConstraints(t *testing.T) {
	const malformed = "basicConstraints: not BasicConstraints in DER"
	const pathLength = "basicConstraints: a path length that is malformed or without cA"
	yes, no := []byte{1, 1, 0xff}, []byte{1, 1, 0}
	tests := map[string]struct {
		value []byte
		want  bool
		err   string
	}{
		"an end entity":                 {SEQ(), false, ""},
		"an end entity, written out":    {SEQ(no), false, ""},
		"a CA":                          {SEQ(yes), true, ""},
		"a CA with a path length":       {SEQ(yes, INTEGER(0)), true, ""},
		"a path length without cA":      {SEQ(INTEGER(0)), false, pathLength},
		"a negative path length":        {SEQ(yes, INTEGER(-1)), false, pathLength},
		"a third field":                 {SEQ(yes, INTEGER(0), INTEGER(0)), false, pathLength},
		"a BOOLEAN that is 1":           {SEQ([]byte{1, 1, 1}), false, malformed},
		"trailing bytes":                {append(SEQ(), 0), false, malformed},
		"nothing":                       {nil, false, malformed},
		"a BOOLEAN without a SEQUENCE ": {yes, false, malformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, present, err := requesting(t, csr.OIDBasicConstraints, test.value).RequestedBasicConstraints()
			wantResult(t, err, test.err, got, test.want, present)
		})
	}
}

func TestExtensionsThatWereNotRequestedAreNotPresent(t *testing.T) {
	r := parse(t, New(t))
	if _, present, err := r.RequestedKeyUsage(); present || err != nil {
		t.Errorf("keyUsage: %t, %v", present, err)
	}
	if _, present, err := r.RequestedExtKeyUsage(); present || err != nil {
		t.Errorf("extKeyUsage: %t, %v", present, err)
	}
	if _, present, err := r.RequestedBasicConstraints(); present || err != nil {
		t.Errorf("basicConstraints: %t, %v", present, err)
	}
	if _, present := r.Extension("1.2.3"); present {
		t.Error("1.2.3 is present")
	}
}
