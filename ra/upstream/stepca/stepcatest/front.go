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
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"go.step.sm/crypto/jose"
)

// A Front is between an RA and step-ca: it sees what step-ca does, also where the
// RA never learns of it, and answers in its place.
type Front struct {
	URL string

	ca   *CA
	note func(what, serial string, key []byte)
	http *http.Client

	mu    sync.RWMutex // of the CA's address, which may change when it starts again
	spoil chan func(*Asked)
}

// Front starts one, which ends with the test. note is told of each certificate that
// was "issued", with its serial number in hex and its SubjectPublicKeyInfo, and of
// what was "revoked".
func (ca *CA) Front(note func(what, serial string, key []byte)) *Front {
	ca.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca.Root)
	f := &Front{ca: ca, note: note, spoil: make(chan func(*Asked), 16), http: &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}}
	template := skeleton(ca.t, "front")
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	own := sign(ca.t, template, &ca.hier.root)
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{own.cert.Raw}, PrivateKey: own.key}}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	ca.t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

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

// ServeHTTP passes on what it doesn't answer itself.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a := &Asked{front: f, w: w, r: r, body: body}
	if strings.HasSuffix(r.URL.Path, "/sign") {
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

// Asked is what the RA has asked.
type Asked struct {
	// Status and Body are the CA's answer, after Pass.
	Status int
	Body   []byte

	front *Front
	w     http.ResponseWriter
	r     *http.Request
	body  []byte
}

// Pass asks the CA; false: there was no answer.
func (a *Asked) Pass() bool {
	if !a.pass() {
		return false
	}
	if strings.HasSuffix(a.r.URL.Path, "/revoke") && (a.Status < 300 || bytes.Contains(a.Body, []byte("already revoked"))) {
		if serial, ok := new(big.Int).SetString(a.claims().Subject, 10); ok {
			a.front.note("revoked", hexOf(serial), nil)
		}
	}
	if cert := a.certificate(); cert != nil {
		a.Issued(cert)
	}
	return true
}

func (a *Asked) pass() bool {
	a.front.mu.RLock()
	address := a.front.ca.URL
	a.front.mu.RUnlock()
	req, err := http.NewRequestWithContext(a.r.Context(), a.r.Method, address+a.r.URL.RequestURI(), bytes.NewReader(a.body))
	if err != nil {
		return false
	}
	req.Header = a.r.Header.Clone()
	res, err := a.front.http.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	a.Body, err = io.ReadAll(res.Body)
	a.Status = res.StatusCode
	for _, name := range []string{"Content-Type", "Retry-After"} {
		a.w.Header().Set(name, res.Header.Get(name))
	}
	return err == nil
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
	if err := json.Unmarshal(a.body, &request); err != nil || !ok {
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
	if err := json.Unmarshal(a.body, &request); err != nil {
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
	block, _ := pem.Decode([]byte(answer.Certificate))
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
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
	if !a.pass() || a.certificate() == nil {
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

// Answer gives Status and Body to the RA.
func (a *Asked) Answer() {
	a.w.WriteHeader(a.Status)
	_, _ = a.w.Write(a.Body) // who has gone gets none
}

// Reset cuts the connection to the RA off, without an answer.
func (a *Asked) Reset() {
	hijacker, ok := a.w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if secured, ok := conn.(*tls.Conn); ok {
		if plain, ok := secured.NetConn().(*net.TCPConn); ok {
			_ = plain.SetLinger(0) // a reset, not an end
			_ = plain.Close()
		}
	}
	_ = conn.Close()
}

func hexOf(serial *big.Int) string { return hex.EncodeToString(serial.Bytes()) }
