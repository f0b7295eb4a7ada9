// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ratest"
)

// An authState is one way to come, or not to.
type authState struct {
	name string
	call call
	// want is the status at each of the table's paths.
	want   [11]int
	proven bool  // as anybody
	at     *site // nil: that of the table
}

// Authorization skipped on one path, and defaults that let pass, are what
// went wrong most often elsewhere: so each operation meets each state.
func TestThreat_EveryOperationTimesEveryAuthenticationState(t *testing.T) {
	x := newSite(t, func(x *site) { x.anyHeader = true })
	device := x.device("device.example")
	down := newSite(t, func(x *site) { x.anyHeader, x.idevid.down = true, errors.New("no route") })
	throttled := newSite(t, func(x *site) { x.anyHeader, x.Attempts = true, NewAttempts(1, time.Hour) })
	throttled.do(call{user: "estuser:first"})
	throttled.do(bearing(throttled.token(map[string]any{"exp": 1})))
	ours := x.ca.Intermediate.Device(t, "device.example")
	expired := x.device("old.example", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	ended := func(days int) tls.Certificate {
		return x.ca.Intermediate.Device(t, "device.example", func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(0, 0, -days) })
	}
	early := x.device("early.example", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	server := x.device("server.example", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	raOf := func(by ratest.Signer, name string) []tls.Certificate { return certOf(by.Device(t, name, forCMCRA)) }
	stranger := ratest.NewRoot(t, "Vendor").Device(t, "device.example")
	own := ratest.NewRoot(t, "Self")
	states := []authState{
		{"nobody", call{}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"the right password", call{user: right}, [11]int{200, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a wrong password", call{user: "estuser:wrong"}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"another user", call{user: "other:estpwd"}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"an empty user", call{user: ":estpwd"}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"an empty Basic header", call{user: ":"}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a Basic header without a value", call{header: http.Header{"Authorization": {"Basic"}}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a scheme that nobody knows", call{header: http.Header{"Authorization": {"Bearer x"}}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a header that names a user", call{header: http.Header{"X-Remote-User": {"estuser"}, "X-Ssl-Client-Cert": {"x"}}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"the right certificate", call{certs: []tls.Certificate{device}}, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"the right certificate and password", call{certs: []tls.Certificate{device}, user: right}, [11]int{200, 200, 200, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"the right certificate and a wrong password", call{certs: []tls.Certificate{device}, user: "estuser:wrong"}, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"the right certificate and an empty Basic header", call{certs: []tls.Certificate{device}, user: ":"}, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a certificate of this CA", call{certs: []tls.Certificate{ours}}, [11]int{401, 403, 403, 200, 401, 200, 403, 401, 401, 401, 401}, true, nil},
		{"a certificate of this CA and the right password", call{certs: []tls.Certificate{ours}, user: right}, [11]int{200, 403, 403, 200, 401, 200, 403, 401, 401, 401, 401}, true, nil},
		{"an expired certificate", call{certs: []tls.Certificate{expired}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"an expired certificate and the right password", call{certs: []tls.Certificate{expired}, user: right}, [11]int{200, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a certificate that is not valid yet", call{certs: []tls.Certificate{early}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a certificate for servers", call{certs: []tls.Certificate{server}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a certificate of a CA with the anchor's name", call{certs: []tls.Certificate{stranger}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a self-signed certificate", call{certs: []tls.Certificate{{Certificate: [][]byte{own.Certificate.Raw}, PrivateKey: own.Key}}}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a stranger's certificate and the right password", call{certs: []tls.Certificate{stranger}, user: right}, [11]int{200, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a revoked certificate", call{certs: certOf(x.device("revoked.example"))}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a revoked certificate of this CA", call{certs: certOf(x.ca.Intermediate.Device(t, "revoked.example"))}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a revoked certificate and the right password", call{certs: certOf(x.device("revoked.example")), user: right}, [11]int{200, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a certificate whose revocation nobody can tell", call{certs: certOf(x.device("unknown.example"))}, [11]int{503, 503, 503, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a certificate of this CA whose revocation nobody can tell", call{certs: certOf(x.ca.Intermediate.Device(t, "unknown.example"))}, [11]int{401, 403, 403, 503, 401, 503, 503, 401, 401, 401, 401}, false, nil},
		{"a certificate of this CA within the grace", call{certs: certOf(ended(6))}, [11]int{401, 403, 403, 403, 401, 200, 403, 401, 401, 401, 401}, true, nil},
		{"a certificate of this CA after the grace", call{certs: certOf(ended(8))}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"an RA of this CA", call{certs: raOf(x.ca.Intermediate, "ra.example")}, [11]int{401, 403, 403, 403, 401, 403, 200, 401, 401, 401, 401}, true, nil},
		{"an RA of this CA and the right password", call{certs: raOf(x.ca.Intermediate, "ra.example"), user: right}, [11]int{200, 403, 403, 403, 401, 403, 200, 401, 401, 401, 401}, true, nil},
		{"an RA of this CA and a wrong password", call{certs: raOf(x.ca.Intermediate, "ra.example"), user: "estuser:wrong"}, [11]int{401, 403, 403, 403, 401, 403, 200, 401, 401, 401, 401}, true, nil},
		{"an RA of an issuer that the configuration names", call{certs: raOf(x.partner, "ra.partner")}, [11]int{401, 403, 403, 403, 401, 403, 200, 401, 401, 401, 401}, true, nil},
		{"an RA under that issuer and a CA between", call{certs: raOf(x.partner.Sub(t, "Between"), "ra.partner")}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"an RA of this CA that no line names", call{certs: raOf(x.ca.Intermediate, "other.example")}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"the RA's name, without cmcRA", call{certs: certOf(x.ca.Intermediate.Device(t, "ra.example"))}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"the RA's name, with anyExtendedKeyUsage", call{certs: certOf(x.ca.Intermediate.Device(t, "ra.example", func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny)
		}))}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"an RA of a vendor", call{certs: raOf(x.vendor, "ra.example")}, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"an RA of a stranger", call{certs: raOf(ratest.NewRoot(t, "Test Issuing CA"), "ra.example")}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"an RA of a sibling CA under the same root", call{certs: raOf(x.ca.Root.Sub(t, "Sibling"), "ra.example")}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"an RA that the root itself signed", call{certs: raOf(x.ca.Root, "ra.example")}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"an expired RA", call{certs: certOf(x.ca.Intermediate.Device(t, "ra.example", forCMCRA, func(c *x509.Certificate) {
			c.NotAfter = time.Now().AddDate(0, 0, -1)
		}))}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a revoked RA", call{certs: certOf(x.ca.Intermediate.Device(t, "revoked.example", forCMCRA))}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"the right certificate, its anchor out of reach", call{certs: certOf(down.device("device.example"))}, [11]int{503, 503, 503, 403, 401, 403, 403, 401, 401, 401, 401}, false, down},
		{"the same with the right password", call{certs: certOf(down.device("device.example")), user: right}, [11]int{200, 503, 503, 403, 401, 403, 403, 401, 401, 401, 401}, true, down},
		{"the same with a wrong password", call{certs: certOf(down.device("device.example")), user: "estuser:wrong"}, [11]int{503, 503, 503, 403, 401, 403, 403, 401, 401, 401, 401}, false, down},
		{"nobody, an anchor out of reach", call{}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, down},
		{"a provider's right key", call{header: apiKey("estkey")}, [11]int{401, 403, 403, 403, 200, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a provider's right key and the right certificate", call{header: apiKey("estkey"), certs: certOf(device)}, [11]int{200, 401, 200, 403, 200, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a provider's wrong key", call{header: apiKey("wrong")}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, nil},
		{"a provider's wrong key and the right certificate", call{header: apiKey("wrong"), certs: certOf(device)}, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 401, 401}, true, nil},
		{"a guess too many", call{user: "estuser:second"}, [11]int{429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429}, false, throttled},
		{"the right password too late", call{user: right}, [11]int{429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429}, false, throttled},
		{"a guess too many beside the right certificate", call{user: "estuser:second", certs: certOf(throttled.device("device.example"))}, [11]int{429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429}, true, throttled},
		{"the right certificate where somebody guessed", call{certs: certOf(throttled.device("device.example"))}, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 401, 401}, true, throttled},
		{"a provider's right key where somebody guessed", call{header: apiKey("estkey")}, [11]int{401, 403, 403, 403, 200, 403, 403, 401, 401, 401, 401}, true, throttled},
		{"a Digest answer of who has guessed", answering(throttled.answer), [11]int{429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429}, false, throttled},
		{"a token of whose subject one has failed", bearing(throttled.token(nil)), [11]int{429, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429}, false, throttled},
		{"a token of another subject there", bearing(throttled.token(map[string]any{"sub": "sensor-8"})), [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 200, 403}, true, throttled},
		{"nobody where somebody guessed", call{}, [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}, false, throttled},
	}
	paths := [11]string{
		"simpleenroll", "both/simpleenroll", "cert/simpleenroll", "simplereenroll", "staff/simpleenroll", "grace/simplereenroll", "sites/simpleenroll",
		"digest/simpleenroll", "digest/simplereenroll", "tokens/simpleenroll", "tokens/simplereenroll",
	}
	names := csrBody(t, csrtest.Subject(csrtest.CN("device.example")), csrtest.SAN(csrtest.DNS("device.example")))
	for _, state := range append(states, credentialStates(x, certOf(device))...) {
		t.Run(state.name, func(t *testing.T) {
			x := x
			if state.at != nil {
				x = state.at
			}
			state.call.body = names
			client := x.client(false, state.call.certs...)
			for i, path := range paths {
				state.call.path = path
				if state.call.answer != nil {
					state.call.header = http.Header{HeaderAuthorization: {state.call.answer(path)}}
				}
				issued := len(x.ca.Issued())
				g := x.doWith(client, state.call)
				if g.StatusCode != state.want[i] {
					t.Errorf("%s: %d, want %d", path, g.StatusCode, state.want[i])
				}
				// Nobody unproven is in a record.
				record, _ := x.last(g.Header.Get("X-Request-Id"))
				if (record.Who != nil) != state.proven {
					t.Errorf("%s: the record says %+v", path, record.Who)
				}
				if (g.StatusCode == 401 || g.StatusCode == 403) && record.Kind != "bad_renewal" && (record.Decision == nil || len(record.Decision.Findings) == 0) {
					t.Errorf("%s: %d, and the record has no finding", path, g.StatusCode)
				}
				if got := len(x.ca.Issued()) - issued; (got == 1) != (g.StatusCode == 200) {
					t.Errorf("%s: %d with %d certificates issued", path, g.StatusCode, got)
				}
			}
			// Who may ask for a key is said as of the first path.
			issued := len(x.ca.Issued())
			state.call.path = "keys/serverkeygen"
			if g := x.doWith(client, state.call); g.StatusCode != state.want[0] || (len(x.ca.Issued()) == issued+1) != (g.StatusCode == 200) {
				t.Errorf("serverkeygen: %d, want %d; %d issued", g.StatusCode, state.want[0], len(x.ca.Issued())-issued)
			}
			for path, want := range map[string]int{
				"keys/simpleenroll": 404, "both/serverkeygen": 404, "fullcmc": 404, "serverkeygen": 404, "both/simplereenroll": 404, "none/simpleenroll": 404,
			} {
				state.call.path = path
				if g := x.doWith(client, state.call); g.StatusCode != want {
					t.Errorf("%s: %d, want %d", path, g.StatusCode, want)
				}
			}
			get := state.call
			get.method = http.MethodGet
			for _, path := range []string{"cacerts", "both/cacerts", "csrattrs", "both/csrattrs"} {
				get.path = path
				if g := x.doWith(client, get); g.StatusCode != 200 {
					t.Errorf("%s: %d: it is for everybody", path, g.StatusCode)
				}
			}
		})
	}
}

// An operator must tell a wrong password from none, and from one that opens no
// line; whose it was is said nowhere.
func TestTheReasonTellsAWrongPasswordFromNone(t *testing.T) {
	x := newSite(t)
	device := []tls.Certificate{x.device("device.example")}
	const wrong = "the HTTP credentials did not verify"
	for name, c := range map[string]struct {
		call call
		told bool
	}{
		"nobody":                             {call{}, false},
		"a wrong password":                   {call{user: "estuser:wrong"}, true},
		"a certificate and a wrong password": {call{path: "both/simpleenroll", certs: device, user: "estuser:wrong"}, true},
		"a password that opens no line":      {call{path: "cert/simpleenroll", user: right}, false},
	} {
		g := x.do(c.call)
		record, _ := x.last(g.Header.Get("X-Request-Id"))
		reason := string(record.Reason)
		if strings.Contains(reason, wrong) != c.told || strings.Contains(reason, "estuser") || !strings.Contains(reason, "no line of `who` matches") {
			t.Errorf("%s: %d, reason %q", name, g.StatusCode, reason)
		}
		if record.Decision == nil || len(record.Decision.Findings) == 0 {
			t.Fatalf("%s: the record doesn't say what each line wants", name)
		}
		for _, f := range record.Decision.Findings {
			if f.Message == "" || strings.Contains(string(f.Message), "estuser:") || c.told && strings.Contains(string(f.Message), "is estuser") {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

func certOf(c tls.Certificate) []tls.Certificate { return []tls.Certificate{c} }

func apiKey(key string) http.Header { return http.Header{"X-Api-Key": {key}} }

func TestAnAnchorOutOfReachIsNotAStranger(t *testing.T) {
	x := newSite(t)
	x.idevid.down = errors.New("no route")
	device := []tls.Certificate{x.device("device.example")}
	cases := []struct {
		name string
		call call
		want int
	}{
		{"its certificate: come again", call{certs: device}, 503},
		{"its certificate where only one counts", call{certs: device, path: "cert/simpleenroll"}, 503},
		{"its certificate and the right password", call{certs: device, user: right}, 200},
		{"no certificate", call{}, 401},
		{"an operation that does not use it", call{certs: device, path: "simplereenroll"}, 403},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := x.do(c.call)
			if g.StatusCode != c.want {
				t.Fatalf("%d, want %d", g.StatusCode, c.want)
			}
			if wait := g.Header.Get("Retry-After"); (wait == "30") != (c.want == 503) {
				t.Errorf("Retry-After %q", wait)
			}
			record, _ := x.last(g.Header.Get("X-Request-Id"))
			if c.want == 503 && !strings.Contains(string(record.Reason), "no route") {
				t.Errorf("the operator reads %q, and not why", record.Reason)
			}
		})
	}
}

// Under `revocation prefer` a certificate counts of which nobody could say
// anything: whoever reads the record sees which.
func TestACertificateThatNobodyCouldCheckIsMarked(t *testing.T) {
	x := newSite(t)
	for name, want := range map[string][]string{"silent.example": {"idevid"}, "device.example": nil} {
		g := x.do(call{path: "cert/simpleenroll", certs: certOf(x.device(name))})
		record, rep := x.last(g.Header.Get("X-Request-Id"))
		var marked []string
		for _, text := range record.Who.RevocationUnknown {
			marked = append(marked, text.String())
		}
		if g.StatusCode != 200 || !slices.Equal(rep.RevocationUnknown, want) || strings.Join(marked, "") != map[bool]string{true: "idevid: the list is stale"}[want != nil] {
			t.Errorf("%s: %d, marked %q, reported %q", name, g.StatusCode, marked, rep.RevocationUnknown)
		}
	}
}

// Anchors and time are asked on each request, not at the handshake.
func TestThreat_AnOpenConnectionIsNoIdentity(t *testing.T) {
	now := time.Now()
	x := newSite(t, func(x *site) { x.Now = func() time.Time { return now } })
	short := x.device("device.example", func(c *x509.Certificate) { c.NotAfter = now.Add(time.Hour) })
	client := x.client(false, short)
	if g := x.doWith(client, call{path: "cert/simpleenroll"}); g.StatusCode != 200 {
		t.Fatal(g.StatusCode, g.body)
	}
	now = now.Add(2 * time.Hour)
	if g := x.doWith(client, call{path: "cert/simpleenroll"}); g.StatusCode != 403 {
		t.Errorf("%d after the certificate expired on an open connection", g.StatusCode)
	}
	now = now.Add(-2 * time.Hour)
	x.idevid.down = errors.New("gone")
	if g := x.doWith(client, call{path: "cert/simpleenroll"}); g.StatusCode != 503 {
		t.Errorf("%d after the anchor went", g.StatusCode)
	}
}

// A resumed session brings the certificate of its first handshake along; what
// became of anchors and CRL since is asked all the same (CVE-2025-68121).
func TestThreat_AResumedSessionIsNoIdentity(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		x := newSite(t)
		cfg := &tls.Config{
			InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
			Certificates: certOf(x.device("device.example")), ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		enrol := func(want int, resumed bool) {
			t.Helper()
			tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
			g := x.doWith(&http.Client{Transport: tr, Timeout: 10 * time.Second}, call{path: "cert/simpleenroll"})
			if g.StatusCode != want || g.TLS.DidResume != resumed {
				t.Errorf("%s: %d, resumed %v; want %d, %v", tls.VersionName(version), g.StatusCode, g.TLS.DidResume, want, resumed)
			}
		}
		enrol(200, false)
		enrol(200, true)
		x.idevid.Source = anchor.File([]*x509.Certificate{ratest.NewRoot(t, "Vendor").Certificate})
		enrol(403, true)
		x.idevid.down = errors.New("no route")
		enrol(503, true)
	}
}

func TestThreat_NothingLeaksToTheNextRequestOfAConnection(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		x := newSite(t)
		client := x.client(http2)
		for _, c := range []struct {
			call call
			want int
		}{
			{call{path: "devices/simpleenroll", user: right}, 200},
			{call{}, 401},
			{call{path: "cert/simpleenroll"}, 403},
			{call{path: "simpleenroll", user: right}, 200},
			{call{path: "linked/simpleenroll", user: right}, 403},
			{call{user: "estuser:wrong"}, 401},
		} {
			g := x.doWith(client, c.call)
			if g.StatusCode != c.want {
				t.Errorf("HTTP/2 %v: %+v: %d, want %d", http2, c.call, g.StatusCode, c.want)
			}
			record, rep := x.last(g.Header.Get("X-Request-Id"))
			if c.want == 401 && (record.Who != nil || rep.Identity != "") {
				t.Errorf("identity %+v %q without credentials", record.Who, rep.Identity)
			}
			if c.call.path == "simpleenroll" && rep.Label != "" {
				t.Errorf("label %q on the path without one", rep.Label)
			}
		}
	}
}

func TestCredentialsAreAskedOnceAndOnlyByEnrolments(t *testing.T) {
	for _, anyHeader := range []bool{false, true} {
		x := newSite(t, func(x *site) { x.anyHeader = anyHeader })
		bare := 0
		if anyHeader {
			bare = 1
		}
		for _, c := range []struct {
			call call
			want int
		}{
			{call{user: right}, 1},
			{call{header: http.Header{"Authorization": {""}}}, 1},
			{call{}, bare},
			{call{path: "simplereenroll"}, bare},
			{call{header: apiKey("estkey")}, bare},
			{call{method: "GET", path: "cacerts", user: right}, 0},
			{call{method: "GET", path: "csrattrs", user: right}, 0},
			{call{method: "GET", path: "cacerts", header: apiKey("estkey")}, 0},
			{call{method: "GET", path: "csrattrs", header: apiKey("estkey")}, 0},
			{call{method: "GET", user: right}, 0},
			{call{path: "nowhere/simpleenroll", user: right}, 0},
		} {
			x.checked = 0
			if x.do(c.call); x.checked != c.want {
				t.Errorf("%+v (any header %v): %d checks", c.call, anyHeader, x.checked)
			}
		}
	}
}
