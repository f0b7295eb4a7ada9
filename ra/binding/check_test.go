// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"bytes"
	"crypto/tls"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// Channels with made-up bindings.
var (
	tls12 = Channel{Version: tls.VersionTLS12, Unique: []byte("twelve bytes")}
	tls13 = Channel{Version: tls.VersionTLS13, Exporter: bytes.Repeat([]byte{0xfb}, 32)}
)

// element encodes a string with the universal tag given.
func element(tag int, s string) []byte {
	der, _ := asn1.Marshal(asn1.RawValue{Tag: tag, Bytes: []byte(s)})
	return der
}

// request makes a request with attributes alone.
func request(attributes ...csr.Attribute) *csr.Request {
	return &csr.Request{Attributes: attributes}
}

func attribute(oid asn1.ObjectIdentifier, values ...[]byte) csr.Attribute {
	return csr.Attribute{Type: oid, Values: values}
}

// wide spreads ASCII over characters of n bytes.
func wide(s string, n int) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString(strings.Repeat("\x00", n-1))
		b.WriteByte(c)
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	good := element(19, tls12.Value())
	other := element(19, strings.Repeat("A", 16))
	challenge := func(values ...[]byte) csr.Attribute { return attribute(ChallengePassword, values...) }
	linking := func(values ...[]byte) csr.Attribute { return attribute(IdentityLinking, values...) }
	none := Channel{}
	cases := []struct {
		name    string
		channel Channel
		request *csr.Request
		want    policy.Linking
	}{
		{"no attribute", tls12, request(), policy.Absent},
		{"no attribute and no TLS", none, request(), policy.Absent},
		{"other attributes only", tls12, request(attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 56}, good)), policy.Absent},
		{"challengePassword as PrintableString", tls12, request(challenge(good)), policy.Matched},
		{"challengePassword as UTF8String", tls12, request(challenge(element(12, tls12.Value()))), policy.Matched},
		{"challengePassword as TeletexString", tls12, request(challenge(element(20, tls12.Value()))), policy.Matched},
		{"challengePassword as IA5String", tls12, request(challenge(element(22, tls12.Value()))), policy.Matched},
		{"challengePassword as BMPString", tls12, request(challenge(element(30, wide(tls12.Value(), 2)))), policy.Matched},
		{"challengePassword as UniversalString", tls12, request(challenge(element(28, wide(tls12.Value(), 4)))), policy.Matched},
		{"estIdentityLinking", tls12, request(linking(good)), policy.Matched},
		{"both, and both match", tls12, request(challenge(good), linking(good)), policy.Matched},
		{"TLS 1.3", tls13, request(linking(element(12, tls13.Value()))), policy.Matched},
		{"the exporter's value on TLS 1.2", tls12, request(challenge(element(12, tls13.Value()))), policy.Mismatched},
		{"both, and the first is wrong", tls12, request(challenge(other), linking(good)), policy.Mismatched},
		{"both, and the second is wrong", tls12, request(challenge(good), linking(other)), policy.Mismatched},
		{"both wrong", tls12, request(challenge(other), linking(other)), policy.Mismatched},
		{"a wrong value beside none to compare with", none, request(challenge(), linking(good)), policy.Mismatched},
		{"none to compare with beside a wrong value", none, request(challenge(good), linking()), policy.Mismatched},
		{"no TLS", none, request(challenge(good)), policy.Uncomputable},
		{"no TLS and both attributes", none, request(challenge(good), linking(good)), policy.Uncomputable},
		{"TLS 1.2 without tls-unique", Channel{Version: tls.VersionTLS12}, request(challenge(good)), policy.Uncomputable},
		{"TLS 1.3 without exporter", Channel{Version: tls.VersionTLS13, Unique: tls12.Unique}, request(challenge(good)), policy.Uncomputable},
		{"TLS 1.1", Channel{Version: tls.VersionTLS11, Unique: tls12.Unique}, request(challenge(good)), policy.Uncomputable},
		{"no values", tls12, request(challenge()), policy.Mismatched},
		{"two values", tls12, request(challenge(good, good)), policy.Mismatched},
		{"the attribute twice", tls12, request(challenge(good), challenge(good)), policy.Mismatched},
		{"an OCTET STRING", tls12, request(challenge(element(4, tls12.Value()))), policy.Mismatched},
		{"a constructed string", tls12, request(challenge([]byte{0x33, 0})), policy.Mismatched},
		{"a context tag", tls12, request(challenge(append([]byte{0x93}, good[1:]...))), policy.Mismatched},
		{"bytes after the string", tls12, request(challenge(append(bytes.Clone(good), 0))), policy.Mismatched},
		{"a string cut short", tls12, request(challenge(good[:5])), policy.Mismatched},
		{"no bytes at all", tls12, request(challenge(nil)), policy.Mismatched},
		{"a BMPString beyond ASCII", tls12, request(challenge(element(30, strings.Replace(wide(tls12.Value(), 2), "\x00", "\x01", 1)))), policy.Mismatched},
		{"a BMPString of odd length", tls12, request(challenge(element(30, "\x00A\x00"))), policy.Mismatched},
		{"a newline after the value", tls12, request(challenge(element(12, tls12.Value()+"\n"))), policy.Mismatched},
		{"another letter case", tls12, request(challenge(element(12, strings.ToLower(tls12.Value())))), policy.Mismatched},
		{"the longest value without TLS", none, request(challenge(element(12, strings.Repeat("A", 255)))), policy.Uncomputable},
		{"a value of 256 bytes without TLS", none, request(challenge(element(12, strings.Repeat("A", 256)))), policy.Mismatched},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Check(c.channel, c.request); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestThreat_ChannelBindingComparisonUsesLength(t *testing.T) {
	want := tls12.Value()
	for n := range len(want) {
		if got := Check(tls12, request(attribute(ChallengePassword, element(19, want[:n])))); got != policy.Mismatched {
			t.Errorf("the first %d characters are %s", n, got)
		}
	}
	if got := Check(tls12, request(attribute(ChallengePassword, element(19, want+"A")))); got != policy.Mismatched {
		t.Errorf("a longer value is %s", got)
	}
	for i := range len(want) {
		changed := []byte(want)
		changed[i] ^= 1
		if got := Check(tls12, request(attribute(IdentityLinking, element(12, string(changed))))); got != policy.Mismatched {
			t.Errorf("with character %d changed it is %s", i+1, got)
		}
	}
}

// Requirement 48: that the binding can't be computed is a failure when a
// value is there; an empty value equals no channel's value.
func TestThreat_ChannelWithoutBindingMatchesNothing(t *testing.T) {
	for _, c := range []Channel{
		{}, {Version: tls.VersionTLS12}, {Version: tls.VersionTLS13}, {Version: tls.VersionTLS12, Unique: []byte{}},
		{Version: tls.VersionTLS12, Exporter: tls13.Exporter}, {Unique: tls12.Unique, Exporter: tls13.Exporter},
	} {
		for _, value := range []string{"", "=", "AAAA", tls13.Value()} {
			if got := Check(c, request(attribute(ChallengePassword, element(12, value)))); got != policy.Uncomputable {
				t.Errorf("%s with %q: %s", c, value, got)
			}
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(element(19, tls12.Value()))
	f.Add(element(30, wide(tls12.Value(), 2)))
	f.Add(element(28, "\x00"))
	f.Add([]byte{0x13, 0x80})
	f.Fuzz(func(t *testing.T, value []byte) {
		r := request(attribute(ChallengePassword, value))
		got, ok := text(value)
		matched := Check(tls12, r) == policy.Matched
		if matched != (ok && string(got) == tls12.Value()) {
			t.Fatalf("matched %v, text %q", matched, got)
		}
		if Check(Channel{}, r) == policy.Matched || Check(tls13, r) == policy.Matched && matched {
			t.Fatal("matches another channel")
		}
	})
}

// FuzzRequest puts whole requests before the check, as they come from a
// stranger: what matches holds the value, once, in each attribute that is there.
func FuzzRequest(f *testing.F) {
	for _, opts := range [][]csrtest.Option{
		nil,
		{csrtest.Attribute(ChallengePassword.String(), csrtest.Printable(tls12.Value()))},
		{csrtest.Attribute(IdentityLinking.String(), csrtest.UTF8(tls12.Value())), csrtest.Attribute(ChallengePassword.String(), csrtest.UTF8(tls12.Value()))},
		{csrtest.Attribute(ChallengePassword.String())},
		{csrtest.Attribute(ChallengePassword.String(), csrtest.UTF8(""), csrtest.UTF8(""))},
		{csrtest.Attribute(OTPChallenge.String(), csrtest.UTF8("123456")), csrtest.Attribute(RevocationChallenge.String(), csrtest.SEQ())},
	} {
		f.Add(csrtest.New(f, opts...))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := csr.Parse(der)
		if err != nil {
			return
		}
		got := Check(tls12, r)
		if (got == policy.Absent) == Present(r) {
			t.Fatalf("%s, present %v", got, Present(r))
		}
		for _, oid := range []asn1.ObjectIdentifier{ChallengePassword, IdentityLinking, OTPChallenge, RevocationChallenge} {
			value, present, ok := Challenge(r, oid)
			if ok && (!present || len(value) > maxLength) || !ok && value != nil {
				t.Fatalf("%s: present %v, ok %v, %d bytes", oid, present, ok, len(value))
			}
			links := oid.Equal(ChallengePassword) || oid.Equal(IdentityLinking)
			if links && got == policy.Matched && present && string(value) != tls12.Value() {
				t.Fatalf("%s matches with %q", oid, value)
			}
		}
		if none := Check(Channel{}, r); none == policy.Matched || got == policy.Matched && none != policy.Uncomputable {
			t.Fatalf("%s without a channel", none)
		}
	})
}

func TestChallenge(t *testing.T) {
	otp := func(values ...[]byte) csr.Attribute { return attribute(OTPChallenge, values...) }
	for _, c := range []struct {
		name        string
		request     *csr.Request
		value       string
		present, ok bool
	}{
		{"there is none", request(attribute(ChallengePassword, element(12, "a"))), "", false, false},
		{"one PrintableString", request(otp(element(19, "s3cret"))), "s3cret", true, true},
		{"one UTF8String, not ASCII", request(otp(element(12, "geheimß"))), "geheimß", true, true},
		{"an empty one", request(otp(element(12, ""))), "", true, true},
		{"no value", request(otp()), "", true, false},
		{"two values", request(otp(element(12, "a"), element(12, "a"))), "", true, false},
		{"twice", request(otp(element(12, "a")), otp(element(12, "a"))), "", true, false},
		{"256 bytes", request(otp(element(12, strings.Repeat("a", 256)))), "", true, false},
		{"no string", request(otp(element(4, "a"))), "", true, false},
	} {
		value, present, ok := Challenge(c.request, OTPChallenge)
		if string(value) != c.value || present != c.present || ok != c.ok {
			t.Errorf("%s: %q, present %v, ok %v", c.name, value, present, ok)
		}
	}
}
