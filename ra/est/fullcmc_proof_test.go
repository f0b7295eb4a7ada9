// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/hmac"
	"crypto/sha1"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/store"
)

// provenV1 adds an identity proof of the first version.
func provenV1(d *cmc.PKIData, id, secret string) *cmc.PKIData {
	value := cmc.WitnessV1([]byte(secret), id, must(d.MarshalRequests()))
	d.Controls = append(d.Controls,
		cmc.NewControl(1001, cmc.OIDIdentification, cmc.UTF8(id)),
		cmc.NewControl(1004, cmc.OIDIdentityProof, cmc.Octets(value)))
	return d
}

// passwordV1 makes one for identity proofs of the first version too.
func (x *cmcSite) passwordV1(label string) store.Created {
	x.t.Helper()
	return must(x.store.Passwords().Create(x.t.Context(), []store.Template{{Label: label, Expires: x.clock.Add(time.Hour), ProofV1: true}}, x.clock))[0]
}

func TestIdentityProofsOfTheFirstVersionWhereTheyAreConfigured(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	fresh := func() *cmc.PKIData { return &cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.example")}} }
	good, elsewhere, second := x.passwordV1("old"), x.passwordV1("cmc"), x.password("old")
	both := func(p store.Created) *cmc.PKIData {
		d := proven(fresh(), p)
		d.Controls = append(d.Controls, provenV1(fresh(), p.ID, "another").Controls[1])
		return d
	}
	swapped := provenV1(fresh(), good.ID, string(good.Text))
	swapped.Requests = []cmc.Request{request(t, 1, key, "b.example")}
	zero := provenV1(fresh(), second.ID, "") // by the key that stands where there is none
	mac := hmac.New(sha1.New, make([]byte, sha1.Size))
	_, _ = mac.Write(must(zero.MarshalRequests()))
	zero.Controls[1] = cmc.NewControl(1004, cmc.OIDIdentityProof, cmc.Octets(mac.Sum(nil)))
	for name, test := range map[string]struct {
		label  string
		data   *cmc.PKIData
		status int
		said   string // "": a certificate
		reason string // of a certificate: how its password came
	}{
		"where the profile doesn't take it":         {"cmc", provenV1(fresh(), elsewhere.ID, string(elsewhere.Text)), 400, "failed badIdentity 1004", "SHA-1"},
		"beside the second, where it isn't taken":   {"cmc", both(x.password("cmc")), 400, "failed badIdentity 1004", "SHA-1"},
		"of a password that wasn't made for it":     {"old", provenV1(fresh(), second.ID, string(second.Text)), 403, "failed badIdentity 0", "was not made with"},
		"with the key that such a password has not": {"old", zero, 403, "failed badIdentity 0", "was not made with"},
		"of another secret":                         {"old", provenV1(fresh(), good.ID, "another"), 403, "failed badIdentity 0", "was not made with"},
		"of a password that there isn't":            {"old", provenV1(fresh(), "aaaaaaaaaa", string(good.Text)), 403, "failed badIdentity 0", "was not made with"},
		"of a password of another label":            {"old", provenV1(fresh(), elsewhere.ID, string(elsewhere.Text)), 403, "failed badIdentity 0", "is for the label"},
		"over other requests":                       {"old", swapped, 403, "failed badIdentity 0", "was not made with"},
		"which is good":                             {"old", provenV1(fresh(), good.ID, string(good.Text)), 200, "", policy.ViaProofV1},
		"beside the second, which counts":           {"old", both(x.passwordV1("old")), 200, "", policy.ViaProof},
		"the second alone":                          {"old", proven(fresh(), second), 200, "", policy.ViaProof},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(x.ca.Orders())
			g := x.post(test.label, message(t, test.data, signedByKey(key)))
			if test.said != "" {
				x.wants(name, g, test.status, test.said, test.reason)
			} else if record, _ := x.last(g.Header.Get("X-Request-Id")); record.Input == nil || record.Input.Passwords[0].Via != test.reason {
				t.Errorf("record %+v", record.Input)
			} else if g.StatusCode != test.status || g.certs(t)[0].Subject.CommonName != "a.example" {
				t.Errorf("%d %s", g.StatusCode, g.body)
			}
			if issued := len(x.ca.Orders()) > before; issued != (test.said == "") {
				t.Errorf("issued: %t", issued)
			}
		})
	}
}

func TestAMessageWithTwoProofsOfTheFirstVersionIsRefused(t *testing.T) {
	x := newCMC(t)
	key, p := csrtest.NewKey(t, "P-256"), x.passwordV1("old")
	d := provenV1(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.example")}}, p.ID, string(p.Text))
	d.Controls = append(d.Controls, cmc.NewControl(1005, cmc.OIDIdentityProof, d.Controls[1].Values[0]))
	x.wants("twice", x.post("old", message(t, d, signedByKey(key))), 400, "failed badRequest 1005", "occurs twice")
	short := provenV1(&cmc.PKIData{Requests: d.Requests}, p.ID, "")
	short.Controls[1] = cmc.NewControl(1004, cmc.OIDIdentityProof, cmc.Octets([]byte(strings.Repeat("x", 19))))
	x.wants("too short", x.post("old", message(t, short, signedByKey(key))), 403, "failed badIdentity 0", "was not made with")
}
