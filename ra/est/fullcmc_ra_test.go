// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
)

func TestAnRABringsRequestsByCMC(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	other := x.ca.Intermediate.Device(t, "rb.example", forCMCRA)
	two := func(names ...string) *cmc.PKIData {
		d := &cmc.PKIData{}
		for i, name := range names {
			d.Requests = append(d.Requests, request(t, cmc.BodyPartID(i+1), csrtest.NewKey(t, "P-256"), name))
		}
		return d
	}
	g := x.post("cmc", message(t, two("a.site.example", "b.site.example"), byCert(registrar), registrar.Leaf), registrar)
	if g.StatusCode != 200 || len(g.certs(t)) != 2 {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	// Each request has a record of its own.
	for _, part := range []string{".1", ".2"} {
		record, _ := x.last(g.Header.Get("X-Request-Id") + part)
		if record.Who.Role != "ra" || record.Outcome != "issued" || record.Op != "fullcmc.enroll" {
			t.Errorf("record %s: %+v, who %+v", part, record, record.Who)
		}
	}
	// One that is refused says nothing of the other.
	g = x.post("cmc", message(t, two("a2.site.example", "b.elsewhere.example"), byCert(registrar), registrar.Leaf))
	_, certs, said := x.response(g)
	if g.StatusCode != 200 || said != "success 1, failed badRequest 2" || len(certs) != 1 {
		t.Errorf("%d, %s, %d certificates", g.StatusCode, said, len(certs))
	}
	g = x.post("cmc", message(t, two("a.elsewhere.example"), byCert(registrar), registrar.Leaf))
	x.wants("a name that the RA may not ask for", g, 403, "failed badRequest 1", "")
	g = x.post("cmc", message(t, two("a3.site.example"), byCert(other), other.Leaf))
	x.wants("an RA that no line names, which renews its own", g, 403, "failed popFailed 1", "the names of the request are not those")
}

// The normal relay: the device signs, and its RA brings it on its own connection.
func TestAnRARelaysWhatADeviceHasSigned(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	ask := func(name string) string {
		key := csrtest.NewKey(t, "P-256")
		d := proven(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, name)}}, x.password("cmc"))
		return message(t, d, signedByKey(key))
	}
	if g := x.post("cmc", ask("a.site.example"), registrar); g.StatusCode != 200 {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
	x.wants("a subject beyond the RA's", x.post("cmc", ask("a.example"), registrar), 403, "failed badIdentity 0", "may ask for each subject")
	x.wants("a client that is no RA", x.post("cmc", ask("b.site.example"), x.device("b.site.example")), 403, "failed badIdentity 0", "may ask for each subject")
}

func TestRevocationByCMC(t *testing.T) {
	x := newCMC(t)
	own, other := x.ca.Intermediate.Device(t, "a.site.example"), x.ca.Intermediate.Device(t, "b.example")
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	ask := func(c *x509.Certificate, serial *big.Int) *cmc.PKIData {
		r := cmc.Revocation{CertID: cmc.CertID{Issuer: c.RawIssuer, Serial: serial}, Reason: 1}
		return &cmc.PKIData{Controls: cmc.Controls{cmc.NewControl(4, cmc.OIDRevokeRequest, must(r.Marshal()))}}
	}
	for name, test := range map[string]struct {
		data   *cmc.PKIData
		signer tls.Certificate
		certs  []*x509.Certificate
		status int
		said   string
	}{
		"another's":                        {ask(other.Leaf, other.Leaf.SerialNumber), own, []*x509.Certificate{own.Leaf, other.Leaf}, 403, "failed badRequest 4"},
		"one that isn't there":             {ask(own.Leaf, big.NewInt(1)), own, []*x509.Certificate{own.Leaf}, 404, "failed badCertId 4"},
		"an RA, for a name beyond its":     {ask(other.Leaf, other.Leaf.SerialNumber), registrar, []*x509.Certificate{registrar.Leaf, other.Leaf}, 403, "failed badRequest 4"},
		"an IDevID, which another CA made": {ask(own.Leaf, own.Leaf.SerialNumber), x.device("x"), []*x509.Certificate{own.Leaf}, 403, "failed badMessageCheck 0"},
	} {
		t.Run(name, func(t *testing.T) {
			x.wants(name, x.post("cmc", message(t, test.data, byCert(test.signer), test.certs...)), test.status, test.said, "")
		})
	}
	if n := len(x.ca.Revoked()); n != 0 {
		t.Fatalf("%d revocations", n)
	}
	g := x.post("cmc", message(t, ask(own.Leaf, own.Leaf.SerialNumber), byCert(registrar), registrar.Leaf, own.Leaf))
	x.wants("an RA", g, 200, "success 4", "")
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if record.Op != "fullcmc.revoke" || record.Outcome != "revoked" || record.RevokesSerial == "" || record.Who.Role != "ra" {
		t.Errorf("record %+v, who %+v", record, record.Who)
	}
	g = x.post("cmc", message(t, ask(own.Leaf, own.Leaf.SerialNumber), byCert(own), own.Leaf))
	x.wants("its own", g, 200, "success 4", "")
	if record, _ := x.last(g.Header.Get("X-Request-Id")); record.Who.Role != "" {
		t.Errorf("the holder is recorded as %q", record.Who.Role)
	}
	if got := x.ca.Revoked(); len(got) != 2 || got[0].SerialNumber.Cmp(own.Leaf.SerialNumber) != 0 || got[0].ReasonCode != 1 {
		t.Errorf("revoked %+v", got)
	}
}
