// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/wire"
)

// rules is a policy with a profile for each way in. The text after each who
// and linking is the same for all.
const rules = `
version: 1
name: policy of the est tests
default: devices
guardrails: {limits: {csr_bytes: 4KiB}}
profiles:
  devices:
    labels: [devices]
    enroll:
      who: [{http_basic: {users: [estuser]}}, {client_cert: {anchor: idevid}}]
      linking: if_present
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, same_key: allow}
BODY
  both:
    labels: [both]
    enroll:
      who: [{all: [{client_cert: {anchor: idevid}}, {http_basic: {users: [estuser]}}]}]
      linking: if_present
BODY
  cert:
    labels: [cert]
    enroll: {who: [{client_cert: {anchor: idevid}}], linking: if_present}
    csrattrs: {format: "off"}
BODY
  linked:
    labels: [linked]
    enroll: {who: [{http_basic: {users: [estuser]}}, {client_cert: {anchor: idevid}}], linking: required}
BODY
  staff:
    labels: [staff]
    enroll: {who: [{provider: {name: staff, users: [robot]}}], linking: if_present}
BODY
  digest:
    labels: [digest]
    enroll: {who: [{digest: {users: [estuser]}}], linking: if_present}
    reenroll: {who: [{digest: {users: [estuser]}}], linking: if_present, same_key: allow}
BODY
  tokens:
    labels: [tokens]
    enroll:
      who: [{bearer: {name: staff, subjects: ["sensor-*"]}}]
      linking: if_present
      checks: [{id: group, rule: 'who.claims.group == "sensors"', message: the token is for others}]
    reenroll: {who: [{bearer: {name: staff}}], linking: if_present, same_key: allow}
BODY
  sites:
    labels: [sites]
    on_behalf:
      who:
        - {client_cert: {anchor: ours, role: ra, subject: {CN: ra.example}}, names: ["*.example"]}
        - {client_cert: {anchor: partner, role: ra, subject: {CN: ra.partner}}, names: ["*.example"]}
      linking: trusted
BODY
  mixed:
    labels: [mixed]
    enroll: {who: [{http_basic: {users: [estuser]}}, {client_cert: {anchor: ours}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, same_key: allow}
    on_behalf:
      who: [{client_cert: {anchor: ours, role: ra, subject: {CN: ra.example}}, names: ["*.site.example"]}]
      linking: trusted
BODY
  keys:
    labels: [keys]
    serverkeygen:
      enabled: true
      who: [{http_basic: {users: [estuser]}}, {client_cert: {anchor: idevid}}]
      encryption: if_asked
BODY
  pfx:
    labels: [pfx]
    serverkeygen: {enabled: true, who: [{http_basic: {users: [estuser]}}, {client_cert: {anchor: idevid}}], form: pkcs12}
BODY
  grace:
    labels: [grace]
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, same_key: allow, expired: 7d}
BODY
`

const body = `
    subject: {CN: {allow: ["**"]}, O: {allow: ["**"]}}
    san: {dns: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

func testPolicy(t testing.TB) *policy.Policy {
	return policyOf(t, strings.ReplaceAll(rules, "BODY", strings.Trim(body, "\n")))
}

func policyOf(t testing.TB, text string) *policy.Policy {
	t.Helper()
	file, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file, fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Bind(policy.Environment{
		Store: true, Digest: policy.Digest{Unread: true}, Bearers: []string{"staff"}, Anchors: []string{"ours", "idevid", "partner"}, Issuing: map[string]string{"ours": "test"}, RAIssuers: []string{"partner"}, Users: []string{"estuser"}, Providers: []string{"staff"},
		Upstreams: map[string]policy.Capabilities{"test": new(ratest.CA).Carries()},
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// A site is a server with all that is around it.
type site struct {
	*Server
	*logins
	t         testing.TB
	ca        *ratest.CA
	vendor    ratest.Signer // the anchor idevid
	partner   ratest.Signer // the anchor partner, whose certificates for cmcRA count
	idevid    *source
	http      *httptest.Server
	quic      sync.Once // starts HTTP/3
	udp       string    // where it is
	anyHeader bool      // of Incoming
	exposed   bool      // no proxy stands before it
	headers   []string  // of Incoming
	session   *certless.Session
	// provider, when set, runs in place of the password check.
	provider func(http.ResponseWriter, *http.Request) ([]policy.Account, error)
	// proven, when set, runs in place of both.
	proven func(*http.Request) Proven

	mu      sync.Mutex
	checked int // passwords
	records []*audit.Record
	reports []Report
}

// source is an anchor that can be out of reach.
type source struct {
	anchor.Source
	down error
}

func (s *source) Certificates(ctx context.Context) (anchors, intermediates []*x509.Certificate, err error) {
	if s.down != nil {
		return nil, nil, s.down
	}
	return s.Source.Certificates(ctx)
}

// byName is the CRL of each anchor, which goes by common names.
type byName struct{}

func (byName) Revoked(_ context.Context, chain []*x509.Certificate, _ time.Time) (*x509.Certificate, error) {
	switch chain[0].Subject.CommonName {
	case "unknown.example":
		return nil, errors.New("the list is stale")
	case "silent.example":
		return nil, anchor.NoAnswer{Err: errors.New("the list is stale")}
	case "revoked.example":
		return chain[0], nil
	}
	return nil, nil
}

// newSite starts a TLS server for HTTP/1.1 and HTTP/2. Changes are made
// before it serves.
func newSite(t testing.TB, changes ...func(*site)) *site {
	t.Helper()
	x := &site{t: t, logins: newLogins(t), ca: ratest.NewCA(t), vendor: ratest.NewRoot(t, "Vendor"), partner: ratest.NewRoot(t, "Partner")}
	x.idevid = &source{Source: anchor.File([]*x509.Certificate{x.vendor.Certificate})}
	known, p := x.ca.Known("test"), testPolicy(t)
	x.Server = &Server{
		Draw:      func(int64) int64 { return 0 },
		Policy:    p,
		Authority: &ra.Authority{Policy: p, CAs: map[string]*ra.CA{"test": known}},
		Anchors: &anchor.Set{Anchors: []anchor.Anchor{
			{Name: "idevid", Source: x.idevid, Revocation: byName{}}, {Name: "ours", Source: known.Source(), Revocation: byName{}, RAIssuer: true},
			{Name: "partner", Source: anchor.Issuers(anchor.File([]*x509.Certificate{x.partner.Certificate})), RAIssuer: true},
		}},
		Challenge: always(basicChallenge),
		Sink:      x,
		Node:      "node-1",
		Observe:   x.observe,
	}
	for _, change := range changes {
		change(x)
	}
	x.http = httptest.NewUnstartedServer(x)
	x.http.EnableHTTP2 = true
	x.http.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	x.http.StartTLS()
	t.Cleanup(x.http.Close)
	return x
}

// under makes the site serve another policy.
func under(text string) func(*site) {
	return func(x *site) {
		x.Policy = policyOf(x.t, text)
		x.Authority = &ra.Authority{Policy: x.Policy, CAs: x.Authority.CAs}
	}
}

func (x *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body} // as Caddy does, to count
	}
	x.Serve(w, r, Incoming{Headers: x.headers, Remote: netip.MustParseAddrPort(r.RemoteAddr).Addr(), TLSAhead: !x.exposed, Certless: x.session, Credentials: x.credentials, AnyHeader: x.anyHeader})
}

func (x *site) credentials(w http.ResponseWriter, r *http.Request) (found Proven, err error) {
	x.mu.Lock()
	x.checked++
	x.mu.Unlock()
	if x.proven != nil {
		return x.proven(r), nil
	}
	if x.provider != nil {
		found.Accounts, err = x.provider(w, r)
		return found, err
	}
	found = x.verify(r)
	user, password, _ := r.BasicAuth()
	if user == "estuser" && password == "estpwd" {
		found.Accounts = append(found.Accounts, policy.Account{Method: "http_basic", User: user})
	} else if len(found.Accounts) == 0 && r.Header.Get(HeaderAuthorization) != "" {
		found.Failed = append(found.Failed, HeaderAuthorization)
	}
	switch r.Header.Get("X-Api-Key") {
	case "":
	case "estkey":
		found.Accounts = append(found.Accounts, policy.Account{Method: "staff", User: "robot"})
	default:
		found.Failed = append(found.Failed, "X-Api-Key")
	}
	return found, nil
}

// Write implements audit.Sink.
func (x *site) Write(_ context.Context, r *audit.Record) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.records = append(x.records, r)
	return nil
}

func (x *site) observe(_ context.Context, rep Report) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reports = append(x.reports, rep)
}

// last is the newest record and report; Observe runs after the answer.
func (x *site) last(id string) (*audit.Record, Report) {
	x.t.Helper()
	for range 200 {
		x.mu.Lock()
		for i, rep := range x.reports {
			if rep.RequestID == id && i < len(x.records) {
				for _, r := range x.records {
					if string(r.ID) == id {
						x.mu.Unlock()
						return r, rep
					}
				}
			}
		}
		x.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	x.t.Fatalf("no record and report of request %q", id)
	return nil, Report{}
}

// client makes an HTTP client with its own connections. Changes are to its
// TLS configuration.
func (x *site) client(http2 bool, certs ...tls.Certificate) *http.Client {
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: certs},
		ForceAttemptHTTP2: http2,
		DisableKeepAlives: false,
	}
	if !http2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	x.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// A call is one request of a test. The zero value enrolls with a good CSR at
// the label-less path, without credentials.
type call struct {
	method string // POST
	path   string // after /.well-known/est/; simpleenroll
	body   string
	header http.Header
	user   string // user:password
	certs  []tls.Certificate
	http2  bool
	answer func(path string) string // the table's: the Authorization header for each path
}

// A got is an answer that was read to its end.
type got struct {
	*http.Response
	body string
}

func (x *site) do(c call) got {
	x.t.Helper()
	return x.doWith(x.client(c.http2, c.certs...), c)
}

func (x *site) doWith(client *http.Client, c call) got {
	x.t.Helper()
	if c.method == "" {
		c.method = http.MethodPost
	}
	if c.path == "" {
		c.path = "simpleenroll"
	}
	var r io.Reader
	if c.method == http.MethodPost {
		if c.body == "" {
			c.body = csrBody(x.t)
		}
		r = strings.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(x.t.Context(), c.method, x.http.URL+"/.well-known/est/"+c.path, r)
	if err != nil {
		x.t.Fatal(err)
	}
	if c.method == http.MethodPost {
		req.Header.Set("Content-Type", wire.TypePKCS10)
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if c.user != "" {
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.user)))
	}
	resp, err := client.Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return got{resp, string(all)}
}

func (x *site) device(name string, change ...func(*x509.Certificate)) tls.Certificate {
	return x.vendor.Device(x.t, name, change...)
}

const right = "estuser:estpwd"

func csrBody(t testing.TB, opts ...csrtest.Option) string {
	return base64.StdEncoding.EncodeToString(csrtest.New(t, opts...))
}

// certs reads the certificates of a success.
func (g got) certs(t testing.TB) []*x509.Certificate {
	t.Helper()
	der, _, err := wire.DecodeBody([]byte(g.body))
	if err != nil {
		t.Fatalf("%d %q: %v", g.StatusCode, g.body, err)
	}
	certs, err := cms.ParseCertsOnly(der)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

const basicChallenge = `Basic realm="estra", charset="UTF-8"`

// always is a challenge whatever could help.
func always(values ...string) func(*http.Request, []string) []string {
	return func(*http.Request, []string) []string { return values }
}
