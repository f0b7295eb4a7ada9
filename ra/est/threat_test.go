// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/ratest"
)

// RA over-trust: no header names anybody, whoever sends it and whoever says
// that a proxy ended TLS.
func TestThreat_RAOverTrust_NoHeaderIsAnIdentity(t *testing.T) {
	for _, exposed := range []bool{false, true} {
		x := newSite(t, func(x *site) { x.exposed = exposed })
		device := x.device("device.example")
		header := http.Header{
			"X-Remote-User": {"estuser"}, "Remote-User": {"estuser"}, "X-Forwarded-User": {"estuser"}, "X-Ssl-Client-Verify": {"SUCCESS"},
			"X-Ssl-Client-S-Dn": {"CN=device.example"}, "Client-Cert": {":" + base64.StdEncoding.EncodeToString(device.Leaf.Raw) + ":"}, // RFC 9440
			"X-Forwarded-Client-Cert": {"Subject=\"CN=ra.example\""},
		}
		for path, want := range map[string]int{"simpleenroll": 401, "cert/simpleenroll": 403, "sites/simpleenroll": 403, "simplereenroll": 403} {
			g := x.do(call{path: path, header: header})
			record, _ := x.last(g.Header.Get("X-Request-Id"))
			if g.StatusCode != want || record.Who != nil {
				t.Errorf("%s: %d by %+v", path, g.StatusCode, record.Who)
			}
		}
	}
}

func TestThreat_MediaTypeByPrefix(t *testing.T) {
	x := newSite(t)
	for _, v := range []string{"application/pkcs10garbage", "application/pkcs10-x", "text/application/pkcs10", "application/pkcs10,text/plain"} {
		g := x.do(call{user: right, header: http.Header{"Content-Type": {v}}})
		x.refused(t, g, 415, "media_type", unread)
	}
}

func TestThreat_APanicIsA500AndARecord(t *testing.T) {
	x := newSite(t)
	x.provider = func(http.ResponseWriter, *http.Request) ([]policy.Account, error) { panic("provider") }
	client := x.client(false)
	g := x.doWith(client, call{user: right})
	x.refused(t, g, 500, "fault", "the authority could not issue")
	record, rep := x.last(g.Header.Get("X-Request-Id"))
	stack, ok := errors.AsType[*Panic](rep.Err)
	if !ok || len(stack.Stack) == 0 || !strings.Contains(string(record.Reason), "panic") || strings.Contains(string(record.Reason), "goroutine") {
		t.Errorf("record %q, error %v", record.Reason, rep.Err)
	}
	x.provider = nil
	if g := x.doWith(client, call{user: right}); g.StatusCode != 200 {
		t.Errorf("%d after it", g.StatusCode)
	}
}

func TestAnAbortedRequestIsNotAnswered(t *testing.T) {
	x := newSite(t)
	x.provider = func(http.ResponseWriter, *http.Request) ([]policy.Account, error) {
		panic(http.ErrAbortHandler)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			t.Errorf("recovered %v", v)
		}
	}()
	r := httptest.NewRequest("POST", root+"/simpleenroll", nil)
	r.SetBasicAuth("estuser", "estpwd")
	x.ServeHTTP(httptest.NewRecorder(), r)
}

func TestThreat_IssuingNeedsTheGatesPass(t *testing.T) {
	x := newSite(t)
	profile, _ := x.Policy.Profile("")
	e := x.begin(httptest.NewRecorder(), httptest.NewRequest("POST", root+"/simpleenroll", nil), Incoming{})
	e.target, e.profile = target{op: policy.SimpleEnroll}, profile
	for _, issue := range []func() (ra.Outcome, error){
		func() (ra.Outcome, error) { return e.issue(pass{}) },
		func() (ra.Outcome, error) { return e.issueOnBehalf(raPass{}) },
	} {
		if _, err := issue(); asFailure(err).Kind != ra.Fault || e.asked {
			t.Errorf("%v", err)
		}
	}
}

func TestThreat_AProviderCannotAnswer(t *testing.T) {
	x := newSite(t, func(x *site) { x.anyHeader = true })
	x.provider = func(w http.ResponseWriter, r *http.Request) ([]policy.Account, error) {
		w.Header().Set("WWW-Authenticate", `Basic realm="provider"`)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(200)
		_, _ = w.Write([]byte("welcome"))
		if _, password, _ := r.BasicAuth(); password == "estpwd" {
			return []policy.Account{{Method: "http_basic", User: "estuser"}}, nil
		}
		return nil, nil
	}
	l := x.dial(t, tls.VersionTLS12)
	l.send(posting("simpleenroll", csrBody(t)))
	s := l.read()
	var challenges []string
	for _, h := range s.head {
		if strings.EqualFold(strings.Split(h, ":")[0], headerChallenge) {
			challenges = append(challenges, h)
		}
	}
	want := []string{`WWW-Authenticate: Basic realm="estra", charset="UTF-8"`, `WWW-Authenticate: Basic realm="provider"`}
	if s.status != 401 || !slices.Equal(challenges, want) || s.body != "" {
		t.Errorf("%q", s.head)
	}
	if v, ok := s.get("Set-Cookie"); ok {
		t.Errorf("Set-Cookie %q", v)
	}
	l.send(posting("simpleenroll", csrBody(t), basic))
	s = l.read()
	if v, ok := s.get(headerChallenge); s.status != 200 || ok {
		t.Errorf("%q %q", s.head, v)
	}
	l.send(posting("both/simpleenroll", csrBody(t), basic))
	s = l.read()
	if v, ok := s.get(headerChallenge); s.status != 403 || ok {
		t.Errorf("%q %q", s.head, v)
	}
}

func TestNo401WhereNoCredentialIsConfigured(t *testing.T) {
	x := newSite(t, func(x *site) { x.Challenge = nil })
	x.refused(t, x.do(call{}), 403, "unauthenticated", "authentication required")
}

func TestChallengesOfOthersAreDropped(t *testing.T) {
	x := newSite(t)
	for path, want := range map[string]int{"/cacerts": 0, "/simpleenroll": 1} {
		method := map[string]string{"/cacerts": "GET", "/simpleenroll": "POST"}[path]
		w := httptest.NewRecorder()
		w.Header()["Www-Authenticate"] = []string{"Negotiate"}
		x.ServeHTTP(w, httptest.NewRequest(method, root+path, nil))
		if got := challengesOf(w.Header()); len(got) != want || slices.Contains(got, "Negotiate") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestARecordSaysWhatHappened(t *testing.T) {
	x := newSite(t)
	device := x.device("device.example")
	g := x.do(call{path: "both/simpleenroll", certs: []tls.Certificate{device}, user: right, body: csrBody(t, csrtest.SAN(csrtest.DNS("device.example")))})
	if g.StatusCode != 200 {
		t.Fatal(g.StatusCode, g.body)
	}
	r, rep := x.last(g.Header.Get("X-Request-Id"))
	leaf := g.certs(t)[0]
	switch {
	case r.Op != policy.SimpleEnroll, r.Label != "both", r.Profile != "both", r.Node != "node-1", r.Status != 200, r.Outcome != "issued":
		t.Errorf("request: %+v", r)
	case r.Policy == nil || r.Policy.SHA256 != x.Policy.SHA256():
		t.Errorf("policy: %+v", r.Policy)
	case r.Who == nil || r.Who.Method != "client_cert+http_basic" || r.Who.Anchor != "idevid":
		t.Errorf("who: %+v", r.Who)
	case r.TLS == nil || r.TLS.Version != "1.3" || r.TLS.Linked != "absent" || !r.Remote.IsLoopback():
		t.Errorf("connection: %+v %v", r.TLS, r.Remote)
	case r.CSR == nil || r.Decision == nil || r.Decision.Verdict != "allow" || r.Plan == nil || r.Input == nil:
		t.Errorf("decision: %+v", r)
	case r.Upstream == nil || r.Upstream.Name != "test" || r.Upstream.Error != "" || r.Upstream.Ref == "":
		t.Errorf("upstream: %+v", r.Upstream)
	case r.Cert == nil || r.Cert.Serial != audit.Serial(leaf.SerialNumber) || r.Conforms == nil || !*r.Conforms:
		t.Errorf("certificate: %+v", r.Cert)
	case r.Kind != "" || r.Reason != "":
		t.Errorf("error: %+v", r)
	}
	if rep.Verdict != "allow" || rep.Profile != "both" || rep.Upstream != "test" || rep.Err != nil || rep.Audit != nil ||
		!strings.HasPrefix(rep.Identity, "client_cert+http_basic:CN=device.example") {
		t.Errorf("report: %+v", rep)
	}
}

func TestAReenrolmentIsRecordedWithWhatItReplaces(t *testing.T) {
	x := newSite(t)
	old := x.ca.Intermediate.Device(t, "device.example")
	names := csrBody(t, csrtest.Subject(csrtest.CN("device.example")), csrtest.SAN(csrtest.DNS("device.example")))
	g := x.do(call{path: "simplereenroll", certs: []tls.Certificate{old}, body: names})
	if r, _ := x.last(g.Header.Get("X-Request-Id")); g.StatusCode != 200 || r.ReplacesSerial != audit.Serial(old.Leaf.SerialNumber) || len(r.Input.Renews) == 0 {
		t.Errorf("%d %+v", g.StatusCode, r)
	}
	g = x.do(call{path: "simplereenroll", certs: []tls.Certificate{old}})
	x.refused(t, g, 403, "bad_renewal", "certificate cannot be renewed here")
}

func TestThreat_NoSecretIsInARecord(t *testing.T) {
	x := newSite(t)
	const secret = "Tr0ub4dor"
	csr := csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.UTF8(secret+"-challenge")))
	for _, c := range []call{
		{user: secret + ":x", body: csr}, // the password typed as the user
		{user: "estuser:" + secret, body: csr},
		{user: right, body: csr},
		{header: http.Header{"Authorization": {"Bearer " + secret}}},
		{user: right, path: "linked/simpleenroll", body: csr},
		{user: right, body: secret},
		{user: right, path: "simpleenroll?password=" + secret},
		{user: secret + ":x", path: "nowhere/simpleenroll"},
	} {
		x.do(c)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.records) != 8 {
		t.Errorf("%d records", len(x.records))
	}
	for _, r := range x.records {
		text, err := json.Marshal(r)
		if err != nil || strings.Contains(string(text), secret) || strings.Contains(string(text), "estpwd") {
			t.Errorf("%s %v", text, err)
		}
	}
	for _, rep := range x.reports {
		if text := fmt.Sprintf("%+v %v", rep, rep.Err); strings.Contains(text, secret) {
			t.Error(text)
		}
	}
}

// sinkFunc is an audit.Sink.
type sinkFunc func(*audit.Record) error

func (f sinkFunc) Write(_ context.Context, r *audit.Record) error { return f(r) }

func TestTheRecordComesBeforeTheAnswerAndDoesNotHoldItBack(t *testing.T) {
	for name, f := range map[string]sinkFunc{
		"an error": func(*audit.Record) error { return errors.New("disk full") },
		"a panic":  func(*audit.Record) error { panic("disk") },
	} {
		x := newSite(t)
		w := httptest.NewRecorder()
		x.Sink = sinkFunc(func(r *audit.Record) error {
			if w.Code != 200 || len(w.Header()) != 0 {
				t.Error("something was answered before")
			}
			return f(r)
		})
		var rep Report
		x.Observe = func(_ context.Context, r Report) { rep = r }
		x.ServeHTTP(w, httptest.NewRequest("GET", root+"/cacerts", nil))
		if w.Code != 200 || rep.Audit == nil {
			t.Errorf("%s: %d %v", name, w.Code, rep.Audit)
		}
	}
}

func TestAServerWithItsLeastServes(t *testing.T) {
	x := newSite(t)
	s := &Server{Policy: x.Policy, Authority: x.Authority}
	for path, want := range map[string]int{"/cacerts": 200, "/csrattrs": 200, "/simpleenroll": 403, "": 404} {
		method := "GET"
		if path == "/simpleenroll" {
			method = "POST"
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, root+path, nil)
		device := ratest.NewRoot(t, "x").Device(t, "x")
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, device.Leaf)
		s.Serve(w, r, Incoming{})
		if w.Code != want || len(w.Header().Get("X-Request-Id")) != 32 {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}
