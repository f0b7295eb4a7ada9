// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// An authority is a CA of two stages.
type authority struct {
	t                  testing.TB
	root, intermediate *x509.Certificate
	rootKey, key       crypto.Signer
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, rootKey: newKey(t), key: newKey(t)}
	ca := x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca.Subject.CommonName = name + " Root"
	a.root = a.sign(ca, a.rootKey.Public(), nil, a.rootKey)
	ca.Subject.CommonName = name + " Issuing"
	a.intermediate = a.sign(ca, a.key.Public(), a.root, a.rootKey)
	return a
}

func (a *authority) sign(template x509.Certificate, public crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(time.Hour)
	if parent == nil {
		parent = &template
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, public, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// issue signs a leaf under the intermediate.
func (a *authority) issue(template x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	return a.sign(template, public, a.intermediate, a.key)
}

// server makes the TLS certificate of an EST server.
func (a *authority) server(change func(*x509.Certificate)) tls.Certificate {
	template := x509.Certificate{
		Subject:     pkix.Name{CommonName: "est server"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(&template)
	}
	key := newKey(a.t)
	leaf := a.issue(template, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.intermediate.Raw}, PrivateKey: key}
}

// A seen request is what a recorder got.
type seen struct {
	method, path, authorization, agent string
	certificates                       int
	body                               []byte
	tls                                tls.ConnectionState
}

// A recorder is an EST server that remembers what it received. Answer is
// asked first; where it gives false, the server behaves.
type recorder struct {
	*httptest.Server
	ca     *authority
	attrs  string // body of /csrattrs; empty: 204
	answer func(http.ResponseWriter, *http.Request, seen) bool

	mu   sync.Mutex
	list []seen
}

func serve(t testing.TB, ca *authority, certificate tls.Certificate, version uint16) *recorder {
	t.Helper()
	r := &recorder{ca: ca}
	r.Server = httptest.NewUnstartedServer(r)
	r.TLS = &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequestClientCert,
		MaxVersion:   version,
	}
	r.EnableHTTP2 = true
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	s := seen{
		method: req.Method, path: req.URL.Path, authorization: req.Header.Get("Authorization"),
		agent: req.UserAgent(), certificates: len(req.TLS.PeerCertificates), body: body, tls: *req.TLS,
	}
	r.mu.Lock()
	r.list = append(r.list, s)
	r.mu.Unlock()
	if r.answer != nil && r.answer(w, req, s) {
		return
	}
	switch {
	case req.Method == http.MethodPost:
		r.enroll(w, body)
	case path.Base(req.URL.Path) == "cacerts":
		sendCerts(w, r.ca.root, r.ca.intermediate)
	case r.attrs == "":
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", wire.TypeCSRAttrs)
		_, _ = io.WriteString(w, r.attrs)
	}
}

func (r *recorder) enroll(w http.ResponseWriter, body []byte) {
	request := parse(r.ca.t, body)
	sendCerts(w, r.ca.issue(x509.Certificate{RawSubject: request.RawSubject, DNSNames: request.DNSNames}, request.PublicKey))
}

func (r *recorder) seen() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

func parse(t testing.TB, body []byte) *x509.CertificateRequest {
	der, _, err := wire.DecodeBody(body)
	if err != nil {
		t.Error(err)
		return new(x509.CertificateRequest)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Error(err)
		return new(x509.CertificateRequest)
	}
	return request
}

func sendCerts(w http.ResponseWriter, certs ...*x509.Certificate) {
	der, _ := cms.CertsOnly(certs...)
	w.Header().Set("Content-Type", wire.TypeCertsOnly)
	_, _ = w.Write(wire.EncodeBody(der, false))
}

// client makes a client that trusts the recorder's CA.
func (r *recorder) client() *Client {
	return &Client{URL: r.URL, Explicit: []*x509.Certificate{r.ca.root}, Timeout: 10 * time.Second}
}

// asksChallenge is a body of /csrattrs that wants a challengePassword among
// other things: RFC 9908 section 5.4.
const asksChallenge = "MCkGCSqGSIb3DQEJBzARBgkqhkiG9w0BAQExBAICEAAGCSqGSIb3DQEBCw=="

// device is a template for a device of this name.
func device(t testing.TB, name string) Template {
	t.Helper()
	dns, err := csr.NewName(csr.DNS, name)
	if err != nil {
		t.Fatal(err)
	}
	return Template{Names: csr.Names{
		Subject: csr.Name{csr.RDN{{Type: []int{2, 5, 4, 3}, Value: name, Text: true}}},
		SAN:     []csr.GeneralName{dns},
		HasSAN:  true,
	}}
}
