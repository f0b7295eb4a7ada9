// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/wire"
)

// sealedBy is a message with the MAC of a password.
func sealedBy(t testing.TB, d *cmc.PKIData, id, secret string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(secret))
	der := must(cms.Authenticate(cms.Content{Type: cms.IDPKIData, Bytes: must(d.Marshal())},
		cms.Password{Secret: []byte(id + hex.EncodeToString(sum[:])), Iterations: 1000}))
	return base64.StdEncoding.EncodeToString(der)
}

// identified names a secret.
func identified(p store.Created, requests ...cmc.Request) *cmc.PKIData {
	return &cmc.PKIData{Controls: cmc.Controls{cmc.NewControl(900, cmc.OIDIdentification, cmc.UTF8(p.ID))}, Requests: requests}
}

func TestAMessageThatNobodySignsIsProvenByItsMAC(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	// Linking is required there: the secret is for this subject alone.
	p := x.password("strict", "CN=a.example")
	ask := request(t, 1, key, "a.example")
	g := x.post("strict", sealedBy(t, identified(p, ask), p.ID, string(p.Text)))
	if g.StatusCode != 200 || g.Header.Get("Content-Type") != wire.TypeCertsOnly {
		_, _, said := x.response(g)
		t.Fatalf("%d %s", g.StatusCode, said)
	}
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if string(record.Who.ID) != p.ID || record.TLS.Linked != "matched" || record.Op != "fullcmc.enroll" {
		t.Errorf("record of %v, linked %s, op %s", record.Who, record.TLS.Linked, record.Op)
	}
	x.wants("a replay", x.post("strict", sealedBy(t, identified(p, ask), p.ID, string(p.Text))), 400, "failed badRequest 0", "came before")
	free := x.password("strict")
	x.wants("a secret for any subject links nothing", x.post("strict", sealedBy(t, identified(free, ask), free.ID, string(free.Text))), 403, "failed popFailed 1", "linking")
}

func TestMACsThatAreRefused(t *testing.T) {
	x := newCMC(t)
	ask := request(t, 1, csrtest.NewKey(t, "P-256"), "a.example")
	p, other, plain, bound := x.password("cmc"), x.password("strict"), x.otp("cmc"), x.password("cmc", "CN=b.example")
	nobody := store.Created{Password: store.Password{ID: "aaaaaaaaaa"}, Text: p.Text}
	good := sealedBy(t, identified(p, ask), p.ID, string(p.Text))
	der := must(base64.StdEncoding.DecodeString(good))
	changed := append(der[:len(der)-1:len(der)-1], der[len(der)-1]^1)
	text := must(cms.Authenticate(cms.Content{Type: cms.IDData, Bytes: []byte("x")}, cms.Password{Secret: []byte("x")}))
	for name, test := range map[string]struct {
		body   string
		status int
		said   string
	}{
		"another secret":               {sealedBy(t, identified(p, ask), p.ID, "another"), 403, "failed badMessageCheck 0"},
		"a changed MAC":                {base64.StdEncoding.EncodeToString(changed), 403, "failed badMessageCheck 0"},
		"no such password":             {sealedBy(t, identified(nobody, ask), nobody.ID, string(p.Text)), 403, "failed badMessageCheck 0"},
		"a password not made for CMC":  {sealedBy(t, identified(plain, ask), plain.ID, string(plain.Text)), 403, "failed badMessageCheck 0"},
		"a password of another label":  {sealedBy(t, identified(other, ask), other.ID, string(other.Text)), 403, "failed badIdentity 0"},
		"nothing that names a secret":  {sealedBy(t, &cmc.PKIData{Requests: []cmc.Request{ask}}, p.ID, string(p.Text)), 403, "failed badMessageCheck 0"},
		"another content":              {base64.StdEncoding.EncodeToString(text), 403, "failed badMessageCheck 0"},
		"a secret for another subject": {sealedBy(t, identified(bound, ask), bound.ID, string(bound.Text)), 403, "failed badIdentity 1"},
	} {
		t.Run(name, func(t *testing.T) {
			x.wants(name, x.post("cmc", test.body), test.status, test.said, "")
		})
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}
