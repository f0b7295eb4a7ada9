// SPDX-License-Identifier: Apache-2.0

// Package vaulttest has a PKI secrets engine for tests: a strict one in memory,
// which does as HashiCorp Vault and OpenBao do, or a real one.
package vaulttest

import (
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// What a fake server has.
const (
	Mount    = "pki"
	RoleID   = "db02de05-fa39-4855-059b-67221c5c2f63"
	SecretID = "6a174c20-f6de-a53c-74d2-6018fcceff64"
	Account  = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl" // a service account's JWT
	AuthRole = "est-ra"                                                                    // of Kubernetes and of certificates
)

//go:embed testdata
var testdata embed.FS

// Failures are those that the documents show, by name.
func Failures(t testing.TB) map[string]upstreamtest.Failure {
	t.Helper()
	return upstreamtest.Failures(t, testdata)
}

// A token is one that the server knows.
type token struct {
	until     time.Time // zero: no end
	last      time.Time // of all renewals; zero: no end
	life      time.Duration
	renewable bool
}

// Fake is the server in memory.
type Fake struct {
	URL string
	CA  *ratest.CA
	// Namespace is the only one that the server has.
	Namespace string
	// TokenLife and TokenMost are those of tokens from a login; zero: 32 days, and
	// no end. Set by Change.
	TokenLife, TokenMost time.Duration
	// Renewable says whether tokens from a login are.
	Renewable bool
	// Instead answers in place of the server, where it says true.
	Instead func(w http.ResponseWriter, r *http.Request) bool
	// AnyCertificate lets each client certificate log in, whoever has issued it.
	AnyCertificate bool
	// Sealed makes it answer so to everything.
	Sealed bool
	// Denied are the paths that no token may call.
	Denied []string
	// Issue changes a certificate before it is signed.
	Issue func(*x509.Certificate)

	t    testing.TB
	http *httptest.Server

	mu       sync.Mutex
	roles    map[string]*role
	programs map[string]*program
	tokens   map[string]*token
	issued   map[string]*x509.Certificate
	revoked  map[string]time.Time
	calls    []string
	count    int
}

// NewFake starts a server with a CA of two levels, and no role.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	f := &Fake{
		t: t, CA: ratest.NewCA(t), Renewable: true, roles: map[string]*role{}, programs: map[string]*program{},
		tokens: map[string]*token{}, issued: map[string]*x509.Certificate{}, revoked: map[string]time.Time{},
	}
	own := f.CA.Intermediate.Device(t, "vault.example", func(c *x509.Certificate) {
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

// Calls are the requests so far, such as POST pki/sign/est-ra.
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Revoked says whether a certificate is.
func (f *Fake) Revoked(c *x509.Certificate) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, is := f.revoked[colons(c)]
	return is
}

// NewToken makes a token; a life of 0 has no end.
func (f *Fake) NewToken(life, most time.Duration, renewable bool) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newToken(life, most, renewable)
}

func (f *Fake) newToken(life, most time.Duration, renewable bool) string {
	f.count++
	text := fmt.Sprintf("hvs.CAESI%020d", f.count)
	made := &token{life: life, renewable: renewable}
	if life > 0 {
		made.until = time.Now().Add(life)
	}
	if most > 0 {
		made.last = time.Now().Add(most)
	}
	f.tokens[text] = made
	return text
}

// RevokeTokens makes every token a bad one.
func (f *Fake) RevokeTokens() { f.Change(func(f *Fake) { f.tokens = map[string]*token{} }) }

// WriteRole is `vault write pki/roles/NAME -`.
func (f *Fake) WriteRole(name string, text []byte) error {
	made := newRole()
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(made); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roles[name] = made
	return nil
}

// WriteCELRole is `bao write pki/cel/roles/NAME -`.
func (f *Fake) WriteCELRole(name string, text []byte) error {
	var body struct {
		Program struct {
			Variables []struct {
				Name, Expression string
			} `json:"variables"`
			Expression string `json:"expression"`
		} `json:"cel_program"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return err
	}
	if len(body.Program.Variables) > 0 {
		return fmt.Errorf("this test server knows no variables")
	}
	made, err := compile(body.Program.Expression)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.programs[name] = made
	return nil
}

// Post is what anybody with a good token may send.
func (f *Fake) Post(t testing.TB, path, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Vault-Request", "true")
	r.Header.Set("X-Vault-Token", f.NewToken(time.Minute, 0, false))
	res, err := f.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// A call is a request as the server has read it.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	path   string
	fields map[string]json.RawMessage
	body   []byte
}

func (f *Fake) handle(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &call{w: w, r: r, path: strings.TrimPrefix(r.URL.Path, "/v1/")}
	f.calls = append(f.calls, r.Method+" "+c.path)
	if f.Instead != nil && f.Instead(w, r) {
		return
	}
	if f.Sealed {
		c.fail(http.StatusServiceUnavailable, "Vault is sealed")
		return
	}
	switch {
	case r.Header.Get("X-Vault-Request") != "true":
		c.fail(http.StatusPreconditionFailed, "missing `X-Vault-Request` header")
		return
	case c.path == "sys/health":
		f.health(c)
		return
	case strings.Trim(r.Header.Get("X-Vault-Namespace"), "/") != f.Namespace || !strings.HasPrefix(r.URL.Path, "/v1/"):
		c.fail(http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", c.path))
		return
	}
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, 1<<20)); err != nil {
		return
	}
	if len(c.body) > 0 {
		if kind := r.Header.Get("Content-Type"); kind != "application/json" {
			f.t.Errorf("%s: the type is %q", c.path, kind)
		}
		if err := json.Unmarshal(c.body, &c.fields); err != nil {
			c.fail(http.StatusBadRequest, "error parsing JSON")
			return
		}
	}
	f.route(c)
}

func (f *Fake) route(c *call) {
	pki, inMount := strings.CutPrefix(c.path, Mount+"/")
	parts := strings.Split(pki, "/")
	if inMount && parts[0] == "issuer" && len(parts) > 2 && parts[1] == "default" && strings.HasPrefix(parts[2], "sign") {
		parts = parts[2:]
	}
	switch {
	case strings.HasPrefix(c.path, "auth/") && strings.HasSuffix(c.path, "/login"):
		f.login(c)
	case inMount && strings.Join(parts, "/") == "issuer/default/json":
		f.issuer(c)
	case inMount && strings.Join(parts, "/") == "issuer/default/crl/der":
		f.crl(c)
	case !f.authorized(c):
	case c.path == "auth/token/lookup-self":
		f.lookup(c)
	case c.path == "auth/token/renew-self":
		f.renew(c)
	case c.path == "sys/capabilities-self":
		f.capabilities(c)
	case inMount && len(parts) == 2 && parts[0] == "roles":
		f.readRole(c, parts[1])
	case inMount && len(parts) == 3 && parts[0] == "cel" && parts[1] == "roles":
		f.readProgram(c, parts[2])
	case inMount && parts[0] == "sign" && len(parts) == 2:
		f.sign(c, parts[1])
	case inMount && parts[0] == "sign-verbatim":
		f.signVerbatim(c)
	case inMount && len(parts) == 3 && parts[0] == "cel" && parts[1] == "sign":
		f.signCEL(c, parts[2])
	case inMount && pki == "revoke":
		f.revoke(c)
	default:
		c.fail(http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", c.path))
	}
}

func (f *Fake) authorized(c *call) bool {
	t, ok := f.tokens[c.r.Header.Get("X-Vault-Token")]
	if !ok || !t.until.IsZero() && time.Now().After(t.until) {
		c.fail(http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
		return false
	}
	if slices.Contains(f.Denied, c.path) {
		c.fail(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
		return false
	}
	return true
}

// shaped checks a request against an exchange, and gives its answer to be filled
// in.
func (f *Fake) shaped(c *call, name string) (map[string]any, bool) {
	e := upstreamtest.Recorded(f.t, testdata, name)
	if c.r.Method != e.Method {
		c.fail(http.StatusMethodNotAllowed, "unsupported operation")
		return nil, false
	}
	if !e.Knows(f.t, c.fields) {
		c.fail(http.StatusBadRequest, "unknown field")
		return nil, false
	}
	return e.Form(f.t), true
}

// fill replaces what an answer has, and nothing that it hasn't.
func (f *Fake) fill(answer map[string]any, part string, values map[string]any) {
	inner, ok := answer[part].(map[string]any)
	if !ok {
		f.t.Errorf("the recorded answer has no %s", part)
		return
	}
	upstreamtest.Fill(f.t, inner, values)
}

func (c *call) answer(body any) {
	c.w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(c.w).Encode(body)
}

func (c *call) fail(status int, text string) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(map[string][]string{"errors": {text}})
}

func armour(c *x509.Certificate) string {
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
}
