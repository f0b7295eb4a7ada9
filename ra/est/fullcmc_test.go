// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/wire"
)

const cmcRules = `
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
      reenroll: {who: [{client_cert: {anchor: ours}}], linking: required, same_key: forbid}
      on_behalf:
        who: [{client_cert: {anchor: ours, role: ra, subject: {CN: ra.example}}, names: ["*.site.example"]}]
        linking: trusted
      revoke: {own: true, by_ra: true}
BODY
  strict:
    labels: [strict]
    enroll: {who: [{client_cert: {anchor: idevid}}], linking: if_present}
    fullcmc:
      enroll: {who: [{one_time_password: {}}], linking: required}
BODY
  told:
    labels: [told]
    fullcmc:
      enroll: {who: [{one_time_password: {}}], linking: if_present}
      status_info: both
      publish_anchors: true
BODY
  old:
    labels: [old]
    fullcmc:
      enroll: {who: [{one_time_password: {v1: true}}], linking: if_present}
BODY
`

// A cmcSite is a site that takes CMC.
type cmcSite struct {
	*onceSite
	own tls.Certificate
}

func newCMC(t testing.TB) *cmcSite {
	x := &cmcSite{}
	x.onceSite = newOnce(t, func(s *site) {
		s.Policy = policyOf(t, strings.ReplaceAll(cmcRules, "BODY", strings.Trim(body, "\n")))
		s.Authority = &ra.Authority{Policy: s.Policy, CAs: s.Authority.CAs, Claims: s.Authority.Claims, Keys: s.Authority.Keys}
		x.own = s.ca.Intermediate.Device(t, "est.example", forCMCRA)
		s.Certificate = func(*http.Request) (*tls.Certificate, error) { return &x.own, nil }
	})
	return x
}

// password makes one for identity proofs.
func (x *cmcSite) password(label string, bound ...string) store.Created {
	x.t.Helper()
	template := store.Template{Label: label, Expires: x.clock.Add(time.Hour), Proof: true}
	if len(bound) > 0 {
		var err error
		if template.Names.Names.Subject, err = csr.ParseName(bound[0]); err != nil {
			x.t.Fatal(err)
		}
		template.Names.Subject = true
	}
	made, err := x.store.Passwords().Create(x.t.Context(), []store.Template{template}, x.clock)
	if err != nil {
		x.t.Fatal(err)
	}
	return made[0]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// keyID is the subjectKeyIdentifier of a key.
func keyID(key crypto.Signer) []byte {
	sum := sha1.Sum(must(x509.MarshalPKIXPublicKey(key.Public())))
	return sum[:]
}

// request is a PKCS #10 of a key, which names it.
func request(t testing.TB, id cmc.BodyPartID, key crypto.Signer, name string, more ...csrtest.Option) cmc.Request {
	t.Helper()
	return must(cmc.NewPKCS10(id, csrtest.New(t, append([]csrtest.Option{
		csrtest.Signer(key), csrtest.Subject(csrtest.CN(name)), csrtest.SAN(csrtest.DNS(name)),
		csrtest.Extension(csr.OIDSubjectKeyIdentifier, false, cmc.Octets(keyID(key))),
	}, more...)...)))
}

// proven adds the identity proof of a password.
func proven(d *cmc.PKIData, p store.Created) *cmc.PKIData {
	w := cmc.NewWitness([]byte(p.Text), p.ID, must(d.MarshalRequests()))
	d.Controls = append(d.Controls,
		cmc.NewControl(1001, cmc.OIDIdentification, cmc.UTF8(p.ID)),
		cmc.NewControl(1002, cmc.OIDIdentityProofV2, must(w.Marshal())))
	return d
}

func message(t testing.TB, d *cmc.PKIData, signer cms.Signer, certs ...*x509.Certificate) string {
	t.Helper()
	der := must(cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: must(d.Marshal())}, certs, signer))
	return base64.StdEncoding.EncodeToString(der)
}

func signedByKey(key crypto.Signer) cms.Signer {
	return cms.Signer{Key: key, ID: cms.SubjectKeyID(keyID(key))}
}

func byCert(c tls.Certificate) cms.Signer {
	return cms.Signer{Key: c.PrivateKey.(crypto.Signer), ID: cms.IssuerAndSerial(c.Leaf)}
}

func (x *cmcSite) post(label, body string, certs ...tls.Certificate) got {
	x.t.Helper()
	return x.do(call{path: label + "/fullcmc", body: body, certs: certs, header: http.Header{"Content-Type": {wire.TypeCMCRequest}}})
}

// response opens a Full PKI Response and says in short what is in it.
func (x *cmcSite) response(g got) (r *cmc.PKIResponse, certs []*x509.Certificate, text string) {
	x.t.Helper()
	if kind := g.Header.Get("Content-Type"); kind != wire.TypeCMCResponse {
		x.t.Fatalf("%d, Content-Type %q: %s", g.StatusCode, kind, g.body)
	}
	der, _, err := wire.DecodeBody([]byte(g.body))
	if err != nil {
		x.t.Fatal(err)
	}
	v, err := must(cms.ReadSigned(der)).Verify(cms.FindCertificate())
	if err != nil {
		x.t.Fatal(err)
	}
	return x.read(v)
}

// read reads the response that was verified.
func (x *cmcSite) read(v *cms.Verified) (r *cmc.PKIResponse, certs []*x509.Certificate, text string) {
	x.t.Helper()
	var err error
	if signer := v.Signers()[0].Key.Certificate; !signer.Equal(x.own.Leaf) {
		x.t.Errorf("signed by %v", signer.Subject)
	}
	if r, err = cmc.ParsePKIResponse(v.Content().Bytes); err != nil {
		x.t.Fatal(err)
	}
	var parts []string
	for _, c := range r.Controls.All(cmc.OIDStatusInfoV2) {
		s := must(cmc.ParseStatusInfo(c.Values[0]))
		part := s.Status.String()
		if s.Fail != nil {
			part += " " + s.Fail.String()
		}
		for _, b := range s.Bodies {
			part += fmt.Sprintf(" %d", b.ID)
		}
		parts = append(parts, part)
	}
	for _, c := range v.Certificates() {
		if !c.Equal(x.own.Leaf) && !c.IsCA {
			certs = append(certs, c)
		}
	}
	return r, certs, strings.Join(parts, ", ")
}

// wants checks status, what the response says, and the record.
func (x *cmcSite) wants(what string, g got, status int, text, reason string) {
	x.t.Helper()
	_, _, said := x.response(g)
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if g.StatusCode != status || said != text || !strings.Contains(string(record.Reason), reason) {
		x.t.Errorf("%s: %d, %s, reason %q; want %d, %s, %q", what, g.StatusCode, said, record.Reason, status, text, reason)
	}
}

func TestAPasswordAndAKeyEnrollByCMC(t *testing.T) {
	x := newCMC(t)
	key, p := csrtest.NewKey(t, "P-256"), x.password("cmc", "CN=a.example")
	d := proven(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.example")}}, p)
	g := x.post("cmc", message(t, d, signedByKey(key)))
	if g.StatusCode != 200 || g.Header.Get("Content-Type") != wire.TypeCertsOnly || g.certs(t)[0].Subject.CommonName != "a.example" {
		t.Fatalf("%d %v %s", g.StatusCode, g.Header, g.body)
	}
	record, rep := x.last(g.Header.Get("X-Request-Id"))
	if record.Op != "fullcmc.enroll" || record.Who.ID != "one_time_password" && !strings.Contains(string(record.Who.ID), p.ID) ||
		record.TLS.Linked != "matched" || record.Outcome != "issued" || record.Input == nil || rep.Op != "fullcmc" {
		t.Errorf("record %+v, who %+v, report %+v", record, record.Who, rep)
	}
	// The same once more is a replay; with a nonce it is told from its answer.
	x.wants("a replay", x.post("cmc", message(t, d, signedByKey(key))), 400, "failed badRequest 0", "came before")
}

func TestAResponseEchoesWhatItMust(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	d := &cmc.PKIData{
		Controls: cmc.Controls{
			cmc.NewControl(5, cmc.OIDTransactionID, cmc.Integer(big.NewInt(77))),
			cmc.NewControl(6, cmc.OIDSenderNonce, cmc.Octets([]byte("nonce of the client"))),
			cmc.NewControl(7, cmc.OIDDataReturn, cmc.Octets([]byte("state"))),
			cmc.NewControl(8, cmc.OIDRegInfo, cmc.Octets([]byte("rack 7"))),
		},
		Requests: []cmc.Request{request(t, 1, key, "a.example")},
	}
	g := x.post("cmc", message(t, proven(d, x.password("cmc")), signedByKey(key)))
	r, certs, said := x.response(g)
	if g.StatusCode != 200 || said != "success 1" || len(certs) != 1 || certs[0].Subject.CommonName != "a.example" {
		t.Fatalf("%d, %s, %v", g.StatusCode, said, certs)
	}
	n, _, _ := r.Controls.TransactionID()
	back, _, _ := r.Controls.Octets(cmc.OIDRecipientNonce)
	state, _, _ := r.Controls.Octets(cmc.OIDDataReturn)
	nonce, _, _ := r.Controls.Octets(cmc.OIDSenderNonce)
	if n.Int64() != 77 || string(back) != "nonce of the client" || string(state) != "state" || len(nonce) != 16 {
		t.Errorf("transaction %v, nonce %q, data %q, own nonce %x", n, back, state, nonce)
	}
	again := &cmc.PKIData{Controls: d.Controls[1:2], Requests: []cmc.Request{request(t, 1, key, "b.example")}}
	x.wants("a nonce that came before", x.post("cmc", message(t, proven(again, x.password("cmc")), signedByKey(key))), 400, "failed badRequest 0", "came before")
	again = &cmc.PKIData{Controls: append(cmc.Controls{cmc.NewControl(6, cmc.OIDSenderNonce, cmc.Octets([]byte("another")))}, d.Controls[0]), Requests: d.Requests}
	x.wants("a transaction that came before", x.post("cmc", message(t, proven(again, x.password("cmc")), signedByKey(key))), 400, "failed badRequest 0", "came before")
}

func TestIdentityProofsThatAreRefused(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "P-256")
	fresh := func() *cmc.PKIData { return &cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.example")}} }
	good := x.password("cmc")
	plain := x.otp("cmc")
	other := x.password("strict")
	bound := x.password("cmc", "CN=b.example")
	wrong := good
	wrong.Text += "x"
	stranger := good
	stranger.ID = "aaaaaaaaaa"
	swapped := proven(fresh(), good)
	swapped.Requests = []cmc.Request{request(t, 1, key, "b.example")}
	twice := proven(fresh(), good)
	twice.Controls = append(twice.Controls, cmc.NewControl(1003, cmc.OIDIdentityProofV2, twice.Controls[1].Values[0]))
	first := fresh()
	first.Controls = cmc.Controls{cmc.NewControl(3, cmc.OIDIdentityProof, cmc.Octets(cmc.WitnessV1([]byte(good.Text), "", must(first.MarshalRequests()))))}
	w := cmc.NewWitness([]byte(good.Text), good.ID, nil)
	w.Hash = cmc.NewControl(1, "2.16.840.1.101.3.4.2.3").Type
	sha512 := fresh()
	sha512.Controls = cmc.Controls{cmc.NewControl(3, cmc.OIDIdentityProofV2, must(w.Marshal())), cmc.NewControl(4, cmc.OIDIdentification, cmc.UTF8(good.ID))}
	for name, test := range map[string]struct {
		data   *cmc.PKIData
		status int
		said   string
		reason string
	}{
		"none":                              {fresh(), 403, "failed badIdentity 1", "no line of `who` matches"},
		"with another secret":               {proven(fresh(), wrong), 403, "failed badIdentity 0", "was not made with a one-time password"},
		"of a password that there isn't":    {proven(fresh(), stranger), 403, "failed badIdentity 0", "was not made with a one-time password"},
		"of a password not made for CMC":    {proven(fresh(), plain), 403, "failed badIdentity 0", "was not made with a one-time password"},
		"of a password of another label":    {proven(fresh(), other), 403, "failed badIdentity 0", "is for the label"},
		"of a password for another subject": {proven(fresh(), bound), 403, "failed badIdentity 1", "is for another subject"},
		"over other requests":               {swapped, 403, "failed badIdentity 0", "was not made with a one-time password"},
		"twice":                             {twice, 400, "failed badRequest 1003", "occurs twice"},
		"of the first version":              {first, 400, "failed badIdentity 3", "SHA-1"},
		"by an algorithm that isn't kept":   {sha512, 400, "failed badAlg 0", "SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			x.wants(name, x.post("cmc", message(t, test.data, signedByKey(key))), test.status, test.said, test.reason)
		})
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

func TestMessagesThatNobodyHasSigned(t *testing.T) {
	x := newCMC(t)
	key, p := csrtest.NewKey(t, "P-256"), x.password("cmc")
	d := proven(&cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, "a.example")}}, p)
	good := message(t, d, signedByKey(key))
	der := must(base64.StdEncoding.DecodeString(good))
	at := strings.Index(string(der), "a.example")
	changed := append([]byte{}, der...)
	changed[at] = 'b'
	other := csrtest.NewKey(t, "P-256")
	foreign := cms.Signer{Key: other, ID: cms.SubjectKeyID(keyID(key))}
	nobody := cms.Signer{Key: other, ID: cms.SubjectKeyID(keyID(other))}
	text := must(cms.Sign(cms.Content{Type: cms.IDData, Bytes: []byte("x")}, certificates{x.device("a.example").Leaf}, byCert(x.device("a.example"))))
	b64 := base64.StdEncoding.EncodeToString
	for name, test := range map[string]struct {
		body   string
		status int
		said   string
	}{
		"a changed content":           {b64(changed), 403, "failed badMessageCheck 0"},
		"a changed signature":         {b64(append(der[:len(der)-1:len(der)-1], der[len(der)-1]^1)), 403, "failed badMessageCheck 0"},
		"another key":                 {message(t, d, foreign), 403, "failed badMessageCheck 0"},
		"a key that isn't there":      {message(t, d, nobody), 403, "failed badMessageCheck 0"},
		"two signers":                 {b64(must(cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: must(d.Marshal())}, nil, signedByKey(key), foreign))), 400, "failed badRequest 0"},
		"another content":             {b64(text), 403, "failed badMessageCheck 0"},
		"a PKCS #10":                  {csrBody(t), 400, "failed badRequest 0"},
		"64 KiB of empty sequences":   {b64(csrtest.SEQ([]byte(strings.Repeat("\x30\x00", 20<<10)))), 400, "failed badRequest 0"},
		"not base64":                  {"%%%", 400, "failed badRequest 0"},
		"nothing":                     {" ", 400, "failed badRequest 0"},
		"a message that is encrypted": {b64(csrtest.SEQ(csrtest.OID(cms.IDEnvelopedData), csrtest.ConstructedName(0, csrtest.SEQ()))), 400, "failed badMessageCheck 0"},
	} {
		t.Run(name, func(t *testing.T) {
			x.wants(name, x.post("cmc", test.body), test.status, test.said, "")
		})
	}
	g := x.do(call{path: "cmc/fullcmc", body: good})
	if g.StatusCode != 415 || g.Header.Get("Content-Type") != wire.TypeText {
		t.Errorf("a PKCS #10's media type: %d %v", g.StatusCode, g.Header)
	}
	if g := x.do(call{path: "cmc/simpleenroll"}); g.StatusCode != 404 {
		t.Errorf("simpleenroll, which the profile doesn't offer: %d", g.StatusCode)
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

func TestACertificateOfThisCARenewsItselfByCMC(t *testing.T) {
	x := newCMC(t)
	old := x.ca.Intermediate.Device(t, "a.example")
	key := csrtest.NewKey(t, "P-256")
	ask := func(name string, key crypto.Signer) *cmc.PKIData {
		return &cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, name)}}
	}
	for name, test := range map[string]struct {
		data   *cmc.PKIData
		signer tls.Certificate
		tls    []tls.Certificate
		status int
		said   string
		reason string
	}{
		"another name":                {ask("b.example", key), old, nil, 403, "failed popFailed 1", "the names of the request are not those"},
		"the old key":                 {ask("a.example", old.PrivateKey.(crypto.Signer)), old, nil, 403, "failed noKeyReuse 1", ""},
		"a certificate of another CA": {ask("a.example", key), x.partner.Device(t, "a.example"), nil, 403, "failed badIdentity 1", "no line"},
		"another client on TLS":       {ask("a.example", key), old, certOf(x.device("c.example")), 403, "failed badIdentity 0", "not the signer's"},
	} {
		t.Run(name, func(t *testing.T) {
			x.wants(name, x.post("cmc", message(t, test.data, byCert(test.signer), test.signer.Leaf), test.tls...), test.status, test.said, test.reason)
		})
	}
	// What isn't linked by its names may be by its connection.
	g := x.post("cmc", message(t, ask("b.example", csrtest.NewKey(t, "P-256")), byCert(old), old.Leaf))
	if how := g.Header.Get(binding.HeaderRequired); how != binding.TLSExporter {
		t.Errorf("%s: %q", binding.HeaderRequired, how)
	}
	g = x.post("cmc", message(t, ask("a.example", key), byCert(old), old.Leaf), old)
	if g.StatusCode != 200 || g.certs(t)[0].Subject.CommonName != "a.example" {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if record.Op != "fullcmc.reenroll" || record.Who.Method != "client_cert" || record.ReplacesSerial == "" || record.TLS.Linked != "matched" {
		t.Errorf("record %+v, who %+v, TLS %+v", record, record.Who, record.TLS)
	}
	// An IDevID signs for the first certificate.
	idevid := x.device("dev-1")
	if g := x.post("cmc", message(t, ask("d.example", csrtest.NewKey(t, "P-256")), byCert(idevid), idevid.Leaf)); g.StatusCode != 200 {
		t.Errorf("signed by an IDevID: %d %s", g.StatusCode, g.body)
	}
}
