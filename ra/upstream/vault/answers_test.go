// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

// instead has the server answer to orders and revocations with something else.
func instead(f *vaulttest.Fake, answer http.HandlerFunc) {
	f.Change(func(f *vaulttest.Fake) {
		f.Instead = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/sign") && !strings.HasSuffix(r.URL.Path, "/revoke") {
				return false
			}
			answer(w, r)
			return true
		}
	})
}

func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// The answers that the documents show.
func TestRecordedFailuresBecomeKinds(t *testing.T) {
	const half = 30 * time.Second
	wanted := map[string]struct {
		kind  ra.Kind
		retry time.Duration
		says  string
	}{
		"sealed":                      {ra.UpstreamDown, half, "answered 503: Vault is sealed"},
		"standby":                     {ra.UpstreamDown, half, "answered 429: Vault is in standby mode"},
		"disaster recovery secondary": {ra.UpstreamDown, half, "answered 472"},
		"performance standby":         {ra.UpstreamDown, half, "answered 473"},
		"rate limit quota":            {ra.Busy, half, "quota exceeded"},
		"permission denied":           {ra.UpstreamDown, half, "answered 403: permission denied"},
		"invalid token":               {ra.UpstreamDown, half, "answered 403: permission denied; invalid token"},
		"sentinel":                    {ra.UpstreamRefused, 0, `answered 403: egp standard policy "root/business-hours" evaluation resulted in denial.; permission denied`},
		"role refuses":                {ra.UpstreamRefused, 0, "answered 400: common name device.example not allowed by this role"},
		"unknown role":                {ra.UpstreamRefused, 0, "answered 400: unknown role: est-ra"},
		"no route":                    {ra.UpstreamDown, half, "answered 404: no handler for route"},
		"internal":                    {ra.UpstreamDown, half, "answered 500: unable to store certificate locally"},
		"program refuses":             {ra.UpstreamRefused, 0, "answered 500: estra refuses: the certificate would live longer"},
		"program fails":               {ra.UpstreamDown, half, "answered 500: failed to evaluate expression"},
		"approle":                     {ra.UpstreamRefused, 0, "invalid role or secret ID"},
		"kubernetes":                  {ra.UpstreamDown, half, "namespace not authorized"},
		"certificate":                 {ra.UpstreamRefused, 0, "invalid certificate"},
	}
	f, up := fake(t, vault.CEL)
	for name, failure := range vaulttest.Failures(t) {
		t.Run(name, func(t *testing.T) {
			c, ok := wanted[name]
			if !ok {
				t.Fatal("nobody says what comes of it")
			}
			instead(f, says(failure.Status, string(failure.Body)))
			_, err := up.Issue(t.Context(), order(t))
			if e := fails(t, err, c.kind, c.says); e.RetryAfter != c.retry {
				t.Errorf("Retry-After is %s, want %s", e.RetryAfter, c.retry)
			}
		})
	}
}

func TestOtherAnswersBecomeKinds(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    ra.Kind
		retry   time.Duration
		says    string
	}{
		"429 with a time":                  {says(429, `{"errors":["request path \"x\": rate limit quota exceeded"]}`, "Retry-After", "7"), ra.Busy, 7 * time.Second, "429"},
		"401 of a proxy":                   {says(401, "who?"), ra.UpstreamDown, 30 * time.Second, "answered 401: who?"},
		"403 of a proxy":                   {says(403, "<h1>no</h1>\x1b[1m"), ra.UpstreamRefused, 0, `answered 403: <h1>no</h1>\x1b[1m`},
		"a standby that redirects":         {says(307, "", "Location", "https://active.example:8200/v1/x"), ra.UpstreamDown, 30 * time.Second, "sends us to https://active.example:8200/v1/x"},
		"a good status without JSON":       {says(200, "yes"), ra.UpstreamTimeout, 0, "says that it issued, but with an answer that isn't JSON"},
		"a good status without data":       {says(200, "{}"), ra.UpstreamTimeout, 0, "says that it issued, but with a certificate that can't be read"},
		"a certificate that is none":       {says(200, `{"data":{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}}`), ra.UpstreamTimeout, 0, "says that it issued"},
		"a refusal that repeats our token": {says(400, `{"errors":["bad token hvs.secret-of-ours"]}`), ra.UpstreamRefused, 0, "bad token […]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, up := fake(t, vault.CEL, func(cfg *vault.Config) { cfg.Timeout = 500 * time.Millisecond })
			if strings.Contains(name, "repeats") {
				up = open(t, server(f), vault.CEL, login(vault.Login{Method: vault.Token, Secret: given("hvs.secret-of-ours")}))
			}
			instead(f, c.handler)
			_, err := up.Issue(t.Context(), order(t))
			if e := fails(t, err, c.kind, c.says); e.RetryAfter != c.retry {
				t.Errorf("Retry-After is %s, want %s", e.RetryAfter, c.retry)
			}
			if n := count(f, "/cel/sign/"+vaulttest.Role); n != 1 {
				t.Errorf("the order was sent %d times", n)
			}
		})
	}
}

func TestServersThatDoNotVerify(t *testing.T) {
	f, _ := fake(t, vault.CEL)
	other := []*x509.Certificate{ratest.NewRoot(t, "Other").Certificate}
	for name, c := range map[string]struct {
		change func(*vault.Config)
		says   string
	}{
		"another root":            {func(c *vault.Config) { c.Roots = other }, "doesn't verify"},
		"another root for TLS":    {func(c *vault.Config) { c.TLSRoots = other }, "doesn't verify"},
		"nobody listens":          {func(c *vault.Config) { c.URL = "https://127.0.0.1:1" }, "no connection"},
		"another mount":           {func(c *vault.Config) { c.Mount = "pki2" }, "is there such a mount"},
		"an issuer that is no CA": {func(c *vault.Config) { c.Issuer = "none" }, "none/json: Vault answered 403"},
	} {
		t.Run(name, func(t *testing.T) {
			up := open(t, server(f), vault.CEL, c.change)
			_, err := up.CACerts(t.Context())
			fails(t, err, ra.UpstreamDown, c.says)
		})
	}
	up := open(t, server(f), vault.CEL, func(c *vault.Config) { c.TLSRoots, c.Roots = c.Roots, other })
	if certs, err := up.CACerts(t.Context()); err != nil || len(certs) != 1 {
		t.Errorf("%d certificates: a root that has signed nothing isn't among them: %v", len(certs), err)
	}
}

func TestAnIssuerThatIsNamedSigns(t *testing.T) {
	f, _ := fake(t, vault.Sign)
	for mode, path := range map[vault.Mode]string{
		vault.Sign: "POST pki/issuer/default/sign/est-ra", vault.Verbatim: "POST pki/issuer/default/sign-verbatim", vault.CEL: "POST pki/cel/sign/est-ra",
	} {
		up := open(t, server(f), mode, func(c *vault.Config) { c.Issuer = "default" })
		before := len(f.Calls())
		if _, err := up.Issue(t.Context(), order(t)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if got := f.Calls()[before]; got != path {
			t.Errorf("the call was %s, want %s", got, path)
		}
	}
}

// A certificate that isn't as planned is withheld by the authority, and revoked.
func TestRevokedCertificatesStandInTheCRL(t *testing.T) {
	f, up := fake(t, vault.CEL)
	leaf := upstreamtest.Issue(t, up, order(t))
	for range 2 { // again is no error
		if err := up.Revoke(t.Context(), leaf, 4); err != nil {
			t.Fatal(err)
		}
	}
	if !f.Revoked(leaf) {
		t.Error("the server doesn't know")
	}
	der, err := up.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Errorf("the CRL has %v: %v", list, err)
	}
	stranger := ratest.NewRoot(t, "Other").Device(t, "x.example").Leaf
	fails(t, up.Revoke(t.Context(), stranger, 4), ra.UpstreamRefused, "not found in storage")
	fails(t, up.Revoke(t.Context(), nil, 4), ra.UpstreamRefused, "no certificate")
	instead(f, says(503, `{"errors":["Vault is sealed"]}`))
	fails(t, up.Revoke(t.Context(), leaf, 4), ra.UpstreamDown, "sealed")
}

// What the engine adds is tolerated, and nothing else.
func TestWhatTheServerChangesIsSeen(t *testing.T) {
	f, up := fake(t, vault.CEL)
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		want   string
	}{
		"certificate policies": {func(c *x509.Certificate) { c.Policies = []x509.OID{oid(t, "1.3.6.1.4.1.32473.1.1")} }, ""},
		"a minute before":      {func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Minute) }, ""},
		"two minutes before":   {func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-2 * time.Minute) }, "notBefore"},
		"a shorter life":       {func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-time.Hour) }, "notAfter"},
		"another usage":        {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement }, "keyUsage"},
		"another name":         {func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "x.example") }, "subjectAltName"},
		"an organization":      {func(c *x509.Certificate) { c.Subject.Organization = []string{"Default Ltd"} }, "subject"},
	} {
		f.Change(func(f *vaulttest.Fake) { f.Issue = c.change })
		o := order(t)
		issued, err := up.Issue(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		issuers, err := up.CACerts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = ra.Conforms(issued.Certificate, o, up.Tolerates(), issuers)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func oid(t *testing.T, text string) x509.OID {
	t.Helper()
	o, err := x509.ParseOID(text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestNoGoroutineIsLeft(t *testing.T) {
	f, up := fake(t, vault.CEL, appRole)
	_ = f
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { up.Keep(ctx); close(done) }()
	for range 5 {
		upstreamtest.Issue(t, up, order(t))
	}
	cancel()
	<-done
	up.Retire()
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+2 }) // the server's own
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	good := vault.Config{
		URL: "https://vault.example:8200", Roots: []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate}, Role: "est-ra",
		Login: vault.Login{Method: vault.Token, Secret: given("hvs.x")},
	}
	for want, change := range map[string]func(*vault.Config){
		"isn't an https URL":      func(c *vault.Config) { c.URL = "http://vault.example" },
		"has more than a host":    func(c *vault.Config) { c.URL = "https://vault.example/v1" },
		"no root certificate":     func(c *vault.Config) { c.Roots = nil },
		"no role is named":        func(c *vault.Config) { c.Role = "" },
		`the role "../x"`:         func(c *vault.Config) { c.Role = "../x" },
		`the issuer "a/b"`:        func(c *vault.Config) { c.Issuer = "a/b" },
		`the mount "pki/../sys"`:  func(c *vault.Config) { c.Mount = "pki/../sys" },
		`the namespace "a b"`:     func(c *vault.Config) { c.Namespace = "a b" },
		`the auth mount "x?y"`:    func(c *vault.Config) { c.Login.Mount = "x?y" },
		"there is no mode 9":      func(c *vault.Config) { c.Mode = 9 },
		"timeout -1s is negative": func(c *vault.Config) { c.Timeout = -time.Second },
		"backdate -1s":            func(c *vault.Config) { c.Backdate = -time.Second },
		"-1 connections":          func(c *vault.Config) { c.MaxConns = -1 },
		"no way to log in":        func(c *vault.Config) { c.Login = vault.Login{} },
		"lacks its secret":        func(c *vault.Config) { c.Login.Secret = nil },
		"the login names no role": func(c *vault.Config) { c.Login.Method = vault.AppRole },
		"lacks a certificate":     func(c *vault.Config) { c.Login = vault.Login{Method: vault.TLS} },
	} {
		c := good
		change(&c)
		if _, err := vault.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := vault.New(good); err != nil {
		t.Error(err)
	}
}

func TestSecretsOfFiles(t *testing.T) {
	for text, want := range map[string]string{
		" hvs.abc \n":               "",
		"\n":                        "it is empty",
		"two words":                 "more than one word",
		"two\nlines":                "more than one word",
		"käse":                      "more than one word",
		strings.Repeat("x", 65<<10): "more than 65536 bytes",
	} {
		got, err := vault.ParseSecret([]byte(text))
		if want == "" && (err != nil || string(got) != "hvs.abc") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
