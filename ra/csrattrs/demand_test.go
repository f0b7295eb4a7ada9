// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// What one server says by its policy, another reads as a demand: in both forms.
func TestADemandIsWhatAnotherServerHasSaid(t *testing.T) {
	said := policy.Hints{
		Keys: []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}}, Signature: ecdsaWithSHA384,
		Attributes: []asn1.ObjectIdentifier{macAddress}, Required: []asn1.ObjectIdentifier{{1, 2, 3}},
		Extensions: []csr.Extension{{ID: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}},
	}
	for format, want := range map[policy.HintFormat]string{
		policy.HintList:     "keys ECDSA P-384, signature ECDSA-SHA384, attribute macAddress, extension tlsFeature",
		policy.HintTemplate: "keys ECDSA P-384, attribute macAddress, extension tlsFeature, extension 1.2.3",
		policy.HintBoth:     "keys ECDSA P-384, attribute macAddress, extension tlsFeature, extension 1.2.3",
	} {
		said.Format = format
		der, err := Encode(said)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := demandOf(der); err != nil || d.String() != want {
			t.Errorf("format %d: %q, %v, want %q", format, d, err, want)
		}
	}
	if d, err := demandOf([]byte{0x30, 0}); err != nil || !d.Empty() {
		t.Errorf("an empty list: %v, %v", d, err)
	}
}

func demandOf(der []byte) (policy.Demand, error) {
	list, err := Parse(der)
	if err != nil {
		return policy.Demand{}, err
	}
	wanted, err := Read(list)
	if err != nil {
		return policy.Demand{}, err
	}
	return wanted.Demand()
}

func TestADemandIsBounded(t *testing.T) {
	var many Wanted
	for i := range 33 {
		many.Attributes = append(many.Attributes, csr.Attribute{Type: asn1.ObjectIdentifier{1, 2, i}})
	}
	large := Wanted{Extensions: []Extension{{ID: asn1.ObjectIdentifier{1, 2}, Value: make([]byte, 8193)}}}
	for want, w := range map[string]Wanted{"33 of a kind": many, "8193 bytes": large} {
		if d, err := w.Demand(); err == nil || !strings.Contains(err.Error(), want) || !d.Empty() {
			t.Errorf("%v, %v, want %q", d, err, want)
		}
	}
}

func FuzzDemand(f *testing.F) {
	for _, text := range vectors {
		f.Add(decode64(f, text))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		d, err := demandOf(der)
		if err != nil {
			return
		}
		// What is taken over can be said again, unless something is there twice.
		seen := map[string]bool{}
		for _, e := range d.Extensions {
			if seen[e.ID.String()] || e.Value == nil {
				return
			}
			seen[e.ID.String()] = true
		}
		if _, err := Encode(policy.Hints{Keys: d.Keys, Attributes: d.Attributes, Extensions: slices.Clone(d.Extensions)}); err != nil && !d.Empty() {
			if len(d.Signature) == 0 || len(d.Keys)+len(d.Attributes)+len(d.Extensions) > 0 {
				t.Errorf("%s: %v", d, err)
			}
		}
	})
}
