// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

const macAddress = "1.3.6.1.1.1.1.22"

// parse makes a request by csrtest and reads it.
func parse(t testing.TB, options ...csrtest.Option) *csr.Request {
	t.Helper()
	r, err := csr.Parse(csrtest.New(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// certificate makes a self-signed certificate.
func certificate(t testing.TB, serial int64) *x509.Certificate {
	t.Helper()
	key := csrtest.Key(t, "P-256")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "rtr-1"},
		NotBefore:    time.Unix(1700000000, 0),
		NotAfter:     time.Unix(1900000000, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOfCSR(t *testing.T) {
	r := parse(t,
		csrtest.Subject(csrtest.CN("rtr-1.example")),
		csrtest.SAN(csrtest.DNS("rtr-1.example"), csrtest.IP("10.0.0.1")),
		csrtest.Extension("1.2.3.4", true, []byte{5, 0}),
		csrtest.Attribute(macAddress, csrtest.UTF8("00:11")))
	want := &CSR{
		SHA256: sum(r.Raw), SPKISHA256: sum(r.RawSPKI), Key: "ecdsa P-256", Sig: "ECDSA-SHA256",
		Subject: "CN=rtr-1.example", SAN: []Text{"dns:rtr-1.example", "ip:10.0.0.1"}, ExtOIDs: []Text{"2.5.29.17", "1.2.3.4"},
	}
	if got := OfCSR(r); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if OfCSR(nil) != nil {
		t.Error("no request is told as one")
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestKeyText(t *testing.T) {
	for want, key := range map[string]csr.Key{
		"rsa 3072":    {Algorithm: csr.RSA, Bits: 3072},
		"ecdsa P-384": {Algorithm: csr.ECDSA, Bits: 384, Curve: "P-384"},
		"ed25519":     {Algorithm: csr.Ed25519},
		"unknown":     {},
	} {
		if got := keyText(key); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// CVE-2021-40087: the enrolment secret must not reach the audit log. What is
// looked for is the value as text, as base64 and as hex.
func TestThreat_RecordNeverHoldsAttributeValues(t *testing.T) {
	const secret = "s3cr3t-linking-value-0123456789"
	var attributes []csrtest.Option
	for _, oid := range []string{csrtest.ChallengePassword, "1.2.840.113549.1.9.16.2.56", "1.2.840.113549.1.9.16.2.57", "1.2.840.113549.1.9.16.2.58", macAddress} {
		attributes = append(attributes, csrtest.Attribute(oid, csrtest.UTF8(secret)))
	}
	request := parse(t, append(attributes, csrtest.SAN(csrtest.DNS("rtr-1.example")))...)
	if !bytes.Contains(request.Raw, []byte(secret)) {
		t.Fatal("the request of this test has no secret")
	}
	record := New("0123", policy.SimpleEnroll, time.Unix(1, 0))
	record.CSR = OfCSR(request)
	// Whatever a policy says of the challenges; and nothing of what it leaves.
	needs := func(oid asn1.ObjectIdentifier) bool { return oid.String() != macAddress }
	record.Input = OfInput(policy.Arrival{Request: policy.Request{Op: policy.SimpleEnroll, CSR: request, Now: time.Unix(1, 0)}}, needs)
	record.Plan = OfPlan(policy.Plan{Names: request.Names})
	written, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%+v %+v %+v %+v %#v %#v", *record, *record.CSR, *record.Input, *record.Input.CSR, *record.Input.CSR, *record.CSR)
	for form, text := range map[string]string{"JSON": string(written), "%+v": printed} {
		if strings.Contains(text, "s3cr3t") || strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte(secret))) {
			t.Errorf("the secret as text is in the %s form", form)
		}
	}
	// Base64 depends on what stands before, and %+v prints bytes as numbers:
	// so look into the DER itself.
	in := record.Input.CSR
	der := slices.Concat(in.Subject, in.SPKI, record.Input.Cert, record.Input.Renews)
	for _, e := range in.Extensions {
		der = append(der, e.Value...)
	}
	for _, v := range in.Values {
		der = append(der, slices.Concat(v.Values...)...)
	}
	if bytes.Contains(der, []byte(secret)) {
		t.Error("the secret is in the input's DER")
	}
	if want := []string{csrtest.ChallengePassword, "1.2.840.113549.1.9.16.2.56", "1.2.840.113549.1.9.16.2.57", "1.2.840.113549.1.9.16.2.58", macAddress}; !slices.Equal(in.Attributes, want) {
		t.Errorf("attribute OIDs %v", in.Attributes)
	}
}

func TestOfInputHasWhatAReplayNeeds(t *testing.T) {
	request := parse(t, csrtest.SAN(csrtest.DNS("a.example")),
		csrtest.Attribute(macAddress, csrtest.UTF8("00:11"), csrtest.UTF8("00:22")), csrtest.Attribute("1.2.840.113549.1.9.20", csrtest.UTF8("mine")))
	end := time.Unix(1800000000, 0)
	needs := func(oid asn1.ObjectIdentifier) bool { return oid.String() == macAddress }
	old, client := certificate(t, 1), certificate(t, 2)
	now := time.Unix(1700000001, 0).In(time.FixedZone("CET", 3600))
	got := OfInput(policy.Arrival{Request: policy.Request{
		Who: policy.Identity{Cert: client, Anchors: []string{"ours", "idevid"}, AnchorEnds: []time.Time{end, end.In(now.Location())}, Accounts: []policy.Account{{Method: "http_basic", User: "onboarding"}}},
		CSR: request, Linking: policy.Matched, Renews: old, Now: now,
	}}, needs)
	want := &Input{
		Time: now.UTC(), Cert: client.Raw, Renews: old.Raw, Linking: "matched",
		Anchors: []string{"ours", "idevid"}, AnchorEnds: []time.Time{end.UTC(), end.UTC()}, Accounts: []Account{{"http_basic", "onboarding"}},
		CSR: &InputCSR{
			Bytes: len(request.Raw), Subject: request.RawSubject, SPKI: request.RawSPKI, Sig: request.SignatureName(),
			Extensions: []Extension{{OID: "2.5.29.17", Value: request.Extensions[0].Value}},
			Attributes: []string{macAddress, "1.2.840.113549.1.9.20"},
			Values:     []AttributeValues{{OID: macAddress, Values: [][]byte{csrtest.UTF8("00:11"), csrtest.UTF8("00:22")}}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if bare := OfInput(policy.Arrival{}, nil); bare.CSR != nil || bare.Cert != nil || bare.Linking != "absent" {
		t.Errorf("of nothing: %+v", bare)
	}
}

func TestOfPlan(t *testing.T) {
	request := parse(t, csrtest.Subject(csrtest.CN("a.example")), csrtest.SAN(csrtest.DNS("a.example")))
	got := OfPlan(policy.Plan{
		Names: request.Names, SANCritical: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement | x509.KeyUsageDecipherOnly,
		ExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}},
		Extensions:  []csr.Extension{{ID: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}},
		Validity:    90 * 24 * time.Hour, Upstream: "step_ca",
	})
	want := &Plan{
		Subject: "CN=a.example", SAN: []Text{"dns:a.example"}, SANCritical: true,
		KeyUsage: []string{"digitalSignature", "keyAgreement", "decipherOnly"}, ExtKeyUsage: []Text{"1.3.6.1.5.5.7.3.2"},
		Extensions: []Extension{{OID: "1.2.3", Critical: true, Value: []byte{5, 0}}}, Validity: 7776000, Upstream: "step_ca",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOfDecision(t *testing.T) {
	finding := policy.Finding{
		Pos: policy.Pos{File: "policy.yaml", Line: 7, Col: 3}, Path: "profiles.a.san", Effect: policy.Refused, Got: "g", Want: "w", Check: "c", Message: "m",
	}
	got := OfDecision(policy.Decision{Verdict: policy.Allow, Findings: []policy.Finding{finding}})
	want := &Decision{Verdict: "allow", Findings: []Finding{{Path: "profiles.a.san", Line: 7, Effect: "refused", Got: "g", Want: "w", Check: "c"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	words := OfDecision(policy.Decision{Findings: []policy.Finding{{Path: "profiles.a.enroll.who", Effect: policy.Refused, Message: "m"}}})
	if told := words.Findings[0]; told != (Finding{Path: "profiles.a.enroll.who", Effect: "refused", Message: "m"}) {
		t.Errorf("a finding that has nothing but words: %+v", told)
	}
	if zero := OfDecision(policy.Decision{}); zero.Verdict != "deny" {
		t.Errorf("the zero decision is %s", zero.Verdict)
	}
	many := OfDecision(policy.Decision{Findings: slices.Repeat([]policy.Finding{finding}, MaxList+3)})
	if len(many.Findings) != MaxList || many.FindingsMore != 3 {
		t.Errorf("%d findings and %d more", len(many.Findings), many.FindingsMore)
	}
}

func TestOfCert(t *testing.T) {
	c := certificate(t, 0xabc)
	want := &Cert{Serial: "0abc", SHA256: sum(c.Raw), Issuer: "CN=rtr-1", NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC()}
	if got := OfCert(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if OfCert(nil) != nil {
		t.Error("no certificate is told as one")
	}
}

func TestOfIdentity(t *testing.T) {
	c := certificate(t, 16)
	account := policy.Account{Method: "http_basic", User: "onboarding"}
	cases := []struct {
		name string
		who  policy.Identity
		want *Who
	}{
		{"nobody", policy.Identity{}, nil},
		{"a certificate", policy.Identity{Cert: c, Anchors: []string{"ours", "other"}},
			&Who{Method: "client_cert", ID: "CN=rtr-1", Anchor: "ours+other", CertSerial: "10", CertSHA256: sum(c.Raw)}},
		{"an account", policy.Identity{Accounts: []policy.Account{account}}, &Who{Method: "http_basic", ID: "onboarding"}},
		{"both", policy.Identity{Cert: c, Accounts: []policy.Account{account}},
			&Who{Method: "client_cert+http_basic", ID: "CN=rtr-1 + onboarding", CertSerial: "10", CertSHA256: sum(c.Raw)}},
	}
	for _, c := range cases {
		if got := OfIdentity(c.who); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSerialIsLowerCaseHexOfWholeBytes(t *testing.T) {
	large, _ := new(big.Int).SetString("7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFAB", 16)
	for want, n := range map[string]*big.Int{"": nil, "00": {}, "0a": big.NewInt(10), "0100": big.NewInt(256), "7fffffffffffffffffffffffffffffffffffffab": large} {
		if got := Serial(n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOfTLS(t *testing.T) {
	for version, want := range map[uint16]string{0: "", 0x0303: "1.2", 0x0304: "1.3"} {
		if got := OfTLS(version, policy.Uncomputable); got.Version != want || got.Linked != "uncomputable" {
			t.Errorf("%04x: %+v", version, got)
		}
	}
}

// A request that is refused for its size still leaves a bounded record.
func TestThreat_RecordOfAHugeRequestIsBounded(t *testing.T) {
	names := make([][]byte, 250)
	for i := range names {
		names[i] = csrtest.DNS(fmt.Sprintf("host-%d.example", i))
	}
	r := parse(t, csrtest.Subject(csrtest.CN(strings.Repeat("a", 50000))), csrtest.SAN(names...))
	got := OfCSR(r)
	if len(got.SAN) != MaxList+1 || got.SAN[MaxList] != "… and 150 more" {
		t.Errorf("%d names, the last %s", len(got.SAN), got.SAN[len(got.SAN)-1])
	}
	written, err := json.Marshal(got)
	if err != nil || len(written) > 8<<10 {
		t.Errorf("%d bytes, %v", len(written), err)
	}
}
