// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// OIDs of the RFCs' examples.
var (
	challengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	friendlyName      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20}
	favouriteDrink    = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 5}
	macAddress        = asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}
	serialNumber      = asn1.ObjectIdentifier{2, 5, 4, 5}
	subjectAltName    = asn1.ObjectIdentifier{2, 5, 29, 17}
	sha256WithRSA     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	ecdsaWithSHA384   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	ecdsaWithSHA512   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
)

func decode64(t testing.TB, s string) []byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// acpName is the otherName of RFC 9908 section 5.1.
func acpName(t testing.TB) []byte {
	return decode64(t, vectors["RFC 9908 section 5.1"])[31:]
}

// asn1Extensions has encoding/asn1 write an Extensions (RFC 5280 section 4.1).
func asn1Extensions(t testing.TB, extensions []csr.Extension) []byte {
	t.Helper()
	var list []pkix.Extension
	for _, e := range extensions {
		list = append(list, pkix.Extension{Id: e.ID, Critical: e.Critical, Value: e.Value})
	}
	der, err := asn1.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// The examples of RFC 9908 section 5 come out byte for byte.
func TestEncodeMakesTheExamplesOfRFC9908(t *testing.T) {
	linking := []asn1.ObjectIdentifier{challengePassword}
	cases := map[string]policy.Hints{
		"RFC 9908 section 5.1": {
			Extensions: []csr.Extension{{ID: subjectAltName, Critical: true, Value: acpName(t)}},
		},
		"RFC 9908 section 5.2": {
			Linking:    linking,
			Attributes: []asn1.ObjectIdentifier{macAddress},
			Keys:       []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}},
			Signature:  ecdsaWithSHA384,
		},
		"RFC 9908 section 5.4": {
			Linking:   linking,
			Keys:      []policy.KeyHint{{Algorithm: csr.RSA, Bits: 4096}},
			Signature: sha256WithRSA,
		},
		"RFC 9908 section 5.5": {
			Linking:    linking,
			Attributes: []asn1.ObjectIdentifier{serialNumber},
			Keys:       []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}},
			Signature:  ecdsaWithSHA384,
		},
		"RFC 9908 section 5.6": {
			Linking:    linking,
			Attributes: []asn1.ObjectIdentifier{friendlyName, favouriteDrink, serialNumber},
			Keys:       []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-521"}},
			Signature:  ecdsaWithSHA512,
		},
	}
	for name, hints := range cases {
		der, err := Encode(hints)
		if err != nil || !bytes.Equal(der, decode64(t, vectors[name])) {
			t.Errorf("%s: %x, %v", name, der, err)
		}
	}
}

// elements counts the elements of a list by their text.
func elements(t *testing.T, der []byte) map[string]int {
	t.Helper()
	list, err := Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, a := range list {
		count[a.String()]++
	}
	return count
}

func TestEncodeNamesOneKeyOfEachType(t *testing.T) {
	der, err := Encode(policy.Hints{Keys: []policy.KeyHint{
		{Algorithm: csr.ECDSA, Curve: "P-256"},
		{Algorithm: csr.RSA, Bits: 3072},
		{Algorithm: csr.ECDSA, Curve: "P-384"},
		{Algorithm: csr.RSA, Bits: 4096},
		{Algorithm: csr.Ed25519},
	}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-256"}, {Algorithm: csr.RSA, Bits: 3072}, {Algorithm: csr.Ed25519}}
	if got := Keys(list); !reflect.DeepEqual(got, want) {
		t.Errorf("keys %+v", got)
	}
	for _, a := range list {
		if !a.Attribute || len(a.Values) > 1 {
			t.Errorf("%s is not an attribute with at most one value", a)
		}
	}
}

func TestEncodeWritesParameters(t *testing.T) {
	const ec, rsa = "06072a8648ce3d0201", "06092a864886f70d010101"
	cases := []struct {
		name string
		key  policy.KeyHint
		want string
	}{
		{"P-256", policy.KeyHint{Algorithm: csr.ECDSA, Curve: "P-256"}, ec + "310a06082a8648ce3d030107"},
		{"RSA 2048", policy.KeyHint{Algorithm: csr.RSA, Bits: 2048}, rsa + "310402020800"},
		{"RSA of 32768 bits stays positive", policy.KeyHint{Algorithm: csr.RSA, Bits: 32768}, rsa + "31050203008000"},
		{"any RSA", policy.KeyHint{Algorithm: csr.RSA}, rsa + "3100"},
		{"any curve", policy.KeyHint{Algorithm: csr.ECDSA}, ec + "3100"},
		{"Ed25519", policy.KeyHint{Algorithm: csr.Ed25519}, "06032b65703100"},
	}
	for _, c := range cases {
		der, err := Encode(policy.Hints{Keys: []policy.KeyHint{c.key}})
		if err != nil || !strings.HasSuffix(hex.EncodeToString(der), c.want) || len(der) != len(c.want)/2+4 {
			t.Errorf("%s: %x, %v", c.name, der, err)
		}
	}
}

// Requirement 89: no bare OID inside extensionRequest's SET.
func TestEncodePutsOneExtensionsIntoExtensionReq(t *testing.T) {
	want := []csr.Extension{
		{ID: subjectAltName, Critical: true, Value: acpName(t)},
		{ID: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{3, 2, 7, 0x80}},
	}
	der, err := Encode(policy.Hints{Extensions: want, Attributes: []asn1.ObjectIdentifier{macAddress}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := Parse(der)
	if err != nil || len(list) != 2 || len(list[0].Values) != 1 || !bytes.Equal(list[0].Values[0], asn1Extensions(t, want)) {
		t.Fatalf("%v, %v", list, err)
	}
	if Asks(list[:1], macAddress) || !Asks(list, macAddress) {
		t.Error("macAddress is not a bare OID of its own")
	}
}

func TestEncodeWritesAnAttributeOnce(t *testing.T) {
	der, err := Encode(policy.Hints{
		Attributes: []asn1.ObjectIdentifier{challengePassword, oidExtensionReq, macAddress, challengePassword},
		Extensions: []csr.Extension{{ID: subjectAltName, Value: []byte{0x30, 0}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"1.2.840.113549.1.9.7": 1, "1.3.6.1.1.1.1.22": 1, "1.2.840.113549.1.9.14 {300b30090603551d1104023000}": 1}
	if got := elements(t, der); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestEncodeRefuses(t *testing.T) {
	san := csr.Extension{ID: subjectAltName, Value: []byte{0x30, 0}}
	cases := []struct {
		name  string
		hints policy.Hints
		says  string
	}{
		{"hints that say nothing", policy.Hints{}, ErrEmpty.Error()},
		{"hints that are off", policy.Hints{Off: true, Keys: []policy.KeyHint{{Algorithm: csr.RSA}}}, ErrOff.Error()},
		{"an unknown key", policy.Hints{Keys: []policy.KeyHint{{}}}, "key algorithm"},
		{"an unknown curve", policy.Hints{Keys: []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-192"}}}, "P-192"},
		{"a negative size", policy.Hints{Keys: []policy.KeyHint{{Algorithm: csr.RSA, Bits: -1}}}, "-1"},
		{"an extension twice", policy.Hints{Extensions: []csr.Extension{san, san}}, "twice"},
		{"an OID of one arc", policy.Hints{Attributes: []asn1.ObjectIdentifier{{1}}}, "OID"},
		{"an extension without an OID", policy.Hints{Extensions: []csr.Extension{{}}}, "OID"},
	}
	for _, c := range cases {
		der, err := Encode(c.hints)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.says)) {
			t.Errorf("%s: %x, error %v", c.name, der, err)
		}
	}
	if _, err := Encode(policy.Hints{}); !errors.Is(err, ErrEmpty) {
		t.Error("ErrEmpty cannot be told")
	}
}
