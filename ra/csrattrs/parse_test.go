// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// vectors are the RFCs' own examples. Section 5.3 of RFC 9908 repeats 5.6.
var vectors = map[string]string{
	"RFC 9908 section 5.1": "MGgwZgYJKoZIhvcNAQkOMVkwVzBVBgNVHREBAf8ESzBJoEcGCCsGAQUFBwgKoDsWOXJmYzg5OTQrZmQ3MzlmYzIzYzM0NDAxMTIyMzM0NDU1MDAwMDAwMDArQGFjcC5leGFtcGxlLmNvbQ==",
	"RFC 9908 section 5.2": "MDIGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiBgcrBgEBAQEWBggqhkjOPQQDAw==",
	"RFC 9908 section 5.4": "MCkGCSqGSIb3DQEJBzARBgkqhkiG9w0BAQExBAICEAAGCSqGSIb3DQEBCw==",
	"RFC 9908 section 5.5": "MC4GCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiBgNVBAUGCCqGSM49BAMD",
	"RFC 9908 section 5.6": "MEUGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAjBgkqhkiG9w0BCRQGCgmSJomT8ixkAQUGA1UEBQYIKoZIzj0EAwQ=",
	// "NOT CORRECT", says RFC 9908 section 5.2, and out there all the same.
	"RFC 8951 section 4": "MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw==",
}

func TestParseReadsTheExamplesOfTheRFCs(t *testing.T) {
	const key384, key521 = "1.2.840.10045.2.1 {1.3.132.0.34}", "1.2.840.10045.2.1 {1.3.132.0.35}"
	cases := map[string]struct {
		elements []string
		keys     []policy.KeyHint
	}{
		"RFC 9908 section 5.2": {
			[]string{"1.2.840.113549.1.9.7", key384, "1.3.6.1.1.1.1.22", "1.2.840.10045.4.3.3"},
			[]policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}},
		},
		"RFC 9908 section 5.4": {
			[]string{"1.2.840.113549.1.9.7", "1.2.840.113549.1.1.1 {02021000}", "1.2.840.113549.1.1.11"},
			[]policy.KeyHint{{Algorithm: csr.RSA, Bits: 4096}},
		},
		"RFC 9908 section 5.5": {
			[]string{"1.2.840.113549.1.9.7", key384, "2.5.4.5", "1.2.840.10045.4.3.3"},
			[]policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}},
		},
		"RFC 9908 section 5.6": {
			[]string{"1.2.840.113549.1.9.7", key521, "1.2.840.113549.1.9.20", "0.9.2342.19200300.100.1.5", "2.5.4.5", "1.2.840.10045.4.3.4"},
			[]policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-521"}},
		},
		"RFC 8951 section 4": {
			[]string{"1.2.840.113549.1.9.7", key384, "1.2.840.113549.1.9.14 {1.3.6.1.1.1.1.22}", "1.2.840.10045.4.3.3"},
			[]policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			list, err := Parse(decode64(t, vectors[name]))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range list {
				got = append(got, a.String())
			}
			if !slices.Equal(got, c.elements) {
				t.Errorf("elements %q", got)
			}
			if keys := Keys(list); !reflect.DeepEqual(keys, c.keys) {
				t.Errorf("keys %+v", keys)
			}
			if !Asks(list, challengePassword) {
				t.Error("challengePassword isn't asked for")
			}
		})
	}
}

func TestParseTolerates(t *testing.T) {
	cases := []struct {
		name, der string
		elements  int
	}{
		{"an empty list, which means the same as 204", "3000", 0},
		{"an attribute without values", "300d" + "300b" + "06072a8648ce3d0201" + "3100", 1},
		{"a key with a parameter of another type", "3010" + "300e" + "06072a8648ce3d0201" + "3103020101", 1},
		{"an attribute of unknown type", "3009" + "3007" + "06012a" + "31020500", 1},
		{"an OID with a large arc, left out", "300c" + "0605" + "69ffffff7f" + "0603550405", 2},
		{"an OID beyond 31 bits, left out", "300f" + "0608" + "69ffffffffffff7f" + "0603550405", 1},
	}
	for _, c := range cases {
		der, err := hex.DecodeString(c.der)
		if err != nil {
			t.Fatal(err)
		}
		list, err := Parse(der)
		if err != nil || len(list) != c.elements {
			t.Errorf("%s: %v, %v", c.name, list, err)
		}
		for _, k := range Keys(list) {
			if k.Bits != 0 || k.Curve != "" {
				t.Errorf("%s: key %+v", c.name, k)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	cases := []struct{ name, der, says string }{
		{"nothing", "", "SEQUENCE"},
		{"a SET", "3100", "SEQUENCE"},
		{"bytes after the list", "300000", "1 bytes follow"},
		{"a list cut short", "3005" + "060355", "SEQUENCE"},
		{"indefinite length", "3080" + "0603550405" + "0000", "SEQUENCE"},
		{"an INTEGER among the elements", "3008" + "0603550405" + "020101", "element 2"},
		{"an empty OID", "3002" + "0600", "element 1"},
		{"an OID with a leading 80", "3004" + "06028001", "element 1"},
		{"an attribute without a type", "3002" + "3000", "element 1"},
		{"an attribute without a SET", "3007" + "3005" + "0603550405", "element 1"},
		{"an attribute with a SEQUENCE of values", "3009" + "3007" + "0603550405" + "3000", "element 1"},
		{"an attribute with more after the SET", "300b" + "3009" + "0603550405" + "3100" + "3100", "element 1"},
		{"values that are not DER", "300b" + "3009" + "0603550405" + "31020205", "element 1"},
	}
	for _, c := range cases {
		der, err := hex.DecodeString(c.der)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := Parse(der); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, error %v", c.name, list, err)
		}
	}
}

// encodeList writes a list as it was read.
func encodeList(t *testing.T, list []AttrOrOID) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, a := range list {
			a.add(b)
		}
	})
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(decode64(f, v))
	}
	f.Add([]byte{0x30, 0})
	f.Add([]byte{0x30, 4, 0x30, 2, 0x31, 0})
	f.Add([]byte{0x30, 4, 0x06, 2, 0x80, 1})
	f.Fuzz(func(t *testing.T, der []byte) {
		list, err := Parse(der)
		if err != nil {
			return
		}
		again, err := Parse(encodeList(t, list))
		if err != nil || !reflect.DeepEqual(again, list) {
			t.Fatalf("%v does not come back: %v, %v", list, again, err)
		}
		// What a server's list asks of a client must be something that we
		// could ask for ourselves.
		keys := Keys(list)
		if len(keys) > 0 {
			if _, err := Encode(policy.Hints{Keys: keys}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzEncodeComesBack(f *testing.F) {
	f.Add(uint16(2048), uint8(1), "\x01\x02", true)
	f.Add(uint16(0), uint8(9), "", false)
	names := []string{"", "P-256", "P-384", "P-521"}
	f.Fuzz(func(t *testing.T, bits uint16, curve uint8, value string, critical bool) {
		hints := policy.Hints{
			Keys:       []policy.KeyHint{{Algorithm: csr.RSA, Bits: int(bits)}, {Algorithm: csr.ECDSA, Curve: names[int(curve)%len(names)]}},
			Attributes: []asn1.ObjectIdentifier{{1, 3, int(bits), int(curve)}},
			Extensions: []csr.Extension{{ID: subjectAltName, Critical: critical, Value: []byte(value)}},
		}
		der, err := Encode(hints)
		if err != nil {
			t.Fatal(err)
		}
		list, err := Parse(der)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(Keys(list), hints.Keys) || !Asks(list, hints.Attributes[0]) {
			t.Fatalf("%v from %+v", list, hints)
		}
		last := list[len(list)-2]
		if !last.OID.Equal(oidExtensionReq) || len(last.Values) != 1 || !bytes.Equal(last.Values[0], asn1Extensions(t, hints.Extensions)) {
			t.Fatalf("%v from %+v", last, hints)
		}
	})
}
