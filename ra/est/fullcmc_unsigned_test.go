// SPDX-License-Identifier: Apache-2.0

package est

import (
	"encoding/asn1"
	"fmt"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// along signs with unsignedData for each path.
func along(s cms.Signer, paths ...[]cmc.BodyPartID) cms.Signer {
	a := cms.Attribute{Type: cmc.OIDUnsignedData}
	for _, path := range paths {
		a.Values = append(a.Values, must(cmc.UnsignedData{Path: path, Type: asn1.ObjectIdentifier{1, 2, 3}, Content: []byte{5, 0}}.Marshal()))
	}
	s.Unsigned = append(s.Unsigned, a)
	return s
}

func TestWhatGoesAlongUnsignedGoesOnWithItsRequest(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	went := func(name string) (paths string) {
		t.Helper()
		for _, o := range x.ca.Orders() {
			if o.CSR().Names.Subject.String() == "CN="+name {
				for _, u := range o.Evidence().Unsigned {
					paths += fmt.Sprint(u.Path, u.Type)
				}
				return paths
			}
		}
		t.Fatalf("no order for %s", name)
		return ""
	}
	two := &cmc.PKIData{Requests: []cmc.Request{
		request(t, 1, csrtest.NewKey(t, "P-256"), "a.site.example"), request(t, 2, csrtest.NewKey(t, "P-256"), "b.site.example"),
	}}
	g := x.post("cmc", message(t, two, along(byCert(registrar), []cmc.BodyPartID{2}, []cmc.BodyPartID{9}, []cmc.BodyPartID{2, 4}), registrar.Leaf))
	if g.StatusCode != 200 {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	if got := went("a.site.example"); got != "" {
		t.Errorf("with a went %s", got)
	}
	if got, want := went("b.site.example"), "[2] 1.2.3[2 4] 1.2.3"; got != want {
		t.Errorf("with b went %s, want %s", got, want)
	}
	// Of a message within another, some may have moved up already.
	key := csrtest.NewKey(t, "P-256")
	inner := message(t, proven(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "c.site.example")}}, x.password("cmc")), along(signedByKey(key), []cmc.BodyPartID{1, 8}))
	g = x.post("cmc", message(t, collected(t, inner), along(byCert(registrar), []cmc.BodyPartID{100, 1, 7}, []cmc.BodyPartID{100}), registrar.Leaf))
	if said, _ := x.each(g); len(said) != 2 || said[1] != "success 1" {
		t.Fatalf("%q", said)
	}
	if got, want := went("c.site.example"), "[1 7] 1.2.3[1 8] 1.2.3"; got != want {
		t.Errorf("with c went %s, want %s", got, want)
	}
}

func TestUnsignedDataThatIsNoneIsRefused(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	one := func() *cmc.PKIData {
		return &cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "d.site.example")}}
	}
	broken := byCert(registrar)
	broken.Unsigned = []cms.Attribute{{Type: cmc.OIDUnsignedData, Values: [][]byte{{0x30, 0}}}}
	for name, signer := range map[string]cms.Signer{
		"no CMCUnsignedData": broken,
		"two attributes":     along(along(byCert(registrar), []cmc.BodyPartID{1}), []cmc.BodyPartID{1}),
	} {
		x.wants(name, x.post("cmc", message(t, one(), signer, registrar.Leaf)), 400, "failed badRequest 0", "nsigned")
	}
}
