// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// collected puts messages into one.
func collected(t testing.TB, messages ...string) *cmc.PKIData {
	t.Helper()
	d := &cmc.PKIData{}
	var ids []cmc.BodyPartID
	for i, m := range messages {
		id := cmc.BodyPartID(100 + i)
		ids = append(ids, id)
		d.Contents = append(d.Contents, cmc.Content{ID: id, Raw: must(base64.StdEncoding.DecodeString(m))})
	}
	d.Controls = cmc.Controls{cmc.NewControl(4, cmc.OIDBatchRequests, must(cmc.MarshalPath(ids)))}
	return d
}

// each gives what the answers within say, and the certificates of all.
func (x *cmcSite) each(g got) (said []string, certs []*x509.Certificate) {
	x.t.Helper()
	r, _, outer := x.response(g)
	said = append(said, outer)
	_, value, _, err := r.Controls.Only(cmc.OIDBatchResponses)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, id := range must(cmc.ParsePath(value)) {
		content, ok := r.Content(id)
		if !ok {
			x.t.Fatalf("no content %d", id)
		}
		v := must(must(cms.ReadSigned(content.Raw)).Verify(cms.FindCertificate()))
		_, found, text := x.read(v)
		said, certs = append(said, text), append(certs, found...)
	}
	return said, certs
}

func TestAnRABringsSeveralMessagesInOne(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	device := func(name string) string {
		key := csrtest.NewKey(t, "P-256")
		return message(t, proven(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, name)}}, x.password("cmc")), signedByKey(key))
	}
	own := x.ca.Intermediate.Device(t, "r.site.example")
	renewal := message(t, &cmc.PKIData{Requests: []cmc.Request{request(t, 9, csrtest.NewKey(t, "P-256"), "r.site.example")}}, byCert(own), own.Leaf)
	good := device("a.site.example")
	forged := base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(must(base64.StdEncoding.DecodeString(device("f.site.example")))), "f.site", "g.site", 1)))
	nested := message(t, collected(t, device("n.site.example")), byCert(registrar), registrar.Leaf)
	g := x.post("cmc", message(t, collected(t, good, device("a.elsewhere.example"), renewal, forged, nested, good), byCert(registrar), registrar.Leaf))
	said, certs := x.each(g)
	want := []string{"success 4", "success 1", "failed badIdentity 0", "success 9", "failed badMessageCheck 0", "failed badRequest 4", "failed badRequest 0"}
	if g.StatusCode != 200 || strings.Join(said, "; ") != strings.Join(want, "; ") {
		t.Errorf("%d\n got %q\nwant %q", g.StatusCode, said, want)
	}
	if len(certs) != 2 || certs[0].Subject.CommonName != "a.site.example" || certs[1].Subject.CommonName != "r.site.example" {
		t.Errorf("%d certificates", len(certs))
	}
	id := g.Header.Get("X-Request-Id")
	for part, outcome := range map[string]string{".100": "issued", ".101": "refused", ".102": "issued", ".103": "refused", ".104": "refused", ".105": "refused"} {
		if record, _ := x.last(id + part); string(record.Outcome) != outcome {
			t.Errorf("record %s is %s", part, record.Outcome)
		}
	}
}

func TestBatchesThatAreRefused(t *testing.T) {
	x := newCMC(t)
	registrar, device := x.ca.Intermediate.Device(t, "ra.example", forCMCRA), x.device("dev-1")
	key := csrtest.NewKey(t, "P-256")
	one := message(t, proven(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.site.example")}}, x.password("cmc")), signedByKey(key))
	absent := collected(t, one)
	absent.Contents = nil
	twice := collected(t, one)
	twice.Controls = cmc.Controls{cmc.NewControl(4, cmc.OIDBatchRequests, must(cmc.MarshalPath([]cmc.BodyPartID{100, 100})))}
	x.wants("from a device", x.post("cmc", message(t, collected(t, one), byCert(device), device.Leaf)), 400, "failed badRequest 4", "only a registration authority")
	x.wants("of what isn't there", x.post("cmc", message(t, absent, byCert(registrar), registrar.Leaf)), 400, "failed badRequest 4", "isn't in the message")
	x.wants("of one message twice", x.post("cmc", message(t, twice, byCert(registrar), registrar.Leaf)), 400, "failed badRequest 4", "isn't in the message")
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}
