// SPDX-License-Identifier: Apache-2.0

// Package ejbcatest has an EJBCA for tests: a strict one in memory, which does as
// the published documents say, or a real one.
package ejbcatest

import (
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// What a fake server has.
const (
	CAName           = "Estra Test CA"
	EndEntityProfile = "estra-devices"
	prefix           = "/ejbca/ejbca-rest-api/"
)

//go:embed testdata
var testdata embed.FS

// Failures are those that the documents show, by name.
func Failures(t testing.TB) map[string]upstreamtest.Failure {
	t.Helper()
	return upstreamtest.Failures(t, testdata)
}

// The states of an approval. The first three are names of Failures.
const (
	Waits    = "still waits"
	Rejected = "rejected"
	Expired  = "expired"
	Approved = "approved"
)

// Fake is the server in memory.
type Fake struct {
	URL string
	CA  *ratest.CA
	// RA is a certificate that is in the role of those who may enrol.
	RA tls.Certificate
	// AnyCertificate lets each client certificate in, whoever has issued it.
	AnyCertificate bool
	// Approvals makes each new end entity wait for one. Set by Change.
	Approvals bool
	// Lost says that answers with a new certificate get lost.
	Lost bool
	// Twice says that searches and CRLs come in base64 of base64.
	Twice bool
	// Extensions are the custom certificate extensions of all profiles, with
	// whether they are critical.
	Extensions map[string]bool
	// Instead answers in place of the server, where it says true.
	Instead func(w http.ResponseWriter, r *http.Request) bool
	// Issue changes a certificate before it is signed.
	Issue func(*x509.Certificate)

	t    testing.TB
	http *httptest.Server

	mu        sync.Mutex
	profiles  map[string]profile
	entities  map[string]*entity
	approvals map[int64]*approval
	issued    map[string]*x509.Certificate // by the end entity
	revoked   map[string]string            // serial number -> reason
	calls     []string
}

// NewFake starts a server with a CA of two levels, and no certificate profile.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	f := &Fake{
		t: t, CA: ratest.NewCA(t), profiles: map[string]profile{}, entities: map[string]*entity{}, approvals: map[int64]*approval{},
		issued: map[string]*x509.Certificate{}, revoked: map[string]string{},
		// What the suite of upstreams asks for.
		Extensions: map[string]bool{
			"1.3.6.1.4.1.32473.1.8": false, "1.3.6.1.4.1.32473.1.9": true, "1.3.6.1.4.1.32473.1.2": false, "1.3.6.1.4.1.32473.1.3": true,
			"2.5.29.32": false, "2.5.29.9": false,
		},
	}
	f.RA = f.CA.Intermediate.Device(t, "ra.example")
	own := f.CA.Intermediate.Device(t, "ejbca.example", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.DNSNames, c.IPAddresses = append(c.DNSNames, "localhost"), []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	f.http = httptest.NewUnstartedServer(http.HandlerFunc(f.handle))
	f.http.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert}
	f.http.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that refuse it are part of tests
	f.http.StartTLS()
	t.Cleanup(f.http.Close)
	f.URL = f.http.URL
	return f
}

// Change changes the exported fields while the server runs.
func (f *Fake) Change(change func(*Fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// Calls are the requests so far, such as POST v1/endentity.
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Revoked is the reason by which a certificate was; "" where it wasn't.
func (f *Fake) Revoked(c *x509.Certificate) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revoked[serial(c)]
}

// Decide gives all approvals a state.
func (f *Fake) Decide(state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.approvals {
		a.state = state
		if state == Approved {
			f.entities[a.entity.Username] = a.entity
		}
	}
}

// A call is a request as the server has read it.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	parts  []string // of the path, unescaped, from v1 on
	fields map[string]json.RawMessage
	body   []byte
}

func (f *Fake) handle(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path, ours := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	c := &call{w: w, r: r}
	for part := range strings.SplitSeq(path, "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			f.t.Errorf("the path %s: %v", path, err)
		}
		c.parts = append(c.parts, plain)
	}
	f.calls = append(f.calls, r.Method+" "+strings.Join(c.parts, "/"))
	if f.Instead != nil && f.Instead(w, r) {
		return
	}
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, 1<<20)); err != nil {
		return
	}
	if len(c.body) > 0 {
		if kind := r.Header.Get("Content-Type"); kind != "application/json" {
			f.t.Errorf("%s: the type is %q", path, kind)
		}
		if err := json.Unmarshal(c.body, &c.fields); err != nil {
			c.error(http.StatusBadRequest, "malformed JSON")
			return
		}
	}
	switch {
	case !ours:
		c.error(http.StatusNotFound, "Not Found")
	case !f.mayEnrol(r):
		f.fail(c, "not authorized")
	default:
		f.route(c)
	}
}

func (f *Fake) mayEnrol(r *http.Request) bool {
	shown := r.TLS.PeerCertificates
	return len(shown) > 0 && (f.AnyCertificate || shown[0].CheckSignatureFrom(f.CA.Intermediate.Certificate) == nil)
}

func (f *Fake) route(c *call) {
	at := func(pattern ...string) bool {
		return slices.EqualFunc(pattern, c.parts, func(p, part string) bool { return p == "*" || p == part })
	}
	switch {
	case at("v1", "certificate", "status"), at("v1", "endentity", "status"):
		f.answer(c, "status", nil)
	case at("v1", "endentity"):
		f.addEntity(c)
	case at("v1", "endentity", "*", "setstatus"):
		f.setStatus(c, c.parts[2])
	case at("v1", "certificate", "certificaterequest"):
		f.certify(c)
	case at("v1", "certificate", "*", "finalize"):
		f.finalize(c, c.parts[2])
	case at("v1", "certificate", "search"):
		f.search(c)
	case at("v1", "certificate", "*", "*", "revoke"):
		f.revoke(c, c.parts[2], c.parts[3])
	case at("v1", "ca"):
		f.listCAs(c)
	case at("v1", "ca", "*", "certificate", "download"):
		f.download(c, c.parts[2])
	case at("v1", "ca", "*", "getLatestCrl"):
		f.crl(c, c.parts[2])
	default:
		c.error(http.StatusNotFound, "HTTP 404 Not Found")
	}
}

// shaped checks a request against an exchange, and gives it.
func (f *Fake) shaped(c *call, name string) (upstreamtest.Exchange, bool) {
	e := upstreamtest.Recorded(f.t, testdata, name)
	if c.r.Method != e.Method {
		c.error(http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
		return e, false
	}
	if !e.Knows(f.t, c.fields) {
		c.error(http.StatusBadRequest, "unknown field")
		return e, false
	}
	return e, true
}

// answer answers as an exchange does, with these values.
func (f *Fake) answer(c *call, name string, values map[string]any) {
	e, ok := f.shaped(c, name)
	if !ok {
		return
	}
	body := e.Form(f.t)
	upstreamtest.Fill(f.t, body, values)
	if len(body) == 0 { // such as to a new end entity
		c.w.WriteHeader(e.Status)
		return
	}
	c.write(e.Status, body)
}

// fail answers with one of Failures.
func (f *Fake) fail(c *call, name string) {
	failure, known := Failures(f.t)[name]
	if !known {
		f.t.Errorf("no failure %q is recorded", name)
	}
	c.write(failure.Status, failure.Body)
}

func (c *call) write(status int, body any) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(body)
}

func (c *call) error(status int, text string) {
	c.write(status, map[string]any{"error_code": status, "error_message": text})
}

func serial(c *x509.Certificate) string { return fmt.Sprintf("%X", c.SerialNumber) }
