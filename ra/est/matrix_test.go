// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/binding"
)

// A case of the matrix: all that linking depends on.
type linkingCase struct {
	required bool // by the profile; else if_present
	major    int  // of HTTP
	version  uint16
	cert     bool // who asks has a client certificate; else a password
	ra       bool // it is that of an RA, which asks for another (linking: trusted)
	carried  string
	value    string
}

// carriers are the attributes that a value can stand in.
var carriers = map[string][]string{
	"challengePassword":  {csrtest.ChallengePassword},
	"estIdentityLinking": {identityLinking},
	"both":               {csrtest.ChallengePassword, identityLinking},
}

// What the request carries.
const (
	absent   = "no value"
	correct  = "the right value"
	wrong    = "a wrong value"
	replayed = "the value of another connection"
	after401 = "the right value, after a 401"
	spentOne = "the right value a second time"
)

func (c linkingCase) String() string {
	mode, who := "if_present", "password"
	if c.required {
		mode = "required"
	}
	if c.cert {
		who = "certificate"
	}
	if c.ra {
		mode, who = "trusted", "RA"
	}
	return fmt.Sprintf("%s, HTTP/%d, %s, %s, %s in %s", mode, c.major, tls.VersionName(c.version), who, c.value, c.carried)
}

func linkingCases() []linkingCase {
	var all []linkingCase
	for _, required := range []bool{true, false} {
		for _, over := range []struct {
			major   int
			version uint16
		}{{1, tls.VersionTLS12}, {1, tls.VersionTLS13}, {2, tls.VersionTLS12}, {2, tls.VersionTLS13}, {3, tls.VersionTLS13}} {
			for _, by := range []struct{ cert, ra bool }{{}, {cert: true}, {cert: true, ra: true}} {
				if by.ra && required {
					continue // trusted is the one mode
				}
				all = append(all, linkingCase{required, over.major, over.version, by.cert, by.ra, "none", absent})
				for _, value := range []string{correct, wrong, replayed, after401, spentOne} {
					if by.cert && value == after401 {
						continue // nobody with a certificate is asked for a password
					}
					for carried := range carriers {
						all = append(all, linkingCase{required, over.major, over.version, by.cert, by.ra, carried, value})
					}
				}
			}
		}
	}
	return all
}

// RFC 7030 section 3.5, RFC 7894 section 4, RFC 9266 section 4.1: every mode,
// version, proof of identity, attribute and value.
func TestLinkingMatrix(t *testing.T) {
	x := newSite(t)
	device := x.device("device.example")
	for _, c := range linkingCases() {
		t.Run(c.String(), func(t *testing.T) { x.linkingCase(t, c, device) })
	}
}

func (x *site) linkingCase(t *testing.T, c linkingCase, device tls.Certificate) {
	path, user := "devices/simpleenroll", right
	if c.required {
		path = "linked/simpleenroll"
	}
	var certs []tls.Certificate
	if c.cert {
		user, certs = "", certOf(device)
	}
	var carried []csrtest.Option
	if c.ra {
		path, certs = "mixed/simpleenroll", certOf(x.ca.Intermediate.Device(t, "ra.example", forCMCRA))
		carried = []csrtest.Option{csrtest.Subject(csrtest.CN("a.site.example")), csrtest.SAN(csrtest.DNS("a.site.example"))}
	}
	p := x.connect(t, c.major, c.version, certs...)
	value := valueOf(t, p.state())
	switch c.value {
	case wrong:
		value = flipped(value)
	case replayed:
		value = valueOf(t, x.connect(t, c.major, c.version, certs...).state())
	}
	for _, oid := range carriers[c.carried] {
		carried = append(carried, csrtest.Attribute(oid, csrtest.Printable(value)))
	}
	body := csrBody(t, carried...)
	if c.value == after401 {
		if replies := p.post(path, "", body); len(replies) != 1 || replies[0].status != 401 {
			t.Fatalf("without credentials: %+v", replies)
		}
	}
	bodies := []string{body}
	if c.value == spentOne {
		bodies = append(bodies, body)
	}
	replies := p.post(path, user, bodies...)
	x.judge(t, c, p, replies)
}

// judge says what must come of a case.
func (x *site) judge(t *testing.T, c linkingCase, p peer, replies []reply) {
	t.Helper()
	first := replies[0]
	get := func(r reply, name string) string {
		if c.major > 1 { // RFC 9113 section 8.2.1: lower case
			name = strings.ToLower(name)
		}
		return r.header[name]
	}
	status, linked, kind, required := 200, "matched", "ok", ""
	switch c.value {
	case absent:
		linked = "absent"
		if c.required {
			status, kind, required = 403, "link_required", binding.TypeOf(c.version)
		}
	case wrong, replayed:
		status, linked, kind = 403, "mismatched", "link_failed"
		if c.ra { // it was a device's connection with the RA that the value is of
			status, kind = 200, "ok"
		}
	case spentOne:
		if slices.ContainsFunc(replies, func(r reply) bool { return r.status == 403 }) && replies[0].status == 403 {
			slices.Reverse(replies) // the server takes streams in any order
			first = replies[0]
		}
		x.judgeSecond(t, c, replies)
	}
	record, rep := x.last(get(first, "X-Request-Id"))
	if first.status != status || record.TLS.Linked != linked || rep.Kind != kind {
		t.Errorf("%d %q, linked %s, kind %s; want %d, %s, %s", first.status, first.body, record.TLS.Linked, rep.Kind, status, linked, kind)
	}
	if want := strings.TrimPrefix(tls.VersionName(c.version), "TLS "); record.TLS.Version != want {
		t.Errorf("the record says TLS %s", record.TLS.Version)
	}
	if got := get(first, binding.HeaderRequired); got != required {
		t.Errorf("%s is %q, want %q", binding.HeaderRequired, got, required)
	}
	closing := linked == "matched" && c.major < 3
	if got := get(first, "Connection"); (got == "close") != (closing && c.major == 1) || got != "" && c.major > 1 {
		t.Errorf("Connection: %q", got)
	}
	if got := p.ends(closing); got != closing {
		t.Errorf("the connection ended: %v, want %v", got, closing)
	}
}

// judgeSecond is for the binding that was used before. HTTP/1.1 is closed
// before the second request is looked at.
func (x *site) judgeSecond(t *testing.T, c linkingCase, replies []reply) {
	t.Helper()
	if c.major == 1 {
		if len(replies) != 1 {
			t.Errorf("the second request is answered: %+v", replies[1])
		}
		return
	}
	if len(replies) != 2 || replies[1].status != 403 || !strings.Contains(replies[1].body, "this connection's binding has been used: connect again") {
		t.Fatalf("%+v", replies)
	}
	if record, rep := x.last(replies[1].header["x-request-id"]); record.TLS.Linked != "matched" || rep.Kind != "link_failed" || record.Cert != nil {
		t.Errorf("linked %s, kind %s", record.TLS.Linked, rep.Kind)
	}
}

func valueOf(t *testing.T, cs tls.ConnectionState) string {
	t.Helper()
	value := binding.FromTLS(&cs).Value()
	if value == "" {
		t.Fatal("the connection has no binding")
	}
	return value
}

// flipped changes one character and stays base64.
func flipped(value string) string {
	b := []byte(value)
	if b[3] != 'A' {
		b[3] = 'A'
	} else {
		b[3] = 'B'
	}
	return string(b)
}

// A client that waits for the 401, connects again and makes its CSR anew, as
// libest does: the old connection's value is worth nothing, the new one's is.
func TestACSRIsMadeAnewOnANewConnectionAfterA401(t *testing.T) {
	x := newSite(t)
	for _, over := range []struct {
		major   int
		version uint16
	}{{1, tls.VersionTLS12}, {2, tls.VersionTLS13}, {3, tls.VersionTLS13}} {
		first, second := x.connect(t, over.major, over.version), x.connect(t, over.major, over.version)
		body := func(p peer) string {
			return csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable(valueOf(t, p.state()))))
		}
		if r := first.post("linked/simpleenroll", "", body(first)); r[0].status != 401 {
			t.Fatalf("HTTP/%d: %+v", over.major, r)
		}
		if first.ends(false) {
			t.Errorf("HTTP/%d: the 401 ended the connection", over.major)
		}
		if r := second.post("linked/simpleenroll", right, body(second)); r[0].status != 200 {
			t.Errorf("HTTP/%d: %+v", over.major, r)
		}
	}
}
