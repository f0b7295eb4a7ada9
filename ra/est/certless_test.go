// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/certless"
)

const certlessRules = `
version: 1
name: policy of the certless tests
default: devices
profiles:
  devices:
    labels: [devices]
    enroll:
      who:
        - srp: {realm: devices, user: "sensor-*"}
          checks: [{id: own-name, rule: 'csr.subject.CN == who.user + ".example" || csr.subject.CN == "device.example"', message: another name}]
      linking: if_present
BODY
  linked:
    labels: [linked]
    enroll: {who: [{srp: {realm: devices}}], linking: required}
BODY
  both:
    labels: [both]
    enroll: {who: [{all: [{srp: {realm: devices}}, {http_basic: {users: [estuser]}}]}], linking: if_present}
BODY
  cert:
    labels: [cert]
    enroll: {who: [{all: [{srp: {realm: devices}}, {client_cert: {anchor: idevid}}]}], linking: if_present}
BODY
  account:
    labels: [account]
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present}
BODY
`

// certlessSite is one whose connections are all of one user.
func certlessSite(t *testing.T, session *certless.Session) *site {
	t.Helper()
	return newSite(t, under(strings.ReplaceAll(certlessRules, "BODY", strings.Trim(body, "\n"))), func(x *site) {
		x.session, x.Attempts = session, NewAttempts(1, time.Hour)
	})
}

// RFC 7030 section 3.3.3: who is on the connection is authenticated as by a
// certificate, and HTTP credentials count beside it.
func TestThreat_AUserOfTheConnectionGetsWhatItsLinesSay(t *testing.T) {
	for _, c := range []struct {
		name    string
		session *certless.Session
		call    call
		status  int
		method  string // of the record
	}{
		{"a user of the realm", &certless.Session{Realm: "devices", User: "sensor-7"}, call{path: "devices/simpleenroll"}, 200, "srp devices/sensor-7"},
		{"a user whom no pattern takes", &certless.Session{Realm: "devices", User: "printer-7"}, call{path: "devices/simpleenroll"}, 403, "srp devices/printer-7"},
		{"a user of another realm", &certless.Session{Realm: "labs", User: "sensor-7"}, call{path: "devices/simpleenroll"}, 403, "srp labs/sensor-7"},
		{"nobody", nil, call{path: "devices/simpleenroll"}, 403, ""},
		{"an account of that name", nil, call{path: "devices/simpleenroll", user: "devices/sensor-7:x"}, 403, ""},
		{"a user where an account is wanted", &certless.Session{Realm: "devices", User: "estuser"}, call{path: "account/simpleenroll"}, 401, "srp devices/estuser"},
		{"a user where an account is wanted as well", &certless.Session{Realm: "devices", User: "sensor-7"}, call{path: "both/simpleenroll"}, 401, "srp devices/sensor-7"},
		{"user and account", &certless.Session{Realm: "devices", User: "sensor-7"}, call{path: "both/simpleenroll", user: right}, 200, "srp+http_basic devices/sensor-7 + estuser"},
		{"a wrong account beside the user", &certless.Session{Realm: "devices", User: "sensor-7"}, call{path: "both/simpleenroll", user: "estuser:wrong"}, 401, "srp devices/sensor-7"},
		{"a user where a certificate is wanted as well", &certless.Session{Realm: "devices", User: "sensor-7"}, call{path: "cert/simpleenroll"}, 403, "srp devices/sensor-7"},
		{"a user where linking is wanted, without it", &certless.Session{Realm: "devices", User: "sensor-7", Version: tls.VersionTLS12, Unique: []byte("finished")}, call{path: "linked/simpleenroll"}, 403, "srp devices/sensor-7"},
		{"everybody asks for the CA's certificates", nil, call{method: http.MethodGet, path: "devices/cacerts"}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := certlessSite(t, c.session)
			g := x.do(c.call)
			record, rep := x.last(g.Header.Get("X-Request-Id"))
			got := ""
			if record.Who != nil {
				got = string(record.Who.Method) + " " + string(record.Who.ID)
			}
			if g.StatusCode != c.status || got != c.method {
				t.Errorf("%d for %q, want %d for %q: %v", g.StatusCode, got, c.status, c.method, rep.Err)
			}
		})
	}
}

// A user of the connection is no licence to guess accounts.
func TestThreat_GuessesBesideTheUserOfAConnectionAreThrottled(t *testing.T) {
	x := certlessSite(t, &certless.Session{Realm: "devices", User: "sensor-7"})
	for i, want := range []int{401, 429, 429} {
		if g := x.do(call{path: "both/simpleenroll", user: "estuser:wrong"}); g.StatusCode != want {
			t.Errorf("guess %d: %d, want %d", i+1, g.StatusCode, want)
		}
	}
}

func TestLinkingIsWithTheChannelOfTheSession(t *testing.T) {
	s := &certless.Session{Realm: "devices", User: "sensor-7", Version: tls.VersionTLS12, Unique: []byte("of the client")}
	x := certlessSite(t, s)
	linked := func(value string) string {
		return csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable(value)))
	}
	g := x.do(call{path: "linked/simpleenroll", body: linked("b3RoZXI=")})
	if record, rep := x.last(g.Header.Get("X-Request-Id")); g.StatusCode != 403 || record.TLS.Linked != "mismatched" {
		t.Errorf("a value of another connection: %d, %s, %v", g.StatusCode, record.TLS.Linked, rep.Err)
	}
	g = x.do(call{path: "linked/simpleenroll", body: linked(s.Channel().Value())})
	if record, rep := x.last(g.Header.Get("X-Request-Id")); g.StatusCode != 200 || record.TLS.Linked != "matched" {
		t.Errorf("its own value: %d, %s, %v", g.StatusCode, record.TLS.Linked, rep.Err)
	}
}
