// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/store"
)

const cmcPendingRules = `
version: 1
name: cmc
default: cmc
profiles:
  cmc:
    labels: [cmc]
    fullcmc:
      enroll:
        who: [{one_time_password: {}}, {client_cert: {anchor: idevid}}]
        linking: if_present
        approve_when: csr.subject.CN.startsWith("odd")
      on_behalf:
        who: [{client_cert: {anchor: ours, role: ra, subject: {CN: ra.example}}, names: ["*.site.example"]}]
        linking: trusted
        approval: manual
BODY
`

func newCMCPending(t *testing.T) *cmcSite {
	x := newCMC(t)
	p := policyOf(t, strings.ReplaceAll(cmcPendingRules, "BODY", strings.Trim(body, "\n")))
	x.Policy = p
	old := x.Authority
	x.Authority = &ra.Authority{Policy: p, CAs: old.CAs, Claims: old.Claims, Keys: old.Keys, Pending: x.store.Pending()}
	return x
}

// token is that of the only part that is pending.
func (x *cmcSite) token(g got) []byte {
	x.t.Helper()
	r, _, _ := x.response(g)
	for _, c := range r.Controls.All(cmc.OIDStatusInfoV2) {
		if s := must(cmc.ParseStatusInfo(c.Values[0])); s.Status == cmc.Pending && s.Pend != nil && s.Pend.Time.After(time.Now()) {
			return s.Pend.Token
		}
	}
	x.t.Fatal("nothing is pending")
	return nil
}

// query asks what became of it. The nonce makes each message another one.
func query(token []byte, nonce string) *cmc.PKIData {
	return &cmc.PKIData{Controls: cmc.Controls{cmc.NewControl(9, cmc.OIDQueryPending, cmc.Octets(token)), cmc.NewControl(10, cmc.OIDSenderNonce, cmc.Octets([]byte(nonce)))}}
}

// granted wants the certificate, in the answer to a query.
func (x *cmcSite) granted(g got, name string) {
	x.t.Helper()
	_, certs, said := x.response(g)
	if g.StatusCode != 200 || said != "success 9" || len(certs) != 1 || certs[0].Subject.CommonName != name {
		_, rep := x.last(g.Header.Get("X-Request-Id"))
		x.t.Fatalf("%d, %s, %v, %v", g.StatusCode, said, certs, rep.Err)
	}
}

func (x *cmcSite) approveAll() {
	x.t.Helper()
	list, err := x.store.Pending().List(x.t.Context(), time.Now())
	if err != nil {
		x.t.Fatal(err)
	}
	by, _ := ra.StatedApprover("anna")
	for _, w := range list {
		if w.State != store.PendingWaiting {
			continue
		}
		if _, err := x.Authority.Judge(x.t.Context(), w.ID, ra.Judgement{By: by, Approves: true, ID: "decision", Write: x.Write}); err != nil {
			x.t.Fatal(err)
		}
	}
}

func TestARequestInAMessageIsPendingAndAskedAbout(t *testing.T) {
	x := newCMCPending(t)
	device, other := x.device("dev-1"), x.device("dev-2")
	one, two := csrtest.NewKey(t, "P-256"), csrtest.NewKey(t, "P-256")
	ask := func(signer tls.Certificate, d *cmc.PKIData) got {
		t.Helper()
		return x.post("cmc", message(t, d, byCert(signer), signer.Leaf))
	}
	both := &cmc.PKIData{Requests: []cmc.Request{request(t, 1, one, "odd.example"), request(t, 2, two, "usual.example")}}
	g := ask(device, both)
	_, certs, said := x.response(g)
	if g.StatusCode != 200 || said != "pending 1, success 2" || len(certs) != 1 || certs[0].Subject.CommonName != "usual.example" {
		t.Fatalf("%d, %s, %v", g.StatusCode, said, certs)
	}
	token := x.token(g)
	x.wants("still", ask(device, query(token, "n1")), 200, "pending 9", "waits for approval")
	x.wants("another asks about it", ask(other, query(token, "n2")), 404, "failed badCertId 9", "is another's")
	x.wants("nothing waits so", ask(device, query([]byte("nothing"), "n3")), 404, "failed badCertId 9", "no request waits")
	x.wants("no token", ask(device, query(nil, "n4")), 400, "failed badRequest 9", "none of ours")
	x.approveAll()
	x.wants("another, once it is approved", ask(other, query(token, "n5")), 404, "failed badCertId 9", "is another's")
	g = ask(device, query(token, "n6"))
	x.granted(g, "odd.example")
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if record.Op != "fullcmc.enroll" || record.Outcome != "issued" || record.Pending == nil || record.Pending.ID.String() != string(token) {
		t.Errorf("%+v", record)
	}
	// The message sent again asks about it as well.
	g = ask(device, &cmc.PKIData{Requests: []cmc.Request{request(t, 5, one, "odd.example")}})
	if g.StatusCode != 200 || g.certs(t)[0].Subject.CommonName != "odd.example" {
		t.Errorf("the request again: %d", g.StatusCode)
	}
}

// A device without a certificate signs with the key of its request, and proves who
// it is by a secret; so it does when it asks about it.
func TestTheKeyOfARequestAsksAboutIt(t *testing.T) {
	x := newCMCPending(t)
	key, p := csrtest.NewKey(t, "P-256"), x.password("cmc")
	g := x.post("cmc", message(t, proven(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "odd.example")}}, p), signedByKey(key)))
	x.wants("first", g, 200, "pending 1", "")
	token := x.token(g)
	stranger := csrtest.NewKey(t, "P-256")
	if g := x.post("cmc", message(t, proven(query(token, "n1"), p), signedByKey(stranger))); g.StatusCode != 403 {
		t.Errorf("with another key: %d", g.StatusCode)
	}
	if g := x.post("cmc", message(t, query(token, "n2"), signedByKey(key))); g.StatusCode != 403 {
		t.Errorf("without the secret: %d", g.StatusCode)
	}
	x.approveAll()
	g = x.post("cmc", message(t, proven(query(token, "n3"), p), signedByKey(key)))
	x.granted(g, "odd.example")
}

func TestARegistrationAuthorityAsksAboutWhatItHasBrought(t *testing.T) {
	x := newCMCPending(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	g := x.post("cmc", message(t, &cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.site.example")}}, byCert(registrar), registrar.Leaf))
	token := x.token(g)
	x.approveAll()
	g = x.post("cmc", message(t, query(token, "n1"), byCert(registrar), registrar.Leaf))
	x.granted(g, "a.site.example")
}

// RFC 7030 section 4.3.2 leaves open how it is said that a request waits.
func TestWhatWaitsIsAnsweredBy202WhereThePolicySaysSo(t *testing.T) {
	x := newCMCPending(t)
	p := policyOf(t, strings.Replace(strings.ReplaceAll(cmcPendingRules, "BODY", strings.Trim(body, "\n")), "      on_behalf:", "      pending: http\n      on_behalf:", 1))
	x.Policy, x.Authority.Policy = p, p
	device := x.device("dev-1")
	ask := func(names ...string) got {
		t.Helper()
		d := &cmc.PKIData{}
		for i, name := range names {
			d.Requests = append(d.Requests, request(t, cmc.BodyPartID(i+1), csrtest.NewKey(t, "P-256"), name))
		}
		return x.post("cmc", message(t, d, byCert(device), device.Leaf))
	}
	g := ask("odd.example")
	if g.StatusCode != 202 || g.body != "" || g.Header.Get("Retry-After") == "" || g.Header.Get("Content-Length") != "0" {
		t.Errorf("%d %q, Retry-After %q", g.StatusCode, g.body, g.Header.Get("Retry-After"))
	}
	if record, _ := x.last(g.Header.Get("X-Request-Id")); record.Outcome != "pending" || record.Status != 202 {
		t.Errorf("record %+v", record)
	}
	// What is granted beside it must reach the client.
	if _, certs, said := x.response(ask("odder.example", "usual.example")); said != "pending 1, success 2" || len(certs) != 1 {
		t.Errorf("%s, %d certificates", said, len(certs))
	}
}
