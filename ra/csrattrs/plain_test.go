// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// libestCopies are the OIDs that libest's estclient -a copies into its
// request: those at any depth of SEQUENCE and SET, since it skips neither
// (est_get_attributes_helper), and nothing within other tags.
func libestCopies(t *testing.T, der cryptobyte.String) []string {
	t.Helper()
	var copied []string
	for !der.Empty() {
		var content cryptobyte.String
		var tag cbasn1.Tag
		if !der.ReadAnyASN1(&content, &tag) {
			t.Fatal("not DER")
		}
		switch tag {
		case cbasn1.SEQUENCE, cbasn1.SET:
			copied = append(copied, libestCopies(t, content)...)
		case cbasn1.OBJECT_IDENTIFIER:
			var oid asn1.ObjectIdentifier
			whole, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagOID, Bytes: content})
			if rest, wrong := asn1.Unmarshal(whole, &oid); err != nil || wrong != nil || len(rest) > 0 {
				t.Fatal(err, wrong)
			}
			copied = append(copied, oid.String())
		default:
		}
	}
	return copied
}

// everything are hints that have all that there is.
func everything(t *testing.T) policy.Hints {
	return policy.Hints{
		Format:      policy.HintBoth,
		Keys:        []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}, {Algorithm: csr.RSA, Bits: 4096}, {Algorithm: csr.Ed25519}},
		Signature:   ecdsaWithSHA384,
		Linking:     []asn1.ObjectIdentifier{challengePassword, identityLinking},
		Attributes:  []asn1.ObjectIdentifier{serialNumber, macAddress},
		Extensions:  []csr.Extension{{ID: subjectAltName, Value: acpName(t)}},
		Subject:     []policy.RDNHint{{{Type: commonName}}, {{Type: serialNumber}}, {{Type: organization, Value: "Example"}}},
		SAN:         []policy.NameHint{{Form: csr.OtherName}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}},
		Planned:     []csr.Extension{{ID: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: []byte{5, 0}}},
	}
}

// What libest copies it copies as an attribute of that type: one that is there
// twice makes its request malformed, and extensionRequest with an empty text
// as well.
func TestOldClientsGetWhatTheyCanRead(t *testing.T) {
	whole, err := Encode(everything(t))
	if err != nil {
		t.Fatal(err)
	}
	if copied := libestCopies(t, whole); !slices.Contains(copied, oidExtensionReq.String()) || !slices.Contains(copied, commonName.String()) {
		t.Errorf("this test has lost its point: libest copies %v", copied)
	}
	plain, err := Encode(Plain(everything(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		challengePassword.String(), identityLinking.String(), "1.2.840.10045.2.1", "1.3.132.0.34", "1.2.840.113549.1.1.1",
		serialNumber.String(), macAddress.String(), ecdsaWithSHA384.String(),
	}
	if copied := libestCopies(t, plain); !slices.Equal(copied, want) {
		t.Errorf("libest copies %v", copied)
	}
	list, err := Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Attribute && len(a.Values) != 1 {
			t.Errorf("%s: danharkins/est stops at a SET without values", a)
		}
		for _, value := range a.Values {
			if tag := cbasn1.Tag(value[0]); tag != cbasn1.OBJECT_IDENTIFIER && tag != cbasn1.INTEGER {
				t.Errorf("%s: danharkins/est reads a value with tag %#x for ever", a, tag)
			}
		}
	}
}

// libest stops at an empty list.
func TestThePlainListIsNeverEmpty(t *testing.T) {
	for name, hints := range map[string]policy.Hints{
		"any key, and an extension": {
			Keys: []policy.KeyHint{{Algorithm: csr.RSA, Bits: 2048}}, AnyKey: true, Signature: sha256WithRSA,
			Extensions: []csr.Extension{{ID: subjectAltName, Value: acpName(t)}}},
		"Ed25519 alone": {Keys: []policy.KeyHint{{Algorithm: csr.Ed25519}}, Signature: asn1.ObjectIdentifier{1, 3, 101, 112}},
		"a template for everybody": {
			Format: policy.HintTemplate, Keys: []policy.KeyHint{{Algorithm: csr.RSA, Bits: 2048}}, Signature: sha256WithRSA},
	} {
		der, err := Encode(Plain(hints))
		if err != nil || len(der) < 4 {
			t.Errorf("%s: %x, %v", name, der, err)
		}
	}
}

// libest reads no more than 1,024 bytes (MAX_CSRATTRS).
func TestThePlainListIsShort(t *testing.T) {
	h := everything(t)
	h.Keys = []policy.KeyHint{{Algorithm: csr.RSA, Bits: 8192}, {Algorithm: csr.ECDSA, Curve: "P-521"}}
	if der, err := Encode(Plain(h)); err != nil || len(der) > 1024 {
		t.Errorf("%d bytes, %v", len(der), err)
	}
}
