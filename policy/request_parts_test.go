// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

func hexDER(t *testing.T, digits string) []byte {
	t.Helper()
	der, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// namesDER makes the value of changeSubjectName: entries with = are RDNs, the
// others GeneralNames; "#HEX" alone is raw DER.
func namesDER(t *testing.T, list []string) []byte {
	t.Helper()
	if len(list) == 1 && strings.HasPrefix(list[0], "#") {
		return hexDER(t, list[0][1:])
	}
	var subject, san []string
	for _, entry := range list {
		if strings.Contains(entry, "=") {
			subject = append(subject, entry)
		} else {
			san = append(san, entry)
		}
	}
	var parts [][]byte
	if subject != nil {
		parts = append(parts, csrtest.Name(rdns(t, subject)...))
	}
	if san != nil {
		parts = append(parts, csrtest.SEQ(generalNames(t, san)...))
	}
	return csrtest.SEQ(parts...)
}

func rsaSPKI(t *testing.T, exponent string) []byte {
	t.Helper()
	e, err := strconv.Atoi(exponent)
	if err != nil {
		t.Fatal(err)
	}
	good := csrtest.Key(t, "rsa2048").Public().(*rsa.PublicKey)
	return marshalSPKI(t, &rsa.PublicKey{N: good.N, E: e})
}

func marshalSPKI(t *testing.T, key *rsa.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// weakModulus reads testdata/moduli.txt.
func weakModulus(t *testing.T, name string) *big.Int {
	t.Helper()
	src, err := os.ReadFile("testdata/moduli.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(src)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, ok := new(big.Int).SetString(text, 16)
			if !ok {
				t.Fatalf("the modulus %s isn't hexadecimal", name)
			}
			return n
		}
	}
	t.Fatalf("no modulus %q", name)
	return nil
}

func signatureNamed(t *testing.T, name string) x509.SignatureAlgorithm {
	t.Helper()
	for a := x509.MD2WithRSA; a <= x509.PureEd25519; a++ {
		if a.String() == name {
			return a
		}
	}
	t.Fatalf("no signature algorithm %q", name)
	return 0
}

func split(value string) []string {
	if value == "" {
		return nil
	}
	parts := strings.Split(value, "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func dottedOID(t *testing.T, read func(string) (asn1.ObjectIdentifier, bool), name string) string {
	t.Helper()
	oid, ok := read(name)
	if !ok {
		t.Fatalf("no OID %q", name)
	}
	return oid.String()
}

// rdns reads RDNs such as O=Example+OU="quoted", or O=#0500 for raw DER.
func rdns(t *testing.T, list []string) [][]byte {
	t.Helper()
	var made [][]byte
	for _, rdn := range list {
		var values [][]byte
		for part := range strings.SplitSeq(rdn, "+") {
			name, value, _ := strings.Cut(part, "=")
			oid := dottedOID(t, attributeOID, name)
			switch {
			case strings.HasPrefix(value, "#"):
				der, err := hex.DecodeString(value[1:])
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, csrtest.ATV(oid, der))
			case strings.HasPrefix(value, `"`):
				text, err := strconv.Unquote(value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, csrtest.ATV(oid, csrtest.UTF8(text)))
			default:
				values = append(values, csrtest.ATV(oid, csrtest.UTF8(value)))
			}
		}
		made = append(made, csrtest.RDN(values...))
	}
	return made
}

func generalNames(t *testing.T, list []string) [][]byte {
	t.Helper()
	var made [][]byte
	for _, entry := range list {
		form, value, _ := strings.Cut(entry, ":")
		switch form {
		case "dns":
			made = append(made, csrtest.DNS(value))
		case "ip":
			made = append(made, csrtest.IP(value))
		case "email":
			made = append(made, csrtest.Email(value))
		case "uri":
			made = append(made, csrtest.URI(value))
		case "other":
			made = append(made, csrtest.OtherName(value, csrtest.UTF8("x")))
		case "dirname":
			made = append(made, csrtest.DirectoryName(csrtest.CN(value)))
		case "rid":
			made = append(made, csrtest.RegisteredID(value))
		default:
			name, err := csr.ParseGeneralName(entry)
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, name.Raw)
		}
	}
	return made
}
