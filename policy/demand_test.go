// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

func oidsOf(texts ...string) (list []asn1.ObjectIdentifier) {
	for _, text := range texts {
		list = append(list, mustOID(text))
	}
	return list
}

const (
	macAddressOID   = "1.3.6.1.1.1.1.22"
	friendlyNameOID = "1.2.840.113549.1.9.20"
	tlsFeatureOID   = "1.3.6.1.5.5.7.1.24"
)

// Each case is what stands in the profile beside `smallest`, what the CA demands, and
// what comes of it: keys, signature, attributes, extensions, and conflicts.
func TestADemandIsMergedAsFarAsTheProfileTakesIt(t *testing.T) {
	p384 := Demand{Keys: []KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}}}
	usage := func(bits x509.KeyUsage) Demand {
		value, err := csr.MarshalKeyUsage(bits)
		if err != nil {
			t.Fatal(err)
		}
		return Demand{Extensions: []csr.Extension{{ID: mustOID(csr.OIDKeyUsage), Value: value}}}
	}
	purposes := func(oids ...string) Demand {
		value, err := csr.MarshalExtKeyUsage(oidsOf(oids...))
		if err != nil {
			t.Fatal(err)
		}
		return Demand{Extensions: []csr.Extension{{ID: mustOID(csr.OIDExtKeyUsage), Value: value}}}
	}
	feature := Demand{Extensions: []csr.Extension{{ID: mustOID(tlsFeatureOID), Value: []byte{0x30, 3, 2, 1, 5}}}}
	for name, c := range map[string]struct {
		profile string
		demand  Demand
		want    string // keys; signature; attributes; extensions; required
		says    string // conflicts
	}{
		"nothing is demanded":          {"key: {ecdsa: [P-256]}", Demand{}, "ECDSA P-256; ECDSA-SHA256; ; ; ", ""},
		"a key where any will do":      {"", p384, "ECDSA P-384; ECDSA-SHA384; ; ; ", ""},
		"one of those that are taken":  {"key: {ecdsa: [P-256, P-384]}", p384, "ECDSA P-384; ECDSA-SHA384; ; ; ", ""},
		"any curve":                    {"key: {rsa: [3072], ecdsa: [P-384, P-256]}", Demand{Keys: []KeyHint{{Algorithm: csr.ECDSA}}}, "ECDSA P-384, ECDSA P-256; ECDSA-SHA384; ; ; ", ""},
		"none of those":                {"key: {rsa: [3072], ecdsa: [P-256]}", p384, "RSA 3072, ECDSA P-256; SHA256-RSA; ; ; ", "key: the CA wants ECDSA P-384, and the profile takes RSA 3072, ECDSA P-256"},
		"the profile's order counts":   {"key: {ecdsa: [P-256, P-384]}", Demand{Keys: []KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}, {Algorithm: csr.ECDSA, Curve: "P-256"}}}, "ECDSA P-256, ECDSA P-384; ECDSA-SHA256; ; ; ", ""},
		"a length within the defaults": {"", Demand{Keys: []KeyHint{{Algorithm: csr.RSA, Bits: 4096}}}, "RSA 4096; SHA256-RSA; ; ; ", ""},
		"a length beyond them":         {"", Demand{Keys: []KeyHint{{Algorithm: csr.RSA, Bits: 1024}}}, "RSA 2048, ECDSA P-256, ECDSA P-384, ECDSA P-521, Ed25519; SHA256-RSA; ; ; ", "key: the CA wants RSA 1024, and the profile takes RSA 2048, ECDSA P-256, ECDSA P-384, ECDSA P-521, Ed25519"},
		"a signature chooses the key":  {"key: {ecdsa: [P-256, P-384]}", Demand{Signature: mustOID(ecdsaWithSHA384)}, "ECDSA P-384; ECDSA-SHA384; ; ; ", ""},
		"a signature that isn't taken": {"key: {ecdsa: [P-384]}", Demand{Keys: p384.Keys, Signature: mustOID(ecdsaWithSHA256)}, "ECDSA P-384; ECDSA-SHA384; ; ; ", "signature: the CA wants ECDSA-SHA256, and the profile takes none of it with a key that both take"},
		"attributes": {
			"attributes: {require: [friendlyName], allow: [macAddress]}\nkey: {ecdsa: [P-256]}", Demand{Attributes: oidsOf(macAddressOID, friendlyNameOID, "1.2.3.4")},
			"ECDSA P-256; ECDSA-SHA256; friendlyName macAddress; ; ", "attribute: the CA wants 1.2.3.4, and the profile refuses it",
		},
		"one that is ignored goes on all the same": {"attributes: {ignore: [macAddress]}\nkey: {ecdsa: [P-256]}", Demand{Attributes: oidsOf(macAddressOID)}, "ECDSA P-256; ECDSA-SHA256; macAddress; ; ", ""},
		"what ties a request to its channel": {
			"key: {ecdsa: [P-256]}", Demand{Attributes: oidsOf(csr.OIDChallengePassword, estIdentityLinking, otpChallenge, csr.OIDExtensionRequest)}, "ECDSA P-256; ECDSA-SHA256; ; ; ", "",
		},
		"an extension with a value": {"extensions: {allow: [tlsFeature]}\nkey: {ecdsa: [P-256]}", feature, "ECDSA P-256; ECDSA-SHA256; ; tlsFeature=3003020105; ", ""},
		"one without": {
			"extensions: {allow: [tlsFeature]}\nkey: {ecdsa: [P-256]}", Demand{Extensions: []csr.Extension{{ID: mustOID(tlsFeatureOID)}}}, "ECDSA P-256; ECDSA-SHA256; ; ; tlsFeature", "",
		},
		"one that isn't taken": {"key: {ecdsa: [P-256]}", feature, "ECDSA P-256; ECDSA-SHA256; ; ; ", "extension: the CA wants tlsFeature, and the profile refuses it"},
		"one that is ignored":  {"extensions: {ignore: [tlsFeature]}\nkey: {ecdsa: [P-256]}", feature, "ECDSA P-256; ECDSA-SHA256; ; ; ", "extension: the CA wants tlsFeature, and the profile ignores it"},
		"one that is set so":   {"extensions: {set: {tlsFeature: {der: MAMCAQU=}}}\nkey: {ecdsa: [P-256]}", feature, "ECDSA P-256; ECDSA-SHA256; ; ; ", ""},
		"one that is set otherwise": {
			"extensions: {set: {tlsFeature: {der: MAMCAQE=}}}\nkey: {ecdsa: [P-256]}", feature, "ECDSA P-256; ECDSA-SHA256; ; ; ", "extension: the CA wants tlsFeature with another value, and the profile sets it",
		},
		"the usage that is issued":    {"key: {ecdsa: [P-256]}", usage(x509.KeyUsageDigitalSignature), "ECDSA P-256; ECDSA-SHA256; ; ; ", ""},
		"another one":                 {"key: {ecdsa: [P-256]}", usage(x509.KeyUsageKeyAgreement), "ECDSA P-256; ECDSA-SHA256; ; ; ", "key usage: the CA wants keyAgreement, and the profile issues for digitalSignature"},
		"the purposes that are":       {"key: {ecdsa: [P-256]}", purposes("1.3.6.1.5.5.7.3.2"), "ECDSA P-256; ECDSA-SHA256; ; ; ", ""},
		"one more":                    {"key: {ecdsa: [P-256]}", purposes("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"), "ECDSA P-256; ECDSA-SHA256; ; ; ", "extended key usage: the CA wants clientAuth, serverAuth, and the profile issues for clientAuth"},
		"names are the profile's":     {"key: {ecdsa: [P-256]}", Demand{Extensions: []csr.Extension{{ID: mustOID(csr.OIDSubjectAltName), Value: []byte{0x30, 0}}}}, "ECDSA P-256; ECDSA-SHA256; ; ; ", ""},
		"/csrattrs is off":            {"csrattrs: {format: off}", p384, "; ; ; ; ", ""},
		"a usage that can't be read":  {"key: {ecdsa: [P-256]}", Demand{Extensions: []csr.Extension{{ID: mustOID(csr.OIDKeyUsage), Value: []byte{5, 0}}}}, "ECDSA P-256; ECDSA-SHA256; ; ; ", "key usage: the CA wants nothing, and the profile issues for digitalSignature"},
		"a purpose without its value": {"key: {ecdsa: [P-256]}", Demand{Extensions: []csr.Extension{{ID: mustOID(csr.OIDExtKeyUsage)}}}, "ECDSA P-256; ECDSA-SHA256; ; ; ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(smallest, "    usage:", "    "+strings.ReplaceAll(c.profile, "\n", "\n    ")+"\n    usage:", 1)
			profile, _ := mustCompile(t, "p.yaml", []byte(text)).Profile("")
			before := fmt.Sprint(profile.Hints(SimpleEnroll))
			h, conflicts := profile.HintsWith(SimpleEnroll, c.demand)
			var attributes, extensions, required, said []string
			for _, oid := range h.Attributes {
				attributes = append(attributes, attributeName(oid))
			}
			for _, e := range h.Extensions {
				extensions = append(extensions, fmt.Sprintf("%s=%x", extensionName(e.ID), e.Value))
			}
			for _, oid := range h.Required {
				required = append(required, extensionName(oid))
			}
			for _, one := range conflicts {
				said = append(said, one.String())
			}
			signature := ""
			if h.Signature != nil {
				signature = signatureText(h.Signature)
			}
			got := strings.Join([]string{keysText(h.Keys), signature, strings.Join(attributes, " "), strings.Join(extensions, " "), strings.Join(required, " ")}, "; ")
			if got != c.want {
				t.Errorf("it is %q, want %q", got, c.want)
			}
			if text := strings.Join(said, "\n"); text != c.says {
				t.Errorf("it says %q, want %q", text, c.says)
			}
			if fmt.Sprint(profile.Hints(SimpleEnroll)) != before {
				t.Error("the profile's own hints have changed")
			}
		})
	}
}

func TestADemandIsOneLine(t *testing.T) {
	all := Demand{
		Keys: []KeyHint{{Algorithm: csr.RSA, Bits: 3072}, {Algorithm: csr.ECDSA, Curve: "P-384"}}, Signature: mustOID(ecdsaWithSHA384),
		Attributes: oidsOf(macAddressOID), Extensions: []csr.Extension{{ID: mustOID(tlsFeatureOID)}},
	}
	for want, d := range map[string]Demand{
		"nothing": {},
		"keys RSA 3072, ECDSA P-384, signature ECDSA-SHA384, attribute macAddress, extension tlsFeature": all,
	} {
		if d.String() != want || d.Empty() != (want == "nothing") {
			t.Errorf("%q, want %q", d, want)
		}
	}
}

// demanding is more than most profiles take.
func demanding() Demand {
	return Demand{
		Keys:       []KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}, {Algorithm: csr.RSA, Bits: 3072}, {Algorithm: csr.Ed25519}},
		Attributes: oidsOf(macAddressOID, friendlyNameOID, "2.5.4.5", "1.2.3.4"),
		Extensions: []csr.Extension{{ID: mustOID(tlsFeatureOID), Value: csrtest.SEQ(csrtest.INTEGER(5))}, {ID: mustOID("1.2.3.5")}},
	}
}

// What is taken over never makes a request one that the profile refuses.
func TestARequestOfTheMergedShapeIsNotRefusedForIt(t *testing.T) {
	for _, profile := range examples(t) {
		t.Run(profile.Name(), func(t *testing.T) {
			demand := demanding()
			hints, _ := profile.HintsWith(SimpleEnroll, demand)
			if hints.Off {
				return
			}
			for _, oid := range hints.Attributes {
				if _, how := profile.attributes.treat(oid); how == unlisted && slices.ContainsFunc(demand.Attributes, oid.Equal) {
					t.Errorf("the attribute %s would be refused", attributeName(oid))
				}
			}
			for _, k := range hints.Keys {
				if !slices.ContainsFunc(profile.keys.choices, func(c keyChoice) bool { _, ok := c.among([]KeyHint{k}); return ok }) {
					t.Errorf("the key %s would be refused", keysText([]KeyHint{k}))
				}
			}
			hintedRequests(t, profile, hints, 5, func(f Finding) bool { return f.Effect == Dropped && strings.HasSuffix(f.Path, ".attributes.ignore") })
		})
	}
}
