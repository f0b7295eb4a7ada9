// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

const onceRules = `
version: 1
name: once
default: basic
profiles:
  basic:
    labels: [basic]
    enroll: {who: [{one_time_password: {}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, same_key: allow}
BODY
  challenge:
    labels: [challenge]
    enroll: {who: [{one_time_password: {via: otp_challenge}}], linking: if_present}
BODY
  either:
    labels: [either]
    enroll: {who: [{client_cert: {anchor: idevid}}, {one_time_password: {via: otp_challenge}}], linking: if_present}
BODY
  both:
    labels: [both]
    enroll: {who: [{all: [{http_basic: {users: [estuser]}}, {one_time_password: {via: otp_challenge}}]}], linking: if_present}
BODY
  fleet:
    labels: [fleet]
    enroll: {who: [{client_cert: {anchor: idevid, registry: fleet}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, same_key: allow}
BODY
`

const otpChallengeOID = "1.2.840.113549.1.9.16.2.56"

// A onceSite has a store, and a clock that can be turned.
type onceSite struct {
	*site
	store store.Store
	clock time.Time
}

func newOnce(t testing.TB, changes ...func(*site)) *onceSite {
	t.Helper()
	s, err := store.OpenSQLite(context.Background(), filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	o := &onceSite{store: s, clock: time.Now()}
	o.site = newSite(t, append([]func(*site){func(x *site) {
		x.Policy = onceOf(x.t)
		known := x.ca.Known("test")
		x.Authority = &ra.Authority{Policy: x.Policy, CAs: map[string]*ra.CA{"test": known}, Claims: s.Claims()}
		x.Passwords, x.Devices = s.Passwords(), s.Devices()
		x.Now = func() time.Time { return o.clock }
	}}, changes...)...)
	return o
}

func onceOf(t testing.TB) *policy.Policy {
	t.Helper()
	return compileOnce(t, onceRules)
}

func compileOnce(t testing.TB, rules string) *policy.Policy {
	t.Helper()
	file, err := policy.Parse("policy.yaml", []byte(strings.ReplaceAll(rules, "BODY", strings.Trim(body, "\n"))))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Bind(policy.Environment{
		Anchors: []string{"ours", "idevid"}, Users: []string{"estuser"}, Registries: []string{"fleet"}, Store: true,
		Upstreams: map[string]policy.Capabilities{"test": new(ratest.CA).Carries()},
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// otp makes a password for a label.
func (o *onceSite) otp(label string, bound ...string) store.Created {
	o.t.Helper()
	template := store.Template{Label: label, Expires: o.clock.Add(time.Hour)}
	if len(bound) > 0 {
		var err error
		if template.Names.Names.Subject, err = csr.ParseName(bound[0]); err != nil {
			o.t.Fatal(err)
		}
		template.Names.Subject = true
	}
	made, err := o.store.Passwords().Create(context.Background(), []store.Template{template}, o.clock)
	if err != nil {
		o.t.Fatal(err)
	}
	return made[0]
}

// device is a CSR of a device by its key and name.
func (o *onceSite) csr(key, name string, more ...csrtest.Option) string {
	o.t.Helper()
	return csrBody(o.t, append([]csrtest.Option{csrtest.Signer(csrtest.Key(o.t, key)), csrtest.Subject(csrtest.CN(name))}, more...)...)
}

func challengeOf(text secret.Text) csrtest.Option {
	return csrtest.Attribute(otpChallengeOID, csrtest.UTF8(string(text)))
}

// enroll posts, and wants a status.
func (o *onceSite) enroll(what string, status int, label, body, user string, certs ...tls.Certificate) got {
	o.t.Helper()
	g := o.do(call{path: label + "/simpleenroll", body: body, user: user, certs: certs})
	if g.StatusCode != status {
		_, rep := o.last(g.Header.Get("X-Request-Id"))
		o.t.Errorf("%s: %d %q, want %d; %v", what, g.StatusCode, g.body, status, rep.Err)
	}
	return g
}

func (o *onceSite) reason(g got) string {
	o.t.Helper()
	record, _ := o.last(g.Header.Get("X-Request-Id"))
	return string(record.Reason)
}

func (o *onceSite) wantReason(g got, want string) {
	o.t.Helper()
	if got := o.reason(g); !strings.Contains(got, want) {
		o.t.Errorf("the reason is %q, want %q", got, want)
	}
}

func TestThreat_AOneTimePasswordIsGoodForOneKey(t *testing.T) {
	o := newOnce(t)
	made := o.otp("basic")
	user := ":" + string(made.Text) // RFC 7030 section 3.2.3: no user name
	g := o.enroll("without", 401, "basic", o.csr("P-256/a", "a.example"), "")
	if !strings.HasPrefix(g.Header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("the challenge is %q", g.Header.Get("WWW-Authenticate"))
	}
	o.enroll("at another label", 403, "fleet", o.csr("P-256/a", "a.example"), user)
	o.enroll("the first", 200, "basic", o.csr("P-256/a", "a.example"), user)
	o.enroll("the same again: its answer was lost", 200, "basic", o.csr("P-256/a", "a.example"), "anybody"+user)
	g = o.enroll("another key", 403, "basic", o.csr("P-256/b", "a.example"), user)
	o.wantReason(g, "reserved for a request with another key")
	o.enroll("another name", 403, "basic", o.csr("P-256/a", "b.example"), user)
	o.clock = o.clock.Add(24 * time.Hour)
	g = o.enroll("after the window", 401, "basic", o.csr("P-256/a", "a.example"), user)
	o.wantReason(g, "the one-time password "+made.ID+" has been used")
	if n := len(o.ca.Issued()); n != 2 {
		t.Errorf("%d certificates", n)
	}
}

func TestAOneTimePasswordIsUsedUpOnceItsCertificateIsShown(t *testing.T) {
	o := newOnce(t)
	made := o.otp("basic")
	user := "x:" + string(made.Text)
	g := o.enroll("the first", 200, "basic", o.csr("P-256/a", "a.example"), user)
	cert := g.certs(t)[0]
	own := tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: csrtest.Key(t, "P-256/a")}
	r := o.do(call{path: "basic/simplereenroll", body: o.csr("P-256/b", "a.example"), certs: []tls.Certificate{own}})
	if r.StatusCode != 200 {
		t.Fatalf("%d %q: %s", r.StatusCode, r.body, o.reason(r))
	}
	o.enroll("after the renewal", 401, "basic", o.csr("P-256/a", "a.example"), user)
}

func TestThreat_NamesOfAPasswordAreThoseItWasMadeFor(t *testing.T) {
	o := newOnce(t)
	made := o.otp("basic", "CN=a.example")
	user := ":" + string(made.Text)
	g := o.enroll("another name", 403, "basic", o.csr("P-256/a", "b.example"), user)
	if strings.Contains(g.body, "a.example") {
		t.Errorf("the client is told: %q", g.body)
	}
	o.enroll("its name", 200, "basic", o.csr("P-256/a", "a.example"), user)
}

func TestThreat_RefusalsCountAgainstAPassword(t *testing.T) {
	o := newOnce(t)
	made := o.otp("basic", "CN=a.example")
	user := ":" + string(made.Text)
	for range store.MostRefusals {
		o.enroll("a refusal", 403, "basic", o.csr("P-256/a", "b.example"), user)
	}
	g := o.enroll("in the end", 401, "basic", o.csr("P-256/a", "a.example"), user)
	o.wantReason(g, "is locked")
}

func TestAPasswordIsFreeAgainWhereNothingWasIssued(t *testing.T) {
	o := newOnce(t)
	made := o.otp("basic")
	user := ":" + string(made.Text)
	o.ca.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "no", nil)})
	o.enroll("the CA refuses", 502, "basic", o.csr("P-256/a", "a.example"), user)
	o.ca.Set(ratest.Knobs{Err: context.DeadlineExceeded})
	o.enroll("the CA's answer is lost, to another key", 504, "basic", o.csr("P-256/b", "a.example"), user)
	o.ca.Set(ratest.Knobs{})
	o.enroll("a third key", 403, "basic", o.csr("P-256/c", "a.example"), user)
	o.enroll("the second again", 200, "basic", o.csr("P-256/b", "a.example"), user)
}

func TestTheGateWaitsForAnOTPChallenge(t *testing.T) {
	o := newOnce(t)
	made := o.otp("challenge")
	g := o.enroll("without one", 403, "challenge", o.csr("P-256/a", "a.example"), "")
	if g.Header.Get("WWW-Authenticate") != "" {
		t.Error("no HTTP credential could help")
	}
	o.enroll("in Basic", 403, "challenge", o.csr("P-256/a", "a.example"), ":"+string(made.Text))
	last := secret.Text("a")
	if made.Text[len(made.Text)-1:] == last {
		last = "b"
	}
	o.enroll("a wrong one", 403, "challenge", o.csr("P-256/a", "a.example", challengeOf(made.Text[:len(made.Text)-1]+last)), "")
	o.enroll("two values", 403, "challenge", o.csr("P-256/a", "a.example",
		csrtest.Attribute(otpChallengeOID, csrtest.UTF8(string(made.Text)), csrtest.UTF8(string(made.Text)))), "")
	o.enroll("a bad signature and none", 403, "challenge", o.csr("P-256/a", "a.example", csrtest.BadSignature()), "")
	o.enroll("a bad signature", 400, "challenge", o.csr("P-256/a", "a.example", csrtest.BadSignature(), challengeOf(made.Text)), "")
	g = o.enroll("the right one", 200, "challenge", o.csr("P-256/a", "a.example", challengeOf(made.Text)), "")
	record, _ := o.last(g.Header.Get("X-Request-Id"))
	if record.Who.Method != "one_time_password" || string(record.Who.ID) != made.ID || len(record.Input.Passwords) != 1 || record.Input.Passwords[0].Via != "otp_challenge" {
		t.Errorf("the record has %+v, %+v", record.Who, record.Input.Passwords)
	}
}

func TestABodyThatTheGateWaitsForIsHalfAsLong(t *testing.T) {
	o := newOnce(t)
	limit := o.bodyLimit()
	pad := func(n int64, label string) string {
		body := o.csr("P-256/a", "a.example", challengeOf(o.otp(label).Text))
		return body + strings.Repeat("\n", int(n)-len(body))
	}
	o.enroll("half of the limit", 200, "challenge", pad(limit/2, "challenge"), "")
	o.enroll("more than half", 403, "challenge", pad(limit/2+1, "challenge"), "")
	o.enroll("where the gate is open", 200, "either", pad(limit, "either"), "", o.device("a.example"))
}

func TestThreat_AChallengeThatIsThereMustSucceed(t *testing.T) {
	o := newOnce(t)
	wrong := o.otp("challenge").Text // of another label
	o.enroll("with a certificate and none", 200, "either", o.csr("P-256/a", "a.example"), "", o.device("a.example"))
	o.enroll("with a certificate and a wrong one", 403, "either", o.csr("P-256/a", "a.example", challengeOf(wrong)), "", o.device("a.example"))
	o.enroll("with a certificate and a right one", 200, "either", o.csr("P-256/a", "a.example", challengeOf(o.otp("either").Text)), "", o.device("a.example"))
	o.enroll("where no line takes one", 403, "fleet", o.csr("P-256/a", "a.example", challengeOf(wrong)), "", o.device("a.example"))
}

func TestAnAccountAndAChallengeTogether(t *testing.T) {
	o := newOnce(t)
	made := o.otp("both")
	body := o.csr("P-256/a", "a.example", challengeOf(made.Text))
	o.enroll("the challenge alone", 401, "both", body, "")
	o.enroll("the account alone", 403, "both", o.csr("P-256/a", "a.example"), right)
	o.enroll("both", 200, "both", body, right)
}

func TestThreat_GuessesOfPasswordsAreThrottled(t *testing.T) {
	for _, label := range []string{"basic", "challenge"} {
		t.Run(label, func(t *testing.T) {
			o := newOnce(t, func(x *site) { x.Attempts = NewAttempts(3, time.Hour) })
			made := o.otp(label)
			try := func(text secret.Text) int {
				if label == "basic" {
					return o.do(call{path: "basic/simpleenroll", user: "u:" + string(text)}).StatusCode
				}
				return o.do(call{path: "challenge/simpleenroll", body: o.csr("P-256/a", "a.example", challengeOf(text))}).StatusCode
			}
			guess := made.Text[:len(made.Text)-2] + "aa"
			for range 3 {
				if got := try(guess); got == 429 {
					t.Fatal("throttled too early")
				}
			}
			if got := try(made.Text); got != 429 {
				t.Errorf("after three guesses: %d", got)
			}
		})
	}
}

func TestAPasswordCostsNoAccountsHash(t *testing.T) {
	o := newOnce(t)
	o.enroll("a password", 200, "basic", o.csr("P-256/a", "a.example"), ":"+string(o.otp("basic").Text))
	if o.checked != 0 {
		t.Errorf("%d passwords of accounts were verified", o.checked)
	}
	o.enroll("an account's", 401, "basic", o.csr("P-256/a", "a.example"), right)
	if o.checked != 1 {
		t.Errorf("%d passwords of accounts were verified", o.checked)
	}
}

// broken is a store out of reach.
type broken struct{ store.Passwords }

var errBroken = errors.New("the disk is gone")

func (broken) Verify(context.Context, secret.Text, string, time.Time) (store.Password, error) {
	return store.Password{}, errBroken
}

func TestWithoutTheStoreADeviceIsToldToComeAgain(t *testing.T) {
	o := newOnce(t, func(x *site) { x.Passwords = broken{} })
	for _, label := range []string{"basic", "challenge"} {
		text := o.otp(label).Text
		g := o.enroll(label, 503, label, o.csr("P-256/a", "a.example", challengeOf(text)), ":"+string(text))
		if g.Header.Get("Retry-After") == "" || strings.Contains(g.body, "disk") {
			t.Errorf("%s: %v %q", label, g.Header, g.body)
		}
	}
}

func TestThreat_NoPasswordIsInARecord(t *testing.T) {
	o := newOnce(t)
	var words []string
	for _, label := range []string{"basic", "challenge"} {
		made := o.otp(label)
		words = append(words, string(made.Text[len(made.Text)-26:]))
		for _, key := range []string{"P-256/a", "P-256/b"} {
			o.do(call{path: label + "/simpleenroll", body: o.csr(key, "a.example", challengeOf(made.Text)), user: string(made.Text) + ":" + string(made.Text)})
			o.do(call{path: label + "/simpleenroll", body: o.csr(key, "a.example", challengeOf(made.Text))})
			o.do(call{path: label + "/simpleenroll", body: o.csr(key, "a.example"), user: "u:" + string(made.Text)})
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	text, err := json.Marshal(o.records)
	if err != nil || len(o.records) < 12 {
		t.Fatalf("%d records, %v", len(o.records), err)
	}
	all := string(text) + fmt.Sprintf("%+v", o.reports)
	for _, rep := range o.reports {
		all += fmt.Sprintf("%+v %v", rep.Err, rep.Outcome.Unsettled)
	}
	for _, word := range words {
		if strings.Contains(all, word) || strings.Contains(all, hex.EncodeToString([]byte(word))) {
			t.Error("a secret is in a record or report")
		}
	}
}

// listedDevice makes a device with an IDevID, and an entry of the registry.
func (o *onceSite) listedDevice(serial string) (tls.Certificate, store.Device) {
	o.t.Helper()
	cert := o.device(serial+".example", func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: serial + ".example", SerialNumber: serial}
	})
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		o.t.Fatal(err)
	}
	d := store.Device{Registry: "fleet", Issuer: policy.DeviceKeysOf(leaf).Issuer, Identity: policy.SerialIdentity(serial)}
	if d.Issuer == "" {
		o.t.Fatal("the IDevID has no authorityKeyIdentifier")
	}
	return cert, d
}

func TestADeviceOfARegistryEnrollsOnce(t *testing.T) {
	o := newOnce(t)
	idevid, d := o.listedDevice("sn-1")
	o.enroll("before it is listed", 403, "fleet", o.csr("P-256/a", "a.example"), "", idevid)
	if _, _, err := o.store.Devices().Import(t.Context(), "fleet", []store.Device{d}, o.clock); err != nil {
		t.Fatal(err)
	}
	g := o.enroll("listed", 200, "fleet", o.csr("P-256/a", "a.example"), "", idevid)
	record, _ := o.last(g.Header.Get("X-Request-Id"))
	if len(record.Who.Devices) != 1 || len(record.Input.Devices) != 1 || record.Input.Devices[0].State != "expected" {
		t.Errorf("the record has %+v, %+v", record.Who, record.Input.Devices)
	}
	o.enroll("the same again", 200, "fleet", o.csr("P-256/a", "a.example"), "", idevid)
	o.enroll("another key", 403, "fleet", o.csr("P-256/b", "a.example"), "", idevid)
	other, _ := o.listedDevice("sn-2")
	o.enroll("another device", 403, "fleet", o.csr("P-256/c", "c.example"), "", other)
	o.clock = o.clock.Add(25 * time.Hour)
	g = o.enroll("after the window", 403, "fleet", o.csr("P-256/a", "a.example"), "", idevid)
	if record, _ := o.last(g.Header.Get("X-Request-Id")); record.Decision == nil {
		t.Error("no finding says why")
	}
	if err := o.store.Devices().Rearm(t.Context(), d, o.clock); err != nil {
		t.Fatal(err)
	}
	o.enroll("armed anew", 200, "fleet", o.csr("P-256/b", "a.example"), "", idevid)
}

func TestThreat_ABlockedDeviceIsRefusedAtOnceAndOnRenewalToo(t *testing.T) {
	o := newOnce(t)
	idevid, d := o.listedDevice("sn-1")
	if _, _, err := o.store.Devices().Import(t.Context(), "fleet", []store.Device{d}, o.clock); err != nil {
		t.Fatal(err)
	}
	renew := func(what string, status int, client *http.Client, key string) []*x509.Certificate {
		t.Helper()
		g := o.doWith(client, call{path: "fleet/simplereenroll", body: o.csr(key, "a.example")})
		if g.StatusCode != status {
			t.Fatalf("%s: %d %q, %s", what, g.StatusCode, g.body, o.reason(g))
		}
		if status != 200 {
			return nil
		}
		return g.certs(t)
	}
	withCert := func(cert *x509.Certificate, key string) *http.Client {
		return o.client(false, tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: csrtest.Key(t, key)})
	}
	first := o.enroll("listed", 200, "fleet", o.csr("P-256/a", "a.example"), "", idevid).certs(t)[0]
	client := withCert(first, "P-256/a")
	second := renew("a renewal", 200, client, "P-256/b")[0]
	later := withCert(second, "P-256/b")
	renew("a renewal of the renewed one", 200, later, "P-256/c")
	if err := o.store.Devices().Block(t.Context(), d, o.clock); err != nil {
		t.Fatal(err)
	}
	// On the same connections, too.
	renew("blocked", 403, client, "P-256/b")
	renew("blocked, by the certificate of a renewal", 403, later, "P-256/c")
	o.enroll("blocked, with its IDevID", 403, "fleet", o.csr("P-256/a", "a.example"), "", idevid)
	// The line of `either` names no registry.
	o.enroll("blocked, where no registry is asked", 403, "either", o.csr("P-256/a", "a.example"), "", idevid)
}
