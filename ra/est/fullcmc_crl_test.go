// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/wire"
)

func TestTheCRLOfTheCAIsGivenToWhoIsKnown(t *testing.T) {
	x := newCMC(t)
	device, stranger := x.device("dev-1"), x.partner.Device(t, "x")
	nonce := byte(0)
	ask := func(g cmc.GetCRL) *cmc.PKIData {
		nonce++
		return &cmc.PKIData{Controls: cmc.Controls{
			cmc.NewControl(3, cmc.OIDGetCRL, must(g.Marshal())), cmc.NewControl(4, cmc.OIDSenderNonce, cmc.Octets([]byte{nonce, 'c'})),
		}}
	}
	issuer := x.ca.Intermediate.Certificate.RawSubject
	g := x.post("cmc", message(t, ask(cmc.GetCRL{Issuer: issuer}), byCert(device), device.Leaf))
	x.wants("the newest", g, 200, "success 3", "")
	der, _, err := wire.DecodeBody([]byte(g.body))
	if err != nil || !bytes.Contains(der, must(x.ca.CRL(t.Context()))[8:60]) {
		t.Errorf("the CRL isn't there, %v", err)
	}
	for name, test := range map[string]struct {
		ask    cmc.GetCRL
		status int
		said   string
	}{
		"of another issuer": {cmc.GetCRL{Issuer: csrtest.Name(csrtest.CN("other"))}, 404, "failed badCertId 3"},
		"of another time":   {cmc.GetCRL{Issuer: issuer, Time: x.clock}, 400, "failed badRequest 3"},
	} {
		x.wants(name, x.post("cmc", message(t, ask(test.ask), byCert(device), device.Leaf)), test.status, test.said, "")
	}
	x.wants("by nobody", x.post("cmc", message(t, ask(cmc.GetCRL{Issuer: issuer}), byCert(stranger), stranger.Leaf)), 403, "failed badIdentity 3", "")
	x.ca.Set(ratest.Knobs{Down: true})
	x.wants("of a CA that is down", x.post("cmc", message(t, ask(cmc.GetCRL{Issuer: issuer}), byCert(device), device.Leaf)), 503, "failed tryLater 3", "")
}
