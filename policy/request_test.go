// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto"
	eddsa "crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// testNow is the clock of all tests.
var testNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// parseRequest reads a request as the cases under testdata/decide write it:
// one fact on each line, a word and its value.
//
//	op simpleenroll
//	subject CN=a.example | O=Example+OU="with \x00"
//	san dns:a.example | ip:10.0.0.1
//	key P-256
//	linking matched
//	account http_basic onboarding
//	data {"site":"berlin"}
//	cert idevid,ours CN=device | dns:device.example
//	pinned depot CN=depot-1
//	ra ours CN=ra.example
//	issuers ours
//	modulus roca
//	holder 0a1b CN=other.example | dns:other.example
//	ends 2027-01-01 | 2028-01-01
//	renews 2026-09-01 2026-12-01 P-256/old CN=a.example | dns:a.example
//	attribute macAddress=00:11 | 00:22
//	change CN=b.example | dns:b.example
//	extension tlsFeature=3003020105
func parseRequest(t *testing.T, text string) Request {
	t.Helper()
	return parseArrival(t, text).Request
}

// parseArrival reads `ra` too: the certificate of a registration authority, with
// the pinned key; `issuers` are then the anchors that count for it.
func parseArrival(t *testing.T, text string) Arrival {
	t.Helper()
	var issuers []string
	req := Request{Op: SimpleEnroll, Linking: Matched, Now: testNow}
	var opts []csrtest.Option
	for line := range strings.Lines(text) {
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#":
		case "op":
			req.Op = Op(value)
		case "linking":
			req.Linking = map[string]Linking{"absent": Absent, "matched": Matched, "mismatched": Mismatched, "uncomputable": Uncomputable, "unproven": Unproven}[value]
		case "account":
			method, user, _ := strings.Cut(value, " ")
			req.Who.Accounts = append(req.Who.Accounts, Account{method, user})
		case "data", "claims":
			facts, err := ParseFacts([]byte(value))
			if err != nil {
				t.Fatal(err)
			}
			if req.Who.Data = facts; word == "claims" {
				req.Who.Data, req.Who.Claims = Facts{}, facts
			}
		case "issuers":
			issuers = split(value)
		case "cert", "pinned", "ra":
			anchors, names, _ := strings.Cut(value, " ")
			req.Who.Anchors = strings.Split(anchors, ",")
			signer := csrtest.Key(t, "P-256/client")
			if word != "cert" {
				signer = pinned
			}
			var usages []asn1.ObjectIdentifier
			if word == "ra" {
				usages, issuers = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}, req.Who.Anchors
			}
			req.Who.Cert = testCert(t, names, signer, testNow.AddDate(0, -1, 0), testNow.AddDate(0, 1, 0), usages...)
		case "renews", "renews-ra":
			f := strings.SplitN(value, " ", 4)
			var usages []asn1.ObjectIdentifier
			if word == "renews-ra" {
				usages = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
			}
			req.Renews = testCert(t, f[3], csrtest.Key(t, f[2]), day(t, f[0]), day(t, f[1]), usages...)
		case "holder":
			serial, names, _ := strings.Cut(value, " ")
			held, err := csr.NamesOf(testCert(t, names, csrtest.Key(t, "P-256/client"), testNow, testNow))
			digest, ok := held.Digest()
			if err != nil || !ok {
				t.Fatalf("the names of the holder: %v", err)
			}
			req.KeyHolder = &KeyHolder{Names: digest, Serial: serial}
		case "ends": // of the anchors
			for _, text := range split(value) {
				req.Who.AnchorEnds = append(req.Who.AnchorEnds, day(t, text))
			}
		case "now":
			req.Now = day(t, value)
		default:
			opts = append(opts, csrOption(t, word, value)...)
		}
	}
	parsed, err := csr.Parse(csrtest.New(t, opts...))
	if err != nil {
		t.Fatalf("the request of the case: %v", err)
	}
	req.CSR = parsed
	if req.Op == ServerKeygen {
		if req.Keyless, err = csr.ParseKeyless(parsed.Raw); err != nil {
			t.Fatalf("the request of the case: %v", err)
		}
		req.CSR = nil
	}
	by, _ := NewRegistrar(req.Who, issuers) // the zero value is a case of its own
	return Arrival{req, by}
}

// pinned is the same key in every run, so that a policy can have its hash.
var pinned = eddsa.NewKeyFromSeed(make([]byte, eddsa.SeedSize))

func day(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func csrOption(t *testing.T, word, value string) []csrtest.Option {
	t.Helper()
	list := split(value)
	switch word {
	case "subject":
		return []csrtest.Option{csrtest.Subject(rdns(t, list)...)}
	case "san":
		return []csrtest.Option{csrtest.SAN(generalNames(t, list)...)}
	case "key":
		return []csrtest.Option{csrtest.Signer(csrtest.Key(t, value))}
	case "ed25519": // the same key in every run
		return []csrtest.Option{csrtest.Signer(pinned)}
	case "signature":
		return []csrtest.Option{csrtest.Signer(csrtest.Key(t, "rsa2048")), csrtest.Signature(signatureNamed(t, value))}
	case "modulus": // of an RSA key that anybody can compute
		return []csrtest.Option{csrtest.SPKI(marshalSPKI(t, &rsa.PublicKey{N: weakModulus(t, value), E: 65537}))}
	case "exponent": // of an RSA key that nobody has
		return []csrtest.Option{csrtest.SPKI(rsaSPKI(t, value))}
	case "attribute":
		return []csrtest.Option{attributeOption(t, value)}
	case "change": // changeSubjectName
		return []csrtest.Option{csrtest.Attribute(changeSubjectName, namesDER(t, list))}
	case "extension", "critical":
		name, text, written := strings.Cut(value, "=")
		der := []byte{5, 0}
		if written {
			der = hexDER(t, text)
		}
		return []csrtest.Option{csrtest.Extension(dottedOID(t, extensionOID, name), word == "critical", der)}
	case "ku":
		var bits x509.KeyUsage
		for _, name := range list {
			bit, ok := keyUsageBit(name)
			if !ok {
				t.Fatalf("no key usage %q", name)
			}
			bits |= bit
		}
		return []csrtest.Option{csrtest.Extension(csr.OIDKeyUsage, true, keyUsageDER(bits))}
	case "eku":
		var oids [][]byte
		for _, name := range list {
			oids = append(oids, csrtest.OID(dottedOID(t, extKeyUsageOID, name)))
		}
		return []csrtest.Option{csrtest.Extension(csr.OIDExtKeyUsage, false, csrtest.SEQ(oids...))}
	case "ca":
		value := csrtest.SEQ()
		if list[0] == "true" {
			value = csrtest.SEQ([]byte{1, 1, 0xff})
		}
		return []csrtest.Option{csrtest.Extension(csr.OIDBasicConstraints, true, value)}
	}
	t.Fatalf("a case has no line %q", word)
	return nil
}

// attributeOption reads NAME with the value "x", or NAME=VALUE | VALUE; a
// value is text, or #HEX for raw DER. NAME= has no value at all.
func attributeOption(t *testing.T, text string) csrtest.Option {
	t.Helper()
	name, value, written := strings.Cut(text, "=")
	oid := dottedOID(t, attributeOID, name)
	if !written {
		value = "x"
	}
	var values [][]byte
	for _, v := range split(value) {
		if digits, raw := strings.CutPrefix(v, "#"); raw {
			values = append(values, hexDER(t, digits))
		} else {
			values = append(values, csrtest.UTF8(v))
		}
	}
	return csrtest.Attribute(oid, values...)
}

// testCert makes a certificate with a subject and a SAN: entries with = are
// RDNs, the others GeneralNames.
func testCert(t *testing.T, names string, signer crypto.Signer, from, to time.Time, usages ...asn1.ObjectIdentifier) *x509.Certificate {
	t.Helper()
	var subject, san []string
	for _, entry := range split(names) {
		if strings.Contains(entry, "=") {
			subject = append(subject, entry)
		} else {
			san = append(san, entry)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), RawSubject: csrtest.Name(rdns(t, subject)...), NotBefore: from, NotAfter: to, UnknownExtKeyUsage: usages,
	}
	if san != nil {
		template.ExtraExtensions = []pkix.Extension{{
			Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: csrtest.SEQ(generalNames(t, san)...),
		}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// keyUsageDER writes the BIT STRING of RFC 5280 section 4.2.1.3.
func keyUsageDER(bits x509.KeyUsage) []byte {
	var content [2]byte
	last := -1
	for i := range 9 {
		if bits&(1<<i) != 0 {
			content[i/8] |= 0x80 >> (i % 8)
			last = i
		}
	}
	n := last/8 + 1
	return csrtest.BITS(byte(8*n-1-last), content[:n]...)
}
