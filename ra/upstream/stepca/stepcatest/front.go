// SPDX-License-Identifier: Apache-2.0

package stepcatest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"sync"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// A Front is between an RA and step-ca: it notes what step-ca does, also where the
// RA never learns of it, and answers in its place.
type Front struct {
	URL string

	ca   *CA
	note func(what, serial string, key []byte)

	mu    sync.RWMutex // of the CA's address, which may change when it starts again
	spoil chan func(*Asked)
}

// Front starts one, which ends with the test. note is told of each certificate that
// was "issued", with its serial number in hex and its SubjectPublicKeyInfo, and of
// what was "revoked".
func (ca *CA) Front(note func(what, serial string, key []byte)) *Front {
	ca.t.Helper()
	f := &Front{ca: ca, note: note, spoil: make(chan func(*Asked), 16)}
	f.URL = upstreamtest.NewFront(ca.t, ca.serverCertificate(), ca.tls(), f.address, f.handle).URL
	return f
}

// Fronted is how a front of the suite of upstreams stands before the CA.
func (ca *CA) Fronted() *upstreamtest.CA {
	ca.t.Helper()
	return &upstreamtest.CA{
		Name: "step-ca", URL: ca.URL, TLS: ca.tls(), Server: ca.serverCertificate(), Issuer: ca.hier.intermediate.signer(),
		Signs: signs, Reissue: upstreamtest.ReissueJSON("crt"),
	}
}

func (ca *CA) serverCertificate() tls.Certificate {
	ca.t.Helper()
	return upstreamtest.ServerCertificate(ca.t, ca.hier.root.signer())
}

// tls verifies the CA.
func (ca *CA) tls() *tls.Config { return upstream.TLS([]*x509.Certificate{ca.Root}, nil, nil) }

func (p pair) signer() ratest.Signer { return ratest.Signer{Certificate: p.cert, Key: p.key} }

// Spoil has the next requests for a certificate answered by these, one each.
func (f *Front) Spoil(by ...func(*Asked)) {
	for _, b := range by {
		f.spoil <- b
	}
}

// Restart starts the CA again.
func (f *Front) Restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ca.Restart()
}

// Kill ends the CA.
func (f *Front) Kill() {
	f.mu.RLock()
	defer f.mu.RUnlock()
	f.ca.Stop()
}

func (f *Front) address() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ca.URL
}

// handle passes on what it doesn't answer itself.
func (f *Front) handle(asked *upstreamtest.Asked) {
	a := &Asked{Asked: asked, front: f}
	if signs(a.Request) {
		select {
		case spoil := <-f.spoil:
			spoil(a)
			return
		default:
		}
	}
	if !a.Pass() {
		a.Reset()
		return
	}
	a.Answer()
}

// signs tells a request for a certificate from others.
func signs(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/sign") }

// Asked is what the RA has asked.
type Asked struct {
	*upstreamtest.Asked

	front *Front
}

// Pass asks the CA; false: there was no answer.
func (a *Asked) Pass() bool {
	if !a.Asked.Pass() {
		return false
	}
	if strings.HasSuffix(a.Request.URL.Path, "/revoke") && (a.Status < 300 || bytes.Contains(a.Body, []byte("already revoked"))) {
		if serial, ok := new(big.Int).SetString(a.claims().Subject, 10); ok {
			a.front.note("revoked", hexOf(serial), nil)
		}
	}
	if cert := a.certificate(); cert != nil {
		a.Issued(cert)
	}
	return true
}

// Issued notes a certificate.
func (a *Asked) Issued(cert *x509.Certificate) {
	a.front.note("issued", hexOf(cert.SerialNumber), cert.RawSubjectPublicKeyInfo)
}

// Perhaps notes that the certificate that was asked for may have been issued.
func (a *Asked) Perhaps() {
	serial, ok := new(big.Int).SetString(a.claims().Estra.Serial, 10)
	var request struct {
		CSR string `json:"csr"`
	}
	if err := json.Unmarshal(a.Sent, &request); err != nil || !ok {
		return
	}
	block, _ := pem.Decode([]byte(request.CSR))
	if block == nil {
		return
	}
	if csr, err := x509.ParseCertificateRequest(block.Bytes); err == nil {
		a.front.note("perhaps", hexOf(serial), csr.RawSubjectPublicKeyInfo)
	}
}

type claimed struct {
	Subject string `json:"sub"`
	Estra   struct {
		Serial string `json:"serial"`
	} `json:"estra"`
}

func (a *Asked) claims() (c claimed) {
	var request struct {
		OTT string `json:"ott"`
	}
	if err := json.Unmarshal(a.Sent, &request); err != nil {
		return c
	}
	token, err := jose.ParseSigned(request.OTT)
	if err != nil {
		return c
	}
	_ = token.UnsafeClaimsWithoutVerification(&c) // what isn't there isn't noted
	return c
}

func (a *Asked) certificate() *x509.Certificate {
	var answer struct {
		Certificate string `json:"crt"`
	}
	if a.Status != http.StatusCreated || json.Unmarshal(a.Body, &answer) != nil {
		return nil
	}
	certs, err := upstream.Certificates([]byte(answer.Certificate))
	if err != nil {
		return nil
	}
	return certs[0]
}

// A Forgery is how a certificate isn't the one that was ordered.
type Forgery struct {
	Change   func(*x509.Certificate)
	Key      crypto.PublicKey // nil: that of the order
	Stranger bool             // of a CA with the same name and another key
	Void     bool             // it is valid for nobody
}

// Forge answers with a certificate that isn't the one that was ordered, in its
// place, with its serial number.
func (a *Asked) Forge(how Forgery) {
	ca := a.front.ca
	if !a.Asked.Pass() || a.certificate() == nil {
		a.Reset()
		return
	}
	template := a.certificate()
	key, issuer := template.PublicKey, ca.hier.intermediate
	if how.Key != nil {
		key = how.Key
	}
	if how.Change != nil {
		template.ExtraExtensions = nil
		how.Change(template)
	}
	if how.Stranger {
		issuer = authorityPair(ca.t, issuer.cert.Subject.CommonName, &ca.hier.root)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, key, issuer.key)
	if err != nil {
		a.Reset()
		return
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Reset()
		return
	}
	what := "issued"
	if how.Void {
		what = "void"
	}
	a.front.note(what, hexOf(cert.SerialNumber), cert.RawSubjectPublicKeyInfo)
	if a.Body, err = json.Marshal(map[string]string{"crt": string(certPEM(cert))}); err != nil {
		a.Reset()
		return
	}
	a.Answer()
}

func hexOf(serial *big.Int) string { return hex.EncodeToString(serial.Bytes()) }
