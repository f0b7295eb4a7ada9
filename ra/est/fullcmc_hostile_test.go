// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/ratest"
)

// most is what one refusal may allocate, client and TLS with it: a body is read
// with 64 KiB, and copied some times on its way.
const most = 16 << 20

// counted posts, and gives the records that came of it. What was allocated
// meanwhile is held to a bound, whatever the time it took.
func (x *site) counted(t *testing.T, post func() got) (got, []*audit.Record) {
	t.Helper()
	x.mu.Lock()
	before := len(x.records)
	x.mu.Unlock()
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	g := post()
	runtime.ReadMemStats(&end)
	if n := end.TotalAlloc - start.TotalAlloc; n > most {
		t.Errorf("%d bytes were allocated, more than %d", n, most)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return g, slices.Clone(x.records[before:])
}

// refusedOnce posts a message that must be refused as one.
func (x *cmcSite) refusedOnce(t *testing.T, label, body string, status int, said string, certs ...tls.Certificate) {
	t.Helper()
	g, records := x.counted(t, func() got { return x.post(label, body, certs...) })
	_, issued, text := x.response(g)
	if g.StatusCode != status || !slices.Contains(strings.Split(said, " or "), text) || len(issued) > 0 {
		t.Errorf("%d, %s, %d certificates; want %d, %s", g.StatusCode, text, len(issued), status, said)
	}
	if len(records) != 1 || records[0].Status != status || records[0].Cert != nil || records[0].Outcome != "refused" && records[0].Outcome != "failed" {
		t.Errorf("%d records; the first: %+v", len(records), records[0])
	}
}

var b64 = base64.StdEncoding.EncodeToString

// signedBytes is a message over any content.
func signedBytes(content []byte, c tls.Certificate, certs ...*x509.Certificate) string {
	if certs == nil {
		certs = certificates{c.Leaf}
	}
	return b64(must(cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: content}, certs, byCert(c))))
}

// nested are sequences within each other.
func nested(levels int) []byte {
	der := []byte{}
	for range levels {
		der = csrtest.SEQ(der)
	}
	return der
}

func TestThreat_MalformedCMCIsRefusedOnceAndAtABoundedCost(t *testing.T) {
	x := newCMC(t)
	device := x.device("dev-1")
	empty := []byte{0x30, 0}
	pki := func(lists ...[]byte) []byte { // the lists of PKIData, of which the rest is empty
		for len(lists) < 4 {
			lists = append(lists, empty)
		}
		return csrtest.SEQ(lists...)
	}
	control := func(id int) []byte {
		return csrtest.SEQ(csrtest.INTEGER(int64(id)), []byte{6, 1, 0x2a, 0x31, 0})
	}
	var controls, few, tcrs, values []byte
	for i := range 3500 {
		controls = append(controls, control(i+1)...)
		if i < 257 {
			few = controls
		}
		tcrs = append(tcrs, csrtest.ConstructedName(0, csrtest.INTEGER(int64(i+1)), empty)...)
		values = append(values, 5, 0)
	}
	message := func(certs, signers []byte) string {
		info := csrtest.SEQ(csrtest.OID(cms.IDPKIData), csrtest.ConstructedName(0, csrtest.Text(4, string(pki()))))
		return b64(csrtest.SEQ(csrtest.OID(cms.IDSignedData), csrtest.ConstructedName(0, csrtest.SEQ(csrtest.INTEGER(3), csrtest.SET(), info, certs, csrtest.SET(signers)))))
	}
	many := bytes.Repeat(empty, 20_000)
	good := must(base64.StdEncoding.DecodeString(signedBytes(pki(), device)))
	length := func(n uint16) string { // of the outermost element
		return b64(append([]byte{0x30, 0x82, byte(n >> 8), byte(n)}, good[4:]...))
	}
	right := uint16(len(good) - 4)
	var endless []byte
	for range 20_000 {
		endless = append(endless, 0x30, 0x80)
	}
	for name, test := range map[string]struct {
		body   string
		status int
		said   string
	}{
		"20,000 levels of indefinite length": {b64(endless), 400, "failed badRequest 0"},
		"6,000 levels":                       {b64(nested(6000)), 400, "failed badRequest 0"},
		"6,000 levels that are signed":       {signedBytes(nested(6000), device), 400, "failed badRequest 0"},
		"6,000 levels in a control":          {signedBytes(pki(csrtest.SEQ(csrtest.SEQ(csrtest.INTEGER(1), csrtest.OID(cmc.OIDRegInfo), csrtest.SET(nested(6000))))), device), 400, "failed badRequest 0"},
		"40 KiB of empty sequences":          {b64(csrtest.SEQ(many)), 400, "failed badRequest 0"},
		"40 KiB of them that are signed":     {signedBytes(csrtest.SEQ(many), device), 400, "failed badRequest 0"},
		"40 KiB of them as certificates":     {message(csrtest.ConstructedName(0, many), nil), 400, "failed badRequest 0"},
		"40 KiB of them as signers":          {message(nil, many), 400, "failed badRequest 0"},
		"3,500 of them as certificates":      {message(csrtest.ConstructedName(0, many[:7000]), nil), 400, "failed badRequest 0"},
		"3,500 of them as signers":           {message(nil, many[:7000]), 400, "failed badRequest 0"},
		"nobody as signer":                   {message(nil, nil), 403, "failed badMessageCheck 0"},
		"3,500 controls":                     {signedBytes(pki(csrtest.SEQ(controls)), device), 400, "failed badRequest 0"},
		"257 controls":                       {signedBytes(pki(csrtest.SEQ(few)), device), 400, "failed badRequest 0"},
		"3,500 requests":                     {signedBytes(pki(empty, csrtest.SEQ(tcrs)), device), 400, "failed badRequest 0"},
		"3,500 values of a control":          {signedBytes(pki(csrtest.SEQ(csrtest.SEQ(csrtest.INTEGER(5), csrtest.OID(cmc.OIDRegInfo), csrtest.SET(values)))), device), 400, "failed badRequest 5"},
		"60 KiB that are one control's":      {signedBytes(pki(csrtest.SEQ(csrtest.SEQ(csrtest.INTEGER(5), csrtest.OID(cmc.OIDTransactionID), csrtest.SET(csrtest.TLV(2, bytes.Repeat([]byte{1}, 40<<10)))))), device), 400, "failed badRequest 0"},
		"a length that is one too small":     {length(right - 1), 400, "failed badRequest 0"},
		"a length that is one too large":     {length(right + 1), 400, "failed badRequest 0"},
		"a length of nothing":                {length(0), 400, "failed badRequest 0"},
		"a length of 4 GiB":                  {b64(append([]byte{0x30, 0x84, 255, 255, 255, 255}, good[4:]...)), 400, "failed badRequest 0"},
		"a length of 126 bytes":              {b64(append([]byte{0x30, 0xfe}, bytes.Repeat([]byte{255}, 126)...)), 400, "failed badRequest 0"},
		"half of a message":                  {b64(good[:len(good)/2]), 400, "failed badRequest 0"},
		"a message, and a byte":              {b64(append(bytes.Clone(good), 0)), 400, "failed badRequest 0"},
		"a message twice":                    {b64(append(bytes.Clone(good), good...)), 400, "failed badRequest 0"},
		"PKIData, and a byte":                {signedBytes(append(pki(), 0), device), 400, "failed badRequest 0"},
		"PKIData of three lists":             {signedBytes(csrtest.SEQ(empty, empty, empty), device), 400, "failed badRequest 0"},
		"an id of 5 bytes":                   {signedBytes(pki(csrtest.SEQ(csrtest.SEQ(csrtest.INTEGER(1<<32), csrtest.OID(cmc.OIDRegInfo), csrtest.SET()))), device), 400, "failed badRequest 0"},
		"a negative id":                      {signedBytes(pki(csrtest.SEQ(csrtest.SEQ(csrtest.INTEGER(-1), csrtest.OID(cmc.OIDRegInfo), csrtest.SET()))), device), 400, "failed badRequest 0"},
		"the id 0, which is the whole":       {signedBytes(pki(csrtest.SEQ(control(0))), device), 400, "failed badRequest 0"},
		"an id twice":                        {signedBytes(pki(csrtest.SEQ(control(7), control(7))), device), 400, "failed badRequest 7"},
	} {
		t.Run(name, func(t *testing.T) { x.refusedOnce(t, "cmc", test.body, test.status, test.said) })
	}
	parts := signedBytes(pki(csrtest.SEQ(bytes.Repeat(control(1), 10_000))), device)
	t.Run("10,000 body parts", func(t *testing.T) {
		g, records := x.counted(t, func() got { return x.post("cmc", parts) })
		if g.StatusCode != 413 || len(records) != 1 {
			t.Errorf("%d, %d records", g.StatusCode, len(records))
		}
	})
	x.Limits.Body = 1 << 20
	t.Run("10,000 body parts, where a longer body is let in", func(t *testing.T) {
		x.refusedOnce(t, "cmc", parts, 400, "failed badRequest 0")
	})
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

func TestThreat_SignaturesThatAreNotOfTheMessage(t *testing.T) {
	x := newCMC(t)
	device, own := x.device("dev-1"), x.ca.Intermediate.Device(t, "a.example")
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	key := csrtest.NewKey(t, "P-256")
	ask := func(name string) *cmc.PKIData {
		return &cmc.PKIData{Requests: []cmc.Request{request(t, 1, key, name)}}
	}
	data := func(name string) []byte { return must(ask(name).Marshal()) }
	first, second := data("a.example"), data("b.example")
	for len(second) != len(first) { // signatures differ in length
		second = data("b.example")
	}
	spliced := must(base64.StdEncoding.DecodeString(signedBytes(first, device)))
	spliced = bytes.Replace(spliced, first, second, 1)
	detached := must(base64.StdEncoding.DecodeString(signedBytes([]byte("x"), device)))
	wrapped := csrtest.ConstructedName(0, csrtest.Text(4, "x"))
	detached = bytes.Replace(detached, append(csrtest.OID(cms.IDPKIData), wrapped...), csrtest.SEQ(csrtest.OID(cms.IDPKIData), []byte{5, 0})[2:], 1)
	// Whoever makes a CA of the same name can make a certificate with any
	// issuer, serial number and usage.
	forger := ratest.NewRoot(t, "Intermediate")
	forged := func(of *x509.Certificate, signer crypto.Signer) tls.Certificate {
		template := *of
		template.PublicKey, template.PublicKeyAlgorithm, template.SignatureAlgorithm = nil, 0, 0
		parent := *forger.Certificate
		parent.RawSubject = of.RawIssuer
		der := must(x509.CreateCertificate(rand.Reader, &template, &parent, signer.Public(), forger.Key))
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer, Leaf: must(x509.ParseCertificate(der))}
	}
	likeRA, likeOwn := forged(registrar.Leaf, key), forged(own.Leaf, key)
	if likeRA.Leaf.SerialNumber.Cmp(registrar.Leaf.SerialNumber) != 0 || !bytes.Equal(likeRA.Leaf.RawIssuer, registrar.Leaf.RawIssuer) {
		t.Fatal("the forgery has another issuer or serial number")
	}
	revoke := func(c *x509.Certificate) []byte {
		r := cmc.Revocation{CertID: cmc.CertID{Issuer: c.RawIssuer, Serial: c.SerialNumber}}
		return must((&cmc.PKIData{Controls: cmc.Controls{cmc.NewControl(4, cmc.OIDRevokeRequest, must(r.Marshal()))}}).Marshal())
	}
	revoked := x.ca.Intermediate.Device(t, "revoked.example")
	site := data("a.site.example")
	for name, test := range map[string]struct {
		body   string
		status int
		said   string
		tls    []tls.Certificate
	}{
		"over another content":                          {b64(spliced), 403, "failed badMessageCheck 0", nil},
		"over a content that isn't there":               {b64(detached), 400, "failed badRequest 0", nil},
		"of two, of which one is good":                  {b64(must(cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: first}, certificates{device.Leaf, own.Leaf}, byCert(device), byCert(own)))), 400, "failed badRequest 0", nil},
		"of a forged RA":                                {signedBytes(site, likeRA), 403, "failed badIdentity 1", nil},
		"of a forged RA, with the RA's certificate":     {signedBytes(site, likeRA, likeRA.Leaf, registrar.Leaf), 403, "failed badIdentity 1 or failed badMessageCheck 0", nil},
		"of a forged certificate of this CA":            {signedBytes(first, likeOwn), 403, "failed badIdentity 1", nil},
		"of a certificate that is revoked":              {signedBytes(data("revoked.example"), revoked), 403, "failed badIdentity 1", nil},
		"of a certificate that isn't sent":              {signedBytes(first, device, own.Leaf), 403, "failed badMessageCheck 0", nil},
		"of an end entity, with an RA's certificate":    {signedBytes(data("z.site.example"), own, own.Leaf, registrar.Leaf), 403, "failed popFailed 1", nil},
		"of an end entity, for another subject":         {signedBytes(second, own), 403, "failed popFailed 1", nil},
		"of another device than that of the connection": {signedBytes(first, own), 403, "failed badIdentity 0", certOf(device)},
		"of another, with a request that isn't one":     {signedBytes(csrtest.SEQ([]byte{0x30, 0}, csrtest.SEQ(csrtest.ConstructedName(0, csrtest.INTEGER(1), csrtest.SEQ())), []byte{0x30, 0}, []byte{0x30, 0}), own), 403, "failed badIdentity 0", certOf(device)},
		"of nobody, which an RA brings":                 {message(t, ask("n.site.example"), signedByKey(key)), 403, "failed badIdentity 1", certOf(registrar)},
		"of a device, to revoke another's":              {signedBytes(revoke(own.Leaf), device, device.Leaf, own.Leaf), 403, "failed badRequest 4", nil},
		"of an RA, to revoke by a forged certificate":   {signedBytes(revoke(own.Leaf), registrar, registrar.Leaf, forged(own.Leaf, key).Leaf), 404, "failed badCertId 4", nil},
	} {
		t.Run(name, func(t *testing.T) { x.refusedOnce(t, "cmc", test.body, test.status, test.said, test.tls...) })
	}
	if n, m := len(x.ca.Orders()), len(x.ca.Revoked()); n+m != 0 {
		t.Errorf("%d orders, %d revocations", n, m)
	}
}

func TestThreat_WhatWasSentBeforeIsRefused(t *testing.T) {
	x := newCMC(t)
	device, stranger := x.device("dev-1"), x.device("dev-2")
	ask := func(name string, controls ...cmc.Control) *cmc.PKIData {
		return &cmc.PKIData{Controls: controls, Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), name)}}
	}
	nonce := func(n string) cmc.Control { return cmc.NewControl(8, cmc.OIDSenderNonce, cmc.Octets([]byte(n))) }
	transaction := func(n int64) cmc.Control {
		return cmc.NewControl(9, cmc.OIDTransactionID, cmc.Integer(big.NewInt(n)))
	}
	plain := signedBytes(must(ask("a.example").Marshal()), device)
	for _, body := range []string{
		plain, signedBytes(must(ask("b.example", nonce("1"), transaction(1)).Marshal()), device),
		signedBytes(must(ask("c.example", nonce("1"), transaction(1)).Marshal()), stranger), // another's are its own
	} {
		if g := x.post("cmc", body); g.StatusCode != 200 {
			t.Fatalf("%d %s", g.StatusCode, g.body)
		}
	}
	issued := len(x.ca.Issued())
	for name, data := range map[string]*cmc.PKIData{
		"a nonce":                          ask("d.example", nonce("1")),
		"a nonce, in a new transaction":    ask("e.example", nonce("1"), transaction(2)),
		"a transaction":                    ask("f.example", transaction(1)),
		"a transaction, with a new nonce":  ask("g.example", nonce("2"), transaction(1)),
		"a transaction of 65 bytes":        ask("h.example", cmc.NewControl(9, cmc.OIDTransactionID, cmc.Integer(new(big.Int).Lsh(big.NewInt(1), 520)))),
		"a nonce that isn't one":           ask("i.example", cmc.NewControl(8, cmc.OIDSenderNonce, cmc.UTF8("1"))),
		"two nonces":                       ask("j.example", nonce("3"), cmc.NewControl(10, cmc.OIDSenderNonce, cmc.Octets([]byte("4")))),
		"a transaction that isn't integer": ask("k.example", cmc.NewControl(9, cmc.OIDTransactionID, cmc.UTF8("1"))),
	} {
		t.Run(name, func(t *testing.T) {
			g, records := x.counted(t, func() got { return x.post("cmc", message(t, data, byCert(device), device.Leaf)) })
			if _, _, said := x.response(g); g.StatusCode != 400 || !strings.HasPrefix(said, "failed badRequest") || len(records) != 1 {
				t.Errorf("%d, %s, %d records", g.StatusCode, said, len(records))
			}
		})
	}
	t.Run("the very message", func(t *testing.T) { x.refusedOnce(t, "cmc", plain, 400, "failed badRequest 0") })
	if n := len(x.ca.Issued()); n != issued {
		t.Errorf("%d certificates were issued to repeats", n-issued)
	}
}
