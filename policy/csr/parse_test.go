// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// parse parses a request that must parse.
func parse(t testing.TB, der []byte) *csr.Request {
	t.Helper()
	r, err := csr.Parse(der)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return r
}

// refused checks that Parse refuses, and what it says.
func refused(t *testing.T, der []byte, want string) {
	t.Helper()
	_, err := csr.Parse(der)
	if err == nil {
		t.Fatalf("parsed, want the error %q", want)
	}
	if err.Error() != want {
		t.Errorf("error is\n %q, want\n %q", err, want)
	}
	if !errors.As(err, new(*csr.ParseError)) {
		t.Errorf("error is a %T", err)
	}
}

func TestParseKeepsWhatWasSent(t *testing.T) {
	key := Key(t, "P-256")
	der := New(t, Signer(key),
		Subject(O("Example Net"), CN("rtr-1"), SerialNumber("42")),
		SAN(DNS("rtr-1.example"), OtherName("1.2.3", UTF8("x"))),
		Extension("1.2.3.4", true, []byte{5, 0}),
		Attribute(ChallengePassword, Printable("secret")),
		Attribute("1.2.3.5"))
	r := parse(t, der)
	if !bytes.Equal(r.Raw, der) || r.Version != 0 {
		t.Errorf("Raw or version %d differ", r.Version)
	}
	if got := r.Names.Subject.String(); got != "O=Example Net, CN=rtr-1, serialNumber=42" {
		t.Errorf("subject is %s", got)
	}
	if !r.Names.HasSAN || len(r.Names.SAN) != 2 {
		t.Errorf("SAN is %v", r.Names.SAN)
	}
	if e, ok := r.Extension("1.2.3.4"); !ok || !e.Critical || !bytes.Equal(e.Value, []byte{5, 0}) || len(r.Extensions) != 2 {
		t.Errorf("extensions are %v", r.Extensions)
	}
	if a, ok := r.Attribute(csr.OIDChallengePassword); !ok || !bytes.Equal(a.Values[0], Printable("secret")) {
		t.Error("challengePassword is not as sent")
	}
	if a, ok := r.Attribute("1.2.3.5"); !ok || len(a.Values) != 0 || len(r.Attributes) != 2 {
		t.Errorf("attributes are %v", r.Attributes)
	}
	if _, ok := r.Attribute(csr.OIDExtensionRequest); ok {
		t.Error("extensionRequest is among the attributes")
	}
	der[10] ^= 0xff
	if bytes.Equal(r.Raw, der) {
		t.Error("the request shares memory with the input")
	}
}

func TestParseTakesAnEmptySubjectAndNoSAN(t *testing.T) {
	r := parse(t, New(t, Subject()))
	if len(r.Names.Subject) != 0 || r.Names.HasSAN || r.Names.Subject.String() != "" {
		t.Errorf("names are %+v", r.Names)
	}
}

func TestParseRefuses(t *testing.T) {
	spki := parse(t, New(t)).RawSPKI
	empty := TLV(asn1.Tag(0).ContextSpecific().Constructed())
	bare := func(info ...[]byte) []byte { return SEQ(SEQ(info...), SEQ(OID("1.2")), BITS(0, 1)) }
	extensionRequest := func(values ...[]byte) []byte { return New(t, Attribute(ExtensionRequest, values...)) }
	tests := map[string]struct {
		der  []byte
		want string
	}{
		"nothing":                   {nil, "not a CertificationRequest in DER"},
		"an empty SEQUENCE":         {SEQ(), "no CertificationRequestInfo"},
		"an indefinite length":      {[]byte{0x30, 0x80, 0, 0}, "not a CertificationRequest in DER"},
		"a length that isn't short": {[]byte{0x30, 0x81, 0x01, 0}, "not a CertificationRequest in DER"},
		"trailing bytes":            {append(New(t), 0), "1 trailing bytes after the CertificationRequest"},
		"bytes after the signature": {SEQ(SEQ(INTEGER(0), Name(), spki, empty), SEQ(OID("1.2")), BITS(0, 1), INTEGER(1)), "signature: 3 trailing bytes after it"},
		"a signature of odd bits":   {SEQ(SEQ(INTEGER(0), Name(), spki, empty), SEQ(OID("1.2")), BITS(1, 2)), "signature: not a BIT STRING of whole bytes"},
		"two parameters":            {SEQ(SEQ(INTEGER(0), Name(), spki, empty), SEQ(OID("1.2"), INTEGER(1), INTEGER(1)), BITS(0, 2)), "signature: AlgorithmIdentifier with malformed parameters"},
		"version 1":                 {New(t, Version(1)), "version: 1, where RFC 2986 has only 0"},
		"a negative version":        {New(t, Version(-1)), "version: -1, where RFC 2986 has only 0"},
		"no version":                {bare(Name(), spki, empty), "version: not an INTEGER"},
		"no subject":                {bare(INTEGER(0), UTF8("x"), spki, empty), "subject: not a Name"},
		"no key":                    {bare(INTEGER(0), Name()), "key: not a SubjectPublicKeyInfo"},
		"no attributes":             {bare(INTEGER(0), Name(), spki), "attributes: no [0] SET after the key"},
		"bytes after attributes":    {bare(INTEGER(0), Name(), spki, empty, empty), "2 trailing bytes in the CertificationRequestInfo"},
		"an empty RDN":              {New(t, Subject(CN("a"), RDN())), "subject: RDN 2: empty"},
		"an RDN that isn't a SET":   {New(t, Subject(SEQ())), "subject: RDN 1: not a SET in DER"},
		"a pair without a type":     {New(t, Subject(RDN(SEQ(UTF8("x"))))), "subject: RDN 1: not an AttributeTypeAndValue"},
		"a pair without a value":    {New(t, Subject(RDN(SEQ(OID("2.5.4.3"))))), "subject: RDN 1: CN: value is not DER"},
		"a pair of three":           {New(t, Subject(RDN(SEQ(OID("2.5.4.3"), UTF8("x"), UTF8("y"))))), "subject: RDN 1: CN: 3 trailing bytes after the value"},
		"too many RDNs":             {New(t, Subject(repeat(CN("a"), 257)...)), "subject: more than 256 RDNs"},
		"a SET that isn't one":      {New(t, RawAttribute(SEQ(OID("1.2"), SEQ()))), "attribute 1: not an Attribute"},
		"bytes after a SET":         {New(t, RawAttribute(SEQ(OID("1.2"), SET(), SET()))), "attribute 1: not an Attribute"},
		"too many values":           {New(t, Attribute("1.2", repeat(INTEGER(1), 257)...)), "attribute 1: 1.2: more than 256 values"},
		"a value that isn't DER":    {New(t, Attribute("1.2", []byte{0x0c, 5, 'x'})), "attribute 1: 1.2: value 1 is not DER"},
		"a high tag number":         {New(t, Attribute("1.2", []byte{0x9f, 0x81, 1, 0})), "attribute 1: 1.2: value 1 is not DER"},
		"no extensionRequest value": {extensionRequest(), "extensionRequest: 0 values, where RFC 2985 section 5.4.2 has one"},
		"two extensionRequests":     {extensionRequest(SEQ(), SEQ()), "extensionRequest: 2 values, where RFC 2985 section 5.4.2 has one"},
		"extensions in a SET":       {extensionRequest(SET()), "extensionRequest: not a SEQUENCE of extensions"},
		"an extension of nothing":   {extensionRequest(SEQ(SEQ())), "extensionRequest: extension 1: not an Extension"},
		"an extension and more":     {extensionRequest(SEQ(SEQ(OID("1.2"), TLV(asn1.OCTET_STRING), INTEGER(1)))), "extensionRequest: extension 1: 1.2: not an Extension"},
		"a critical of 1":           {extensionRequest(SEQ(SEQ(OID("1.2"), []byte{1, 1, 1}, TLV(asn1.OCTET_STRING)))), "extensionRequest: extension 1: 1.2: critical is not a BOOLEAN in DER"},
		"an extension twice":        {New(t, Extension("1.2", false, nil), Extension("1.2", false, nil)), "extensionRequest: extension 1.2 occurs twice"},
		"Microsoft's beside it":     {New(t, SAN(DNS("a")), Attribute("1.3.6.1.4.1.311.2.1.14", SEQ())), "attribute 1.3.6.1.4.1.311.2.1.14: stands beside extensionRequest: only one may carry extensions"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { refused(t, test.der, test.want) })
	}
}

func TestMicrosoftExtensionsAloneStayAnAttribute(t *testing.T) {
	r := parse(t, New(t, Attribute("1.3.6.1.4.1.311.2.1.14", SEQ())))
	if len(r.Attributes) != 1 || len(r.Extensions) != 0 {
		t.Errorf("attributes %v, extensions %v", r.Attributes, r.Extensions)
	}
}

func TestACriticalFalseThatIsWrittenOutIsTaken(t *testing.T) {
	value := SEQ(SEQ(OID("1.2"), []byte{1, 1, 0}, TLV(asn1.OCTET_STRING)))
	r := parse(t, New(t, Attribute(ExtensionRequest, value)))
	if len(r.Extensions) != 1 || r.Extensions[0].Critical {
		t.Errorf("extensions are %v", r.Extensions)
	}
}

func TestEveryPrefixOfARequestIsRefused(t *testing.T) {
	der := New(t, SAN(DNS("a.example")), Attribute(ChallengePassword, Printable("x")))
	for n := range der {
		if _, err := csr.Parse(der[:n]); err == nil {
			t.Errorf("the first %d of %d bytes parse", n, len(der))
		}
	}
}

func TestRequestsOfRealClientsParseAndProvePossession(t *testing.T) {
	files, err := filepath.Glob("testdata/*.b64")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			r := parse(t, readBase64(t, file))
			if err := r.CheckPOP(); err != nil {
				t.Error(err)
			}
			if !strings.HasPrefix(r.Names.Subject.String(), "CN=") {
				t.Errorf("subject is %s", r.Names.Subject)
			}
		})
	}
}

func readBase64(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func repeat(der []byte, n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = der
	}
	return list
}
