// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"encoding/hex"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func namesOf(t testing.TB, options ...Option) csr.Names {
	t.Helper()
	r, err := csr.Parse(New(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	return r.Names
}

func TestDigestsAreThoseOfEqualNames(t *testing.T) {
	base := namesOf(t, cn(UTF8("Device 1")), SAN(DNS("a.example"), IP("10.0.0.1"), DirectoryName(CN("x"))))
	digest, ok := base.Digest()
	if !ok {
		t.Fatal("names have no digest")
	}
	for name, test := range map[string]struct {
		names csr.Names
		same  bool
	}{
		"another encoding, case and order": {namesOf(t, cn(Printable("DEVICE  1")), SAN(DirectoryName(CN("X")), IP("10.0.0.1"), DNS("A.example"))), true},
		"another name":                     {namesOf(t, cn(UTF8("Device 2")), SAN(DNS("a.example"), IP("10.0.0.1"), DirectoryName(CN("x")))), false},
		"a name less":                      {namesOf(t, cn(UTF8("Device 1")), SAN(DNS("a.example"), IP("10.0.0.1"))), false},
		"a name twice":                     {namesOf(t, cn(UTF8("Device 1")), SAN(DNS("a.example"), DNS("a.example"), IP("10.0.0.1"), DirectoryName(CN("x")))), false},
		"the same text in another form":    {namesOf(t, cn(UTF8("Device 1")), SAN(URI("a.example"), IP("10.0.0.1"), DirectoryName(CN("x")))), false},
		"none":                             {csr.Names{}, false},
	} {
		got, ok := test.names.Digest()
		if !ok || (got == digest) != test.same || test.names.Equal(base) != test.same {
			t.Errorf("%s: same digest %v, equal %v, want %v", name, got == digest, test.names.Equal(base), test.same)
		}
	}
	made := csr.Names{Subject: csr.Name{{csr.NewAttributeValue(oid(t, "CN"), "device 1")}}, SAN: base.SAN}
	if got, ok := made.Digest(); !ok || got != digest {
		t.Error("names that we made have another digest than those of a request")
	}
	if _, ok := (csr.Names{SAN: []csr.GeneralName{{Form: csr.OtherName}}}).Digest(); ok {
		t.Error("a name without content has a digest")
	}
}

// What is stored of a key is compared with the digests of later versions.
func TestDigestStaysTheSameOverVersions(t *testing.T) {
	digest, ok := namesOf(t, cn(UTF8("Device 1")), SAN(DNS("A.example"), Email("o@Example"), URI("urn:x:1"), RegisteredID("1.2.3"))).Digest()
	const want = "9c6413325656db1d9b69e8a6200b9f5fc6f16f687e3bb4ccc38dfa08b8c62f61"
	if got := hex.EncodeToString(digest[:]); !ok || got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkDigest(b *testing.B) {
	n := namesOf(b, cn(UTF8("rtr-7.branch.example.net")), SAN(DNS("rtr-7.branch.example.net"), IP("10.0.0.1")))
	b.ReportAllocs()
	for b.Loop() {
		n.Digest()
	}
}
