// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/acme"
	"github.com/caddy-est/estra/ra/upstream/acme/acmetest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// behind is an upstream for a CA with something before it, which says whether it has
// answered.
func behind(t testing.TB, ca *acmetest.CA, solver acme.Solver, answers func(*upstreamtest.Asked) bool) *acme.Upstream {
	t.Helper()
	at := ca.Fronted()
	front := upstreamtest.NewFront(t, at.Server, at.TLS, func() string { return at.URL }, func(a *upstreamtest.Asked) {
		if !answers(a) {
			a.Relay()
		}
	})
	cfg := ca.Config(acme.HTTP01, solver)
	cfg.Directory = front.URL + "/dir"
	return open(t, cfg)
}

// problemAt answers a path with a problem document (RFC 7807).
func problemAt(path string, status int, kind, header string) func(*upstreamtest.Asked) bool {
	return func(a *upstreamtest.Asked) bool {
		if !strings.HasPrefix(a.Request.URL.Path, path) {
			return false
		}
		a.Pass() // for a nonce
		a.Status, a.Body = status, fmt.Appendf(nil, `{"type": "urn:ietf:params:acme:error:%s", "status": %d, "detail": "the CA's\nown words"}`, kind, status)
		a.Header.Set("Content-Type", "application/problem+json")
		if header != "" {
			a.Header.Set("Retry-After", header)
		}
		a.Answer()
		return true
	}
}

// The paths of pebble.
const (
	newAccount = "/sign-me-up"
	newOrder   = "/order-plz"
	finalize   = "/finalize-order/"
	revoke     = "/revoke-cert"
)

func TestWhatAProblemMeansDependsOnTheStep(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	for name, c := range map[string]struct {
		path, kind string
		status     int
		header     string
		want       ra.Kind
		says       string
		retry      time.Duration
		credential bool
	}{
		"too many orders":               {newOrder, "rateLimited", 429, "7", ra.Busy, `order: the ACME server answered rateLimited (429): the CA's\nown words`, 7 * time.Second, false},
		"a name that isn't issued":      {newOrder, "rejectedIdentifier", 400, "", ra.UpstreamRefused, "rejectedIdentifier (400)", 0, false},
		"a CAA record":                  {newOrder, "caa", 403, "", ra.UpstreamRefused, "caa (403)", 0, false},
		"an account that is closed":     {newOrder, "unauthorized", 403, "", ra.UpstreamDown, "unauthorized (403)", 30 * time.Second, true},
		"an account that is lost":       {newOrder, "accountDoesNotExist", 400, "", ra.UpstreamDown, "accountDoesNotExist (400)", 30 * time.Second, true},
		"new terms":                     {newOrder, "userActionRequired", 403, "", ra.UpstreamDown, "userActionRequired (403)", 30 * time.Second, true},
		"a CA in trouble":               {newOrder, "serverInternal", 500, "9", ra.UpstreamDown, "serverInternal (500)", 9 * time.Second, false},
		"no account without a binding":  {newAccount, "externalAccountRequired", 403, "", ra.UpstreamDown, "account: the ACME server answered externalAccountRequired", 30 * time.Second, true},
		"no account for us":             {newAccount, "unauthorized", 403, "", ra.UpstreamDown, "unauthorized (403)", 30 * time.Second, true},
		"too many accounts":             {newAccount, "rateLimited", 429, "60", ra.Busy, "rateLimited (429)", time.Minute, false},
		"a request that isn't taken":    {finalize, "badCSR", 400, "", ra.UpstreamRefused, "finalization: the ACME server answered badCSR (400)", 0, false},
		"a key that isn't taken":        {finalize, "badPublicKey", 400, "", ra.UpstreamRefused, "badPublicKey (400)", 0, false},
		"names that aren't the order's": {finalize, "unauthorized", 403, "", ra.UpstreamRefused, "unauthorized (403)", 0, false},
		"too many at the end":           {finalize, "rateLimited", 429, "40", ra.Pending, "is asked for again", 40 * time.Second, false},
		"trouble at the end":            {finalize, "serverInternal", 500, "", ra.Pending, "is asked for again", 30 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := behind(t, ca, responder, problemAt(c.path, c.status, c.kind, c.header)).Issue(t.Context(), order(t, "device.example"))
			e := upstreamtest.Fails(t, err, c.want)
			if !strings.Contains(e.Text(), c.says) || e.RetryAfter != c.retry || errors.Is(err, ra.ErrCredential) != c.credential {
				t.Errorf("%q, Retry-After %s, credential %t", e.Text(), e.RetryAfter, errors.Is(err, ra.ErrCredential))
			}
			if c.want == ra.Pending && !strings.Contains(e.Ref, "/my-order/") {
				t.Errorf("the reference is %q", e.Ref)
			}
		})
	}
}

func TestAnOrderThatIsProcessedForLongIsLeftUntilTheCASays(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	finalized := false
	up := behind(t, ca, responder, func(a *upstreamtest.Asked) bool {
		finalized = finalized || strings.HasPrefix(a.Request.URL.Path, finalize)
		if !finalized || !a.Pass() {
			return false
		}
		a.Body = bytes.Replace(a.Body, []byte(`"status": "valid"`), []byte(`"status": "processing"`), 1)
		a.Header.Set("Retry-After", "50")
		a.Answer()
		return true
	})
	start := time.Now()
	_, err := up.Issue(t.Context(), order(t, "device.example"))
	if e := upstreamtest.Fails(t, err, ra.Pending); e.RetryAfter != 50*time.Second || !strings.Contains(e.Ref, "/my-order/") || time.Since(start) > 10*time.Second {
		t.Errorf("after %s: %q, Retry-After %s, reference %q", time.Since(start), e.Text(), e.RetryAfter, e.Ref)
	}
}

func TestNothingIsSentToAnotherHostThanTheDirectorys(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	for path, text := range map[string]string{"/dir": `{"newNonce": "https://127.0.0.1:1/n", "newAccount": "https://127.0.0.1:1/a", "newOrder": "https://127.0.0.1:1/o"}`} {
		_, err := behind(t, ca, responder, func(a *upstreamtest.Asked) bool {
			if a.Request.URL.Path != path || !a.Pass() {
				return false
			}
			a.Body = []byte(text)
			a.Answer()
			return true
		}).Issue(t.Context(), order(t, "device.example"))
		if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Text(), "nothing is sent to another host") {
			t.Error(e.Text())
		}
	}
}

func TestACAThatTakesNoReasonIsToldNone(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	asked := 0
	up := behind(t, ca, responder, func(a *upstreamtest.Asked) bool {
		if !strings.HasPrefix(a.Request.URL.Path, revoke) {
			return false
		}
		asked++
		return asked == 1 && problemAt("/", 400, "badRevocationReason", "")(a)
	})
	// The problem is in place of what pebble says, which has revoked it already.
	leaf := upstreamtest.Issue(t, up, order(t, "device.example"))
	if err := up.Revoke(t.Context(), leaf, 9); err != nil || asked != 2 {
		t.Errorf("%v, after %d calls", err, asked)
	}
}

func TestAnAccountThatTheCAHasLostIsRegisteredAgain(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	cfg := ca.Config(acme.HTTP01, responder)
	accounts := new(acmetest.Accounts)
	cfg.Accounts = accounts
	_ = upstreamtest.Issue(t, open(t, cfg), order(t, "device.example"))
	text, _ := accounts.Load(t.Context())
	known := append(secret.Bytes(nil), text...)
	_ = upstreamtest.Issue(t, open(t, cfg), order(t, "device.example"))
	if text, _ := accounts.Load(t.Context()); !bytes.Equal(text, known) {
		t.Error("another upstream has made another account")
	}
	// A CA that was set up anew has none of this number.
	lost := bytes.Replace(text, []byte("/my-account/"), []byte("/my-account/0"), 1)
	if err := accounts.Store(t.Context(), secret.Bytes(lost)); err != nil {
		t.Fatal(err)
	}
	up := open(t, cfg)
	_ = upstreamtest.Issue(t, up, order(t, "device.example"))
	if text, _ := accounts.Load(t.Context()); !bytes.Equal(text, known) {
		t.Error("it was registered with another key, or isn't kept")
	}
	if checks := fmt.Sprint(up.Check(t.Context())); !strings.Contains(checks, "is valid") {
		t.Error(checks)
	}
}

func TestGoodNoncesThatARefusedAreTriedAgain(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port, RejectNonces: 30})
	up := open(t, ca.Config(acme.HTTP01, responder))
	for i := range 3 {
		_ = upstreamtest.Issue(t, up, order(t, fmt.Sprintf("device-%d.example", i)))
	}
}

func TestTheChainIsThatOfTheRoot(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port, AlternateRoots: 2})
	cfg := ca.Config(acme.HTTP01, responder)
	cfg.Roots = ca.Roots[2:]
	up := open(t, cfg)
	_ = upstreamtest.Issue(t, up, order(t, "device.example"))
	certs, err := up.CACerts(t.Context())
	if err != nil || len(certs) != 2 || certs[1].CheckSignatureFrom(ca.Roots[2]) != nil {
		t.Errorf("%d CA certificates, %v", len(certs), err)
	}
	// No chain leads to a root that isn't the CA's: what is issued is withheld.
	cfg.Roots = []*x509.Certificate{ca.TLS}
	cfg.Accounts = new(acmetest.Accounts)
	up = open(t, cfg)
	issued, err := up.Issue(t.Context(), order(t, "device.example"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ra.Conforms(issued.Certificate, order(t, "device.example"), up.Tolerates(), cfg.Roots); err == nil || !strings.Contains(err.Error(), "issuer") {
		t.Error(err)
	}
}

func TestANameThatIsntOursIsRefusedInTheCAsWords(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	responder.Deny(true)
	up := open(t, ca.Config(acme.HTTP01, responder))
	_, err := up.Issue(t.Context(), order(t, "device.example", "other.example"))
	if e := upstreamtest.Fails(t, err, ra.UpstreamRefused); !strings.Contains(e.Text(), ".example is ours, the authorization is invalid: http-01: ") {
		t.Error(e.Text())
	}
	if n := responder.Left(); n != 0 {
		t.Errorf("%d answers are left", n)
	}
	responder.Deny(false)
	_ = upstreamtest.Issue(t, up, order(t, "device.example", "other.example"))
}

func TestAnExternalAccountBinding(t *testing.T) {
	const mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port, EAB: map[string]string{"kid-1": mac}})
	key := func(text string) func() (secret.Bytes, error) {
		return func() (secret.Bytes, error) { return acme.ParseMACKey([]byte(text)) }
	}
	for name, c := range map[string]struct {
		eab  *acme.EAB
		says string
	}{
		"none":             {nil, "write `eab KEY_ID PLACEHOLDER`"},
		"another key":      {&acme.EAB{KeyID: "kid-1", Key: key(strings.ToLower(mac))}, "account: the ACME server answered"},
		"another key id":   {&acme.EAB{KeyID: "kid-2", Key: key(mac)}, "account: the ACME server answered"},
		"a key that fails": {&acme.EAB{KeyID: "kid-1", Key: key("not base64url!")}, "the MAC key isn't base64url"},
		"that":             {&acme.EAB{KeyID: "kid-1", Key: key(mac + "\n")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := ca.Config(acme.HTTP01, responder)
			cfg.EAB = c.eab
			up := open(t, cfg)
			_, err := up.Issue(t.Context(), order(t, "device.example"))
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !errors.Is(err, ra.ErrCredential) || !strings.Contains(e.Text(), c.says) || strings.Contains(strings.ToLower(e.Text()), strings.ToLower(mac)) {
				t.Error(e.Text())
			}
			if checks := up.Check(t.Context()); checks[1].What != "account" || checks[1].Result != ra.Bad {
				t.Errorf("%+v", checks)
			}
		})
	}
}
