// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/wire"
)

// template asks for a name for a key, in CRMF.
func template(key crypto.Signer, id cmc.BodyPartID, name string) cmc.CertRequest {
	extensions := csrtest.SEQ(
		csrtest.SEQ(csrtest.OID(csr.OIDSubjectAltName), cmc.Octets(csrtest.SEQ(csrtest.DNS(name)))),
		csrtest.SEQ(csrtest.OID(csr.OIDSubjectKeyIdentifier), cmc.Octets(cmc.Octets(keyID(key)))))
	return cmc.CertRequest{ID: id, Template: cmc.CertTemplate{
		Subject: csrtest.Name(csrtest.CN(name)), SPKI: must(x509.MarshalPKIXPublicKey(key.Public())), Extensions: extensions,
	}}
}

func signing(key crypto.Signer) func([]byte) ([]byte, []byte, error) {
	return func(m []byte) ([]byte, []byte, error) {
		sum := sha256.Sum256(m)
		signature, err := ecdsa.SignASN1(rand.Reader, key.(*ecdsa.PrivateKey), sum[:])
		return csrtest.SEQ(csrtest.OID("1.2.840.10045.4.3.2")), signature, err
	}
}

// pickyCA takes PKCS #10 alone, as step-ca does.
type pickyCA struct{ *ratest.CA }

func (c pickyCA) Carries() policy.Capabilities {
	carries := c.CA.Carries()
	carries.PKCS10 = true
	return carries
}

func TestCRMFIsDecidedAsPKCS10Is(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	crm := func(msg []byte) *cmc.PKIData { return &cmc.PKIData{Requests: []cmc.Request{must(cmc.NewCRMF(msg))}} }
	good := must(template(key, 7, "a.example").Signed(signing(key)))
	g := x.post("cmc", message(t, proven(crm(good), x.password("cmc", "CN=a.example")), signedByKey(key)))
	if g.StatusCode != 200 || g.Header.Get("Content-Type") != wire.TypeCertsOnly {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	leaf := g.certs(t)[0]
	if leaf.Subject.CommonName != "a.example" || len(leaf.DNSNames) != 1 || !bytes.Equal(leaf.RawSubjectPublicKeyInfo, must(x509.MarshalPKIXPublicKey(key.Public()))) {
		t.Errorf("issued for %v, %v", leaf.Subject, leaf.DNSNames)
	}
	other := csrtest.NewKey(t, "P-256")
	forged := must(template(key, 7, "a.example").Signed(signing(other)))
	for name, test := range map[string]struct {
		msg    []byte
		status int
		said   string
		bound  string
	}{
		"another name than the password's": {good, 403, "failed badIdentity 7", "CN=b.example"},
		"signed by another key":            {forged, 400, "failed popFailed 7", "CN=a.example"},
		"without a proof":                  {must(template(key, 7, "a.example").Challenged(false)), 400, "popRequired 7", "CN=a.example"},
		"vouched for by nobody":            {must(template(key, 7, "a.example").Vouched()), 400, "failed popFailed 7", "CN=a.example"},
	} {
		t.Run(name, func(t *testing.T) {
			d := proven(crm(test.msg), x.password("cmc", test.bound))
			x.wants(name, x.post("cmc", message(t, d, signedByKey(key))), test.status, test.said, "")
		})
	}
	x.Authority.CAs["test"].Upstream = pickyCA{x.ca}
	d := proven(crm(good), x.password("cmc"))
	x.wants("a CA that takes PKCS #10 alone", x.post("cmc", message(t, d, signedByKey(key))), 400, "failed badRequest 7", "takes PKCS #10 alone")
}

func TestRequestsAreLinkedToTheSharedSecret(t *testing.T) {
	x := newCMC(t)
	first, second := csrtest.NewKey(t, "P-256"), csrtest.NewKey(t, "P-256")
	random := bytes.Repeat([]byte("r"), 64)
	witness := func(secret string, over []byte) csrtest.Option {
		return csrtest.Attribute(cmc.OIDPopLinkWitnessV2, must(cmc.NewWitness([]byte(secret), "", over).Marshal()))
	}
	for name, test := range map[string]struct {
		signer crypto.Signer
		make   func(secret string) []csrtest.Option
		random [][]byte
		status int
		said   string
	}{
		"by the key that signs":   {second, nil, nil, 200, ""},
		"by nothing":              {first, nil, nil, 403, "failed popFailed 2"},
		"by a witness":            {first, func(s string) []csrtest.Option { return []csrtest.Option{witness(s, random)} }, [][]byte{random}, 200, ""},
		"by another's witness":    {first, func(s string) []csrtest.Option { return []csrtest.Option{witness(s+"x", random)} }, [][]byte{random}, 403, "failed popFailed 2"},
		"by a witness of another": {first, func(s string) []csrtest.Option { return []csrtest.Option{witness(s, nil)} }, [][]byte{random}, 403, "failed popFailed 2"},
		"by a witness of nothing": {first, func(s string) []csrtest.Option { return []csrtest.Option{witness(s, random)} }, nil, 403, "failed popFailed 2"},
	} {
		t.Run(name, func(t *testing.T) {
			p := x.password("strict")
			var more []csrtest.Option
			if test.make != nil {
				more = test.make(string(p.Text))
			}
			d := &cmc.PKIData{Requests: []cmc.Request{request(t, 2, second, "b.example", more...)}}
			if test.signer == first {
				// The message is signed by the key of a request that is refused
				// on its own: its name is another's.
				d.Requests = append(d.Requests, request(t, 1, first, "a.example"))
			}
			for _, r := range test.random {
				d.Controls = append(d.Controls, cmc.NewControl(9, cmc.OIDPopLinkRandom, cmc.Octets(r)))
			}
			g := x.post("strict", message(t, proven(d, p), signedByKey(test.signer)))
			id := g.Header.Get("X-Request-Id")
			if test.signer == first {
				id += ".2"
			}
			record, _ := x.last(id)
			if issued := record.Outcome == "issued"; issued != (test.status == 200) || test.said != "" && string(record.FailInfo) != "popFailed" {
				t.Errorf("%d, %s: %s", g.StatusCode, record.Outcome, record.Reason)
			}
		})
	}
}

func TestControlsThatAreRefused(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	with := func(controls ...cmc.Control) *cmc.PKIData {
		return &cmc.PKIData{Controls: controls, Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "a.site.example")}}
	}
	unknown := cmc.Control{ID: 6, Type: asn1.ObjectIdentifier{1, 2, 3}, Values: [][]byte{csrtest.INTEGER(1)}}
	processed := cmc.NewControl(7, cmc.OIDControlProcessed, must(cmc.MarshalProcessed(cmc.To(6))))
	orm := with()
	orm.Requests = append(orm.Requests, must(cmc.NewOther(3, asn1.ObjectIdentifier{1, 2, 3}, csrtest.SEQ())))
	stranger := x.device("dev-1")
	for name, test := range map[string]struct {
		data   *cmc.PKIData
		status int
		said   string
	}{
		"unknown ones":              {with(unknown, cmc.Control{ID: 8, Type: asn1.ObjectIdentifier{1, 2, 4}}), 400, "failed badRequest 6 8"},
		"lraPOPWitness of nothing":  {with(cmc.NewControl(6, cmc.OIDLraPOPWitness, must(cmc.POPWitness{Requests: []cmc.BodyPartID{2}}.Marshal()))), 400, "failed badRequest 6"},
		"raIdentityWitness of it":   {with(cmc.NewControl(6, cmc.OIDRAIdentityWitness, must(cmc.MarshalPath([]cmc.BodyPartID{2})))), 400, "failed badRequest 6"},
		"batchRequests":             {with(cmc.NewControl(6, cmc.OIDBatchRequests, must(cmc.MarshalPath([]cmc.BodyPartID{1})))), 400, "failed badRequest 6"},
		"a request of a new format": {orm, 400, "noSupport 3"},
		"nothing to do":             {&cmc.PKIData{Controls: cmc.Controls{cmc.NewControl(6, cmc.OIDRegInfo, cmc.Octets(nil))}}, 400, "failed badRequest 0"},
	} {
		t.Run(name, func(t *testing.T) {
			x.wants(name, x.post("cmc", message(t, test.data, byCert(registrar), registrar.Leaf)), test.status, test.said, "")
		})
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Fatalf("%d orders", n)
	}
	if g := x.post("cmc", message(t, with(unknown, processed), byCert(registrar), registrar.Leaf)); g.StatusCode != 200 {
		t.Errorf("an unknown control that the RA has processed: %d", g.StatusCode)
	}
	for oid, said := range map[string]string{cmc.OIDLraPOPWitness: "failed popFailed 6", cmc.OIDRAIdentityWitness: "failed badIdentity 6"} {
		g := x.post("cmc", message(t, with(cmc.NewControl(6, oid, csrtest.SEQ(csrtest.INTEGER(1)))), byCert(stranger), stranger.Leaf))
		x.wants("of a device", g, 400, said, "only a registration authority")
	}
	g := x.post("cmc", message(t, with(unknown, processed), byCert(stranger), stranger.Leaf))
	x.wants("an unknown control that a device says is processed", g, 400, "failed badRequest 6", "")
}

func TestCertificatesOfTheCAAreGiven(t *testing.T) {
	x := newCMC(t)
	device := x.device("dev-1")
	ask := func(c *x509.Certificate) *cmc.PKIData {
		id := cmc.CertID{Issuer: c.RawIssuer, Serial: c.SerialNumber}
		return &cmc.PKIData{Controls: cmc.Controls{cmc.NewControl(3, cmc.OIDGetCert, must(id.MarshalGetCert()))}}
	}
	ca := x.ca.Intermediate.Certificate
	g := x.post("cmc", message(t, ask(ca), byCert(device), device.Leaf))
	if g.StatusCode != 200 || !g.certs(t)[0].Equal(ca) {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
	x.wants("a device's", x.post("cmc", message(t, ask(device.Leaf), byCert(device), device.Leaf)), 404, "failed badCertId 3", "")
	confirm := &cmc.PKIData{Controls: cmc.Controls{cmc.NewControl(3, cmc.OIDConfirmCert, must(cmc.CertID{Issuer: ca.RawSubject, Serial: ca.SerialNumber}.Marshal()))}}
	x.wants("a confirmation", x.post("cmc", message(t, confirm, byCert(device), device.Leaf)), 200, "success 3", "")
}
