// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// byCertificate lets a device that has a certificate of the CA enrol with it
// too, with or without Basic.
var byCertificate = strings.Replace(threeUsers, "      who:\n", "      who:\n        - client_cert: {anchor: ours}\n", 1)

func TestARevokedDeviceGetsNothing(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	c := jwkSite(ca, "crl")
	c.policy = byCertificate
	s := serve(t, c)
	d := newDevice(t, s)
	for _, name := range []string{"one", "two", "three"} {
		d.csr(name, "/CN=a.example.net/O=Example Net", "")
	}
	bad := d.issued("simpleenroll", "one", basicOption)
	d.issued("simpleenroll", "two", basicOption)

	up, err := stepca.New(ca.Config())
	if err != nil {
		t.Fatal(err)
	}
	const keyCompromise = 1
	if err := up.Revoke(t.Context(), d.certificate("one"), keyCompromise); err != nil {
		t.Fatal(err)
	}
	// The list that is held may be five minutes old; after a start there is none.
	s.stop()
	s.run()
	for _, op := range []string{"simplereenroll", "simpleenroll"} {
		a := d.ask(op, "three", "--cert one.pem --key one.key")
		want := map[string]int{"simplereenroll": 403, "simpleenroll": 401}[op]
		record := d.refused(a, want, "authentication required")
		if record.Outcome != "refused" || !strings.Contains(string(record.Reason), "serial "+bad.Serial+") is revoked") {
			t.Errorf("%s: the record has outcome %s, reason %q", op, record.Outcome, record.Reason)
		}
		if strings.Contains(ca.Written(), string(record.ID)) {
			t.Errorf("%s: step-ca was asked", op)
		}
	}
	d.issued("simplereenroll", "three", "--cert two.pem --key two.key")
	if strings.Contains(s.log.String(), "a revoked certificate can be renewed") {
		t.Error("a warning says that no CRL is asked")
	}
}

func TestACRLThatCannotBeHadRefuses(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{}) // it publishes none
	s := serve(t, jwkSite(ca, "crl"))
	if status, _, upstreams := s.ready(); status != 503 || !strings.Contains(upstreams["step_ca"], "its CRL can't be had") {
		t.Errorf("/est/ready: %d %v", status, upstreams)
	}
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net/O=Example Net", "")
	d.issued("simpleenroll", "one", basicOption)
	d.csr("two", "/CN=a.example.net/O=Example Net", "")
	a := d.ask("simplereenroll", "two", "--cert one.pem --key one.key")
	d.retries(a)
	record := d.refused(a, 503, later)
	if !strings.Contains(string(record.Reason), "revocation can't be checked") {
		t.Errorf("the operator reads %q", record.Reason)
	}
	if strings.Contains(ca.Written(), string(record.ID)) {
		t.Error("step-ca was asked")
	}
}

func TestIssuersAreKnownAfterARestart(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	c := jwkSite(ca, "")
	c.policy = byCertificate
	s := serve(t, c)
	d := newDevice(t, s)
	for _, name := range []string{"one", "two", "three"} {
		d.csr(name, "/CN=a.example.net/O=Example Net", "")
	}
	// NAME.pem is the leaf alone, here and below.
	d.issued("simpleenroll", "one", basicOption)
	s.stop()
	memory := filepath.Join(s.dir, "data", "caddy", "est", "issuers", "step_ca")
	if kept, err := filepath.Glob(filepath.Join(memory, "*.pem")); err != nil || len(kept) != 1 {
		t.Fatalf("the storage keeps %v, want one issuing certificate", kept)
	}

	ca.Stop()
	c.dir, c.files = s.dir, nil
	alone := serve(t, c)
	d.moveTo(alone)
	a := d.ask("simplereenroll", "two", "--cert one.pem --key one.key")
	d.retries(a)
	d.refused(a, 503, later)
	alone.stop()

	// What a memory is for: step-ca has another issuing certificate by now.
	ca.Rotate()
	again := serve(t, c)
	d.moveTo(again)
	record := d.issued("simplereenroll", "two", "--cert one.pem --key one.key")
	if record.Who == nil || record.Who.Anchor != "ours" {
		t.Errorf("the record has who %+v", record.Who)
	}
	if d.certificate("two").CheckSignatureFrom(ca.Intermediate) != nil {
		t.Error("the new intermediate didn't sign the new certificate")
	}
	bag := sh(t, d.dir, d.curl+" "+again.url("cacerts")+" | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -noout")
	if strings.Count(bag, "subject=") != 3 {
		t.Errorf("/cacerts has not the root and both issuing certificates:\n%s", bag)
	}
	again.stop()

	// It was the memory that knew.
	if err := os.RemoveAll(memory); err != nil {
		t.Fatal(err)
	}
	forgetful := serve(t, c)
	d.moveTo(forgetful)
	d.refused(d.ask("simplereenroll", "three", "--cert one.pem --key one.key"), 403, "authentication required")
	d.issued("simplereenroll", "three", "--cert two.pem --key two.key")
}

func TestOtherCAsUnderTheRootAreStrangers(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	c := jwkSite(ca, "")
	c.policy = byCertificate
	s := serve(t, c)
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net/O=Example Net", "DNS:a.example.net")
	device := pkix.Name{CommonName: "a.example.net", Organization: []string{"Example Net"}}
	same := ca.Intermediate.Subject.CommonName
	strangers := map[string]tls.Certificate{
		"sibling":                        ca.Sibling("Sibling CA", device),
		"sibling of step-ca's name":      ca.Sibling(same, device),
		"subordinate":                    ca.Subordinate("Subordinate CA", device),
		"subordinate of step-ca's name":  ca.Subordinate(same, device),
		"sibling that gives all of them": withChain(ca.Sibling(same, device), ca.Intermediate.Raw, ca.Root.Raw),
	}
	for name, pair := range strangers {
		d.keep("stranger", pair)
		for op, status := range map[string]int{"simplereenroll": 403, "simpleenroll": 401} {
			a := d.ask(op, "one", "--cert stranger.pem --key stranger.key")
			record := d.refused(a, status, "authentication required")
			if record.Who != nil || !strings.Contains(string(record.Reason), "anchor ours: ") {
				t.Errorf("%s, %s: the record has who %+v, reason %q", name, op, record.Who, record.Reason)
			}
		}
	}
	// The same request with a certificate of step-ca itself.
	d.issued("simpleenroll", "one", basicOption)
	d.csr("two", "/CN=a.example.net/O=Example Net", "DNS:a.example.net")
	d.issued("simplereenroll", "two", "--cert one.pem --key one.key")
}

func withChain(pair tls.Certificate, more ...[]byte) tls.Certificate {
	pair.Certificate = append(pair.Certificate, more...)
	return pair
}
