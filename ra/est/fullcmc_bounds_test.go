// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// One proof is for one certificate, and a stranger has one record for a message.
func TestThreat_ManyRequestsInOneMessage(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	d := &cmc.PKIData{}
	for i := range 60 {
		d.Requests = append(d.Requests, request(t, cmc.BodyPartID(i+1), key, fmt.Sprintf("d%d.example", i)))
	}
	g, records := x.counted(t, func() got { return x.post("cmc", message(t, d, signedByKey(key))) })
	if _, _, said := x.response(g); g.StatusCode != 403 || !strings.HasPrefix(said, "failed badIdentity 1 2 3 ") || len(records) != 1 || len(x.ca.Orders()) > 0 {
		t.Errorf("nobody's: %d, %s, %d records, %d orders", g.StatusCode, said, len(records), len(x.ca.Orders()))
	}
	g, records = x.counted(t, func() got { return x.post("cmc", message(t, proven(d, x.password("cmc")), signedByKey(key))) })
	if _, certs, _ := x.response(g); g.StatusCode != 200 || len(certs) != 1 || len(records) != 60 || len(x.ca.Orders()) != 1 {
		t.Errorf("with one password: %d, %d certificates, %d records, %d orders", g.StatusCode, len(certs), len(records), len(x.ca.Orders()))
	}
}

func TestThreat_GuessesAtSharedSecretsAreSlow(t *testing.T) {
	x := newCMC(t)
	x.Attempts = NewAttempts(3, time.Hour)
	key, p, other := csrtest.NewKey(t, "P-256"), x.password("cmc"), x.password("cmc")
	ask := func(i int) cmc.Request { return request(t, 1, key, fmt.Sprintf("g%d.example", i)) }
	wrong := p
	wrong.Text += "x"
	unknown := p
	unknown.ID = "aaaaaaaaaa"
	var texts []string
	for i, test := range []struct {
		body   string
		status int
		said   string
	}{
		{message(t, proven(&cmc.PKIData{Requests: []cmc.Request{ask(1)}}, wrong), signedByKey(key)), 403, "failed badIdentity 0"},
		{message(t, proven(&cmc.PKIData{Requests: []cmc.Request{ask(2)}}, unknown), signedByKey(key)), 403, "failed badIdentity 0"},
		{sealedBy(t, identified(p, ask(3)), p.ID, "another"), 403, "failed badMessageCheck 0"},
		{sealedBy(t, identified(unknown, ask(4)), unknown.ID, string(p.Text)), 429, "failed tryLater 0"},
		{message(t, proven(&cmc.PKIData{Requests: []cmc.Request{ask(5)}}, p), signedByKey(key)), 429, "failed tryLater 0"},
	} {
		x.refusedOnce(t, "cmc", test.body, test.status, test.said)
		x.mu.Lock()
		record := x.records[i]
		x.mu.Unlock()
		texts = append(texts, string(record.Reason))
		for _, secret := range []string{string(p.Text), string(other.Text)} {
			if strings.Contains(fmt.Sprintf("%+v", record), secret) {
				t.Errorf("a secret is in %+v", record)
			}
		}
	}
	if texts[0] != texts[1] {
		t.Errorf("a wrong secret is told from one that there isn't: %q, %q", texts[0], texts[1])
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

// RFC 5272 section 6.2.1: the proof is over the requests as they are sent.
func TestPKIDataMayComeInBER(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	der := must((&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.example")}}).MarshalRequests())
	sent := slices.Concat([]byte{0x30, 0x80}, must(cms.Elements(der))[0], []byte{0, 0})
	ask := func(over []byte) string {
		p := x.password("cmc")
		w := cmc.NewWitness([]byte(p.Text), p.ID, over)
		controls := csrtest.SEQ(
			csrtest.SEQ(csrtest.INTEGER(8), csrtest.OID(cmc.OIDIdentification), csrtest.SET(cmc.UTF8(p.ID))),
			csrtest.SEQ(csrtest.INTEGER(9), csrtest.OID(cmc.OIDIdentityProofV2), csrtest.SET(must(w.Marshal()))))
		content := slices.Concat([]byte{0x30, 0x80}, controls, sent, []byte{0x30, 0x81, 0, 0x30, 0x80, 0, 0, 0, 0})
		return b64(must(cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: content}, nil, signedByKey(key))))
	}
	x.refusedOnce(t, "cmc", ask(der), 403, "failed badIdentity 0")
	if g := x.post("cmc", ask(sent)); g.StatusCode != 200 || g.certs(t)[0].Subject.CommonName != "a.example" {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
}

// A message that can't be read has no signature that could be good.
func TestAnUnreadableMessageOfARequestsOwnKeyIsABadRequest(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	ask := must((&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.example")}}).MarshalRequests())
	twice := csrtest.SEQ(csrtest.SEQ(csrtest.SEQ(csrtest.INTEGER(1), csrtest.OID(cmc.OIDRegInfo), csrtest.SET(cmc.Octets(nil)))), ask, csrtest.SEQ(), csrtest.SEQ())
	sign := func(content []byte) string {
		return b64(must(cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: content}, nil, signedByKey(key))))
	}
	x.refusedOnce(t, "cmc", sign(twice), 400, "failed badRequest 1")
	x.refusedOnce(t, "cmc", sign(nested(100)), 400, "failed badRequest 0")
}

func TestAWitnessThatIsThereIsVerified(t *testing.T) {
	x := newCMC(t)
	device, key, p := x.device("dev-1"), csrtest.NewKey(t, "P-256"), x.password("cmc")
	random := cmc.NewControl(9, cmc.OIDPopLinkRandom, cmc.Octets(bytes.Repeat([]byte("r"), 64)))
	witness := csrtest.Attribute(cmc.OIDPopLinkWitnessV2, must(cmc.NewWitness([]byte(p.Text), "", bytes.Repeat([]byte("r"), 64)).Marshal()))
	name := func(n string, more ...csrtest.Option) *cmc.PKIData {
		return &cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, n, more...)}}
	}
	randomly := func(d *cmc.PKIData) *cmc.PKIData {
		d.Controls = append(d.Controls, random)
		return d
	}
	for what, body := range map[string]string{
		"of a secret that nobody has proven":            message(t, randomly(name("a.example", witness)), byCert(device), device.Leaf),
		"that popLinkRandom wants, and isn't there":     message(t, proven(randomly(name("b.example")), x.password("cmc")), signedByKey(key)),
		"that is another secret's, in an own signature": message(t, proven(randomly(name("c.example", witness)), x.password("cmc")), signedByKey(key)),
	} {
		t.Run(what, func(t *testing.T) { x.refusedOnce(t, "cmc", body, 403, "failed popFailed 1") })
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

// panicky gives one request its turn, and no other.
type panicky struct{ turns int }

func (p *panicky) Take(context.Context, [sha256.Size]byte) (*policy.KeyHolder, func(*policy.KeyHolder), error) {
	if p.turns++; p.turns > 1 {
		panic("no more turns")
	}
	return nil, func(*policy.KeyHolder) {}, nil
}

func TestEachPartHasItsRecordEvenAfterAPanic(t *testing.T) {
	x := newCMC(t)
	x.Authority.Keys = &panicky{}
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	d := &cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.site.example"), request(t, 2, csrtest.NewKey(t, "P-256"), "b.site.example")}}
	g, records := x.counted(t, func() got { return x.post("cmc", message(t, d, byCert(registrar), registrar.Leaf)) })
	if g.StatusCode != 500 || len(records) != 2 || records[0].Outcome != "issued" || records[0].Cert == nil || records[1].Outcome != "failed" || records[1].CSR == nil {
		t.Errorf("%d, %d records", g.StatusCode, len(records))
	}
}

func TestStrangersTakeNoPlaceWithACMCMessage(t *testing.T) {
	x := newCMC(t)
	x.Limits.Concurrency = 1
	l := x.dial(t, tls.VersionTLS13)
	l.send(strings.Replace(strings.TrimSuffix(posting("cmc/fullcmc", "AAAA", basic), "A"), wire.TypePKCS10, wire.TypeCMCRequest, 1))
	for begun := false; !begun; time.Sleep(soon) { // once more when it has
		x.mu.Lock()
		begun = x.checked > 0
		x.mu.Unlock()
	}
	device := x.device("dev-1")
	body := message(t, &cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.example")}}, byCert(device), device.Leaf)
	if g := x.post("cmc", body); g.StatusCode != 200 {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
}

func TestAGetCertThatFailsTakesNothingAway(t *testing.T) {
	x := newCMC(t)
	device := x.device("dev-1")
	id := cmc.CertID{Issuer: device.Leaf.RawIssuer, Serial: device.Leaf.SerialNumber}
	d := &cmc.PKIData{
		Controls: cmc.Controls{cmc.NewControl(3, cmc.OIDGetCert, must(id.MarshalGetCert())), {ID: 4, Type: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 7, 15}}},
		Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.example")},
	}
	g := x.post("cmc", message(t, d, byCert(device), device.Leaf))
	_, certs, said := x.response(g)
	if record, _ := x.last(g.Header.Get("X-Request-Id")); g.StatusCode != 200 || said != "success 1, failed badCertId 3, failed badRequest 4" || len(certs) != 1 || record.Outcome != "issued" || record.Status != 200 {
		t.Errorf("%d, %s, %d certificates, record %+v", g.StatusCode, said, len(certs), record)
	}
}

// Nesting has an end, whatever an RA says that it has processed.
func TestABatchWithinABatchIsRefused(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	sign := func(d *cmc.PKIData) string { return message(t, d, byCert(registrar), registrar.Leaf) }
	ask := sign(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.site.example")}})
	inner := collected(t, ask)
	inner.Controls = append(inner.Controls, cmc.NewControl(5, cmc.OIDControlProcessed, must(cmc.MarshalProcessed(cmc.To(4)))))
	said, certs := x.each(x.post("cmc", sign(collected(t, sign(inner)))))
	if !slices.Equal(said, []string{"success 4", "failed badRequest 4"}) || len(certs) > 0 || len(x.ca.Orders()) > 0 {
		t.Errorf("%q, %d certificates, %d orders", said, len(certs), len(x.ca.Orders()))
	}
}

func TestEachMessageWithinHasItsRecordEvenAfterAPanic(t *testing.T) {
	x := newCMC(t)
	x.Authority.Keys = &panicky{}
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	ask := &cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.site.example"), request(t, 2, csrtest.NewKey(t, "P-256"), "b.site.example")}}
	body := message(t, collected(t, message(t, ask, byCert(registrar), registrar.Leaf)), byCert(registrar), registrar.Leaf)
	g, records := x.counted(t, func() got { return x.post("cmc", body) })
	if g.StatusCode != 500 || len(records) != 2 || records[0].Outcome != "issued" || records[0].Cert == nil || records[1].Outcome != "failed" || records[1].CSR == nil {
		t.Errorf("%d, %d records", g.StatusCode, len(records))
	}
}

func TestALaterChangeDoesNotLengthenAnEarlierOne(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	until := x.clock.Add(time.Hour).UTC().Truncate(time.Second)
	d := &cmc.PKIData{
		Controls: cmc.Controls{
			changing(t, 7, cmc.Modification{Replace: true, Template: cmc.CertTemplate{NotAfter: until}}),
			changing(t, 8, cmc.Modification{Replace: true, Template: cmc.CertTemplate{Subject: csrtest.Name(csrtest.CN("b.site.example"))}}),
		},
		Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "b.site.example")},
	}
	g := x.post("cmc", message(t, d, byCert(registrar), registrar.Leaf))
	if g.StatusCode != 200 || !g.certs(t)[0].NotAfter.Equal(until) {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
}

// How strong the key of a client is, is for the CA of its anchor: who may connect
// with it may sign with it.
func TestASignersKeyIsHeldToWhatTLSHoldsItTo(t *testing.T) {
	x := newCMC(t)
	device := *x.keyed(x509.KeyUsageDigitalSignature, "rsa1024")
	if g := x.do(call{path: "strict/simpleenroll", certs: certOf(device)}); g.StatusCode != 200 {
		t.Errorf("on the connection: %d %s", g.StatusCode, g.body)
	}
	strong := &cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.example")}}
	if g := x.post("cmc", message(t, strong, byCert(device), device.Leaf)); g.StatusCode != 200 {
		t.Errorf("under a message: %d %s", g.StatusCode, g.body)
	}
	weak := &cmc.PKIData{Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "rsa1024"), "b.example")}}
	x.refusedOnce(t, "cmc", message(t, weak, byCert(device), device.Leaf), 403, "failed badAlg 1")
}

func TestTheCAIsAskedForItsCRLOnceInAMessage(t *testing.T) {
	x := newCMC(t)
	device := x.device("dev-1")
	number := func() int64 {
		return must(x509.ParseRevocationList(must(x.ca.CRL(t.Context())))).Number.Int64()
	}
	d := &cmc.PKIData{}
	other := must(cmc.GetCRL{Issuer: csrtest.Name(csrtest.CN("other"))}.Marshal())
	for i := range 200 {
		d.Controls = append(d.Controls, cmc.NewControl(cmc.BodyPartID(i+1), cmc.OIDGetCRL, other))
	}
	before := number()
	g, records := x.counted(t, func() got { return x.post("cmc", message(t, d, byCert(device), device.Leaf)) })
	if asked := number() - before - 1; g.StatusCode != 404 || len(records) != 1 || asked != 1 {
		t.Errorf("%d, %d records, the CA was asked %d times", g.StatusCode, len(records), asked)
	}
}
