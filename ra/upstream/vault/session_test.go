// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

func login(l vault.Login) func(*vault.Config) {
	return func(c *vault.Config) { c.Login = l }
}

var appRole = login(vault.Login{Method: vault.AppRole, Role: vaulttest.RoleID, Secret: given(vaulttest.SecretID)})

func count(f *vaulttest.Fake, what string) int {
	n := 0
	for _, c := range f.Calls() {
		if strings.HasSuffix(c, what) {
			n++
		}
	}
	return n
}

func TestEachWayToLogIn(t *testing.T) {
	for name, c := range map[string]struct {
		login vault.Login
		says  string // "": it issues
	}{
		"AppRole":                              {vault.Login{Method: vault.AppRole, Role: vaulttest.RoleID, Secret: given(vaulttest.SecretID)}, ""},
		"AppRole with another secret_id":       {vault.Login{Method: vault.AppRole, Role: vaulttest.RoleID, Secret: given("11111111-another")}, "auth/approle/login: Vault answered 400: invalid role or secret ID"},
		"Kubernetes":                           {vault.Login{Method: vault.Kubernetes, Role: vaulttest.AuthRole, Secret: given(vaulttest.Account)}, ""},
		"Kubernetes with another role":         {vault.Login{Method: vault.Kubernetes, Role: "other", Secret: given(vaulttest.Account)}, "auth/kubernetes/login: Vault answered 403: permission denied"},
		"our certificate":                      {vault.Login{Method: vault.TLS}, ""},
		"our certificate for a role":           {vault.Login{Method: vault.TLS, Role: vaulttest.AuthRole}, ""},
		"our certificate for another role":     {vault.Login{Method: vault.TLS, Role: "other"}, "auth/cert/login: Vault answered 400: invalid certificate"},
		"a mount that isn't there":             {vault.Login{Method: vault.AppRole, Mount: "other", Role: vaulttest.RoleID, Secret: given(vaulttest.SecretID)}, "auth/other/login: Vault answered 404"},
		"a secret that can't be read":          {vault.Login{Method: vault.AppRole, Role: vaulttest.RoleID, Secret: func() (secret.Text, error) { return "", errors.New("no such file") }}, "no such file"},
		"a token that the server doesn't know": {vault.Login{Method: vault.Token, Secret: given("hvs.unknown")}, "Vault answered 403: permission denied; invalid token"},
	} {
		t.Run(name, func(t *testing.T) {
			f, up := fake(t, vault.CEL, login(c.login), func(cfg *vault.Config) {})
			if c.login.Method == vault.TLS {
				shown := own(f, t)
				f, up = withCertificate(t, f, c.login, func() (*tls.Certificate, error) { return &shown, nil })
			}
			o := order(t)
			issued, err := up.Issue(t.Context(), o)
			if c.says == "" {
				if err != nil || issued.Certificate == nil {
					t.Errorf("%v", err)
				}
				return
			}
			e := fails(t, err, ra.UpstreamDown, c.says)
			if !strings.Contains(c.says, "404") && !errors.Is(e, ra.ErrCredential) {
				t.Error("the readiness doesn't know that it is the credential")
			}
			for _, hidden := range []string{vaulttest.SecretID, vaulttest.Account, "11111111-another", "hvs.unknown"} {
				if strings.Contains(fmt.Sprintf("%v %+v", e, e), hidden) {
					t.Errorf("the error shows %s", hidden)
				}
			}
			if f.Calls(); count(f, "/cel/sign/"+vaulttest.Role) > 1 {
				t.Error("the order was sent twice")
			}
		})
	}
}

// withCertificate gives another upstream for the server of a test.
func withCertificate(t *testing.T, f *vaulttest.Fake, l vault.Login, give func() (*tls.Certificate, error)) (*vaulttest.Fake, *vault.Upstream) {
	t.Helper()
	up, err := vault.New(vault.Config{
		URL: f.URL, Roots: server(f).Roots, Mode: vault.CEL, Role: vaulttest.Role, Login: l, Certificate: give, Timeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, up
}

func TestATokenIsUsedAgain(t *testing.T) {
	f, up := fake(t, vault.CEL, appRole)
	for range 3 {
		upstreamtest.Issue(t, up, order(t))
	}
	if n := count(f, "auth/approle/login"); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// A token that ended before its time is got anew, and the order goes out again:
// it was refused before anything happened.
func TestARefusedTokenIsGotAnewOnce(t *testing.T) {
	f, up := fake(t, vault.CEL, appRole)
	upstreamtest.Issue(t, up, order(t))
	f.RevokeTokens()
	upstreamtest.Issue(t, up, order(t))
	if n := count(f, "auth/approle/login"); n != 2 {
		t.Errorf("%d logins", n)
	}
	f.Change(func(f *vaulttest.Fake) {
		f.Instead = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/auth/") {
				return false
			}
			failure := vaulttest.Failures(t)["invalid token"]
			w.WriteHeader(failure.Status)
			_, _ = w.Write(failure.Body)
			return true
		}
	})
	before := len(f.Calls())
	_, err := up.Issue(t.Context(), order(t))
	if e := fails(t, err, ra.UpstreamDown, "permission denied"); !errors.Is(e, ra.ErrCredential) {
		t.Error("the readiness doesn't know that it is the credential")
	}
	want := []string{"POST pki/cel/sign/est-ra", "POST auth/approle/login", "POST pki/cel/sign/est-ra"}
	if got := f.Calls()[before:]; !slices.Equal(got, want) {
		t.Errorf("the calls were %v, want %v", got, want)
	}
}

func TestManyCallersLogInOnce(t *testing.T) {
	f, up := fake(t, vault.CEL, appRole)
	var all sync.WaitGroup
	for range 12 {
		o := order(t)
		all.Go(func() {
			if _, err := up.Issue(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := count(f, "auth/approle/login"); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// eventually waits for what happens in the background.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it didn't happen", what)
		}
	}
}

func keep(t *testing.T, up *vault.Upstream) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { up.Keep(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
}

func TestTokensAreRenewedBeforeTheirEnd(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*vaulttest.Fake)
		path   string // that is called again and again
	}{
		"a token that is renewed":              {func(f *vaulttest.Fake) { f.TokenLife = 3 * time.Second }, "auth/token/renew-self"},
		"a token that can't be":                {func(f *vaulttest.Fake) { f.TokenLife, f.Renewable = 3*time.Second, false }, "auth/approle/login"},
		"a token that may not live any longer": {func(f *vaulttest.Fake) { f.TokenLife, f.TokenMost = 3*time.Second, 3*time.Second }, "auth/approle/login"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, up := fake(t, vault.CEL, appRole)
			f.Change(c.change)
			keep(t, up)
			eventually(t, c.path, func() bool { return count(f, c.path) >= 2 })
			before := count(f, "auth/approle/login")
			upstreamtest.Issue(t, up, order(t))
			if count(f, "auth/approle/login") > before+1 {
				t.Error("the order had to log in")
			}
		})
	}
}

func TestATokenThatSomebodyMadeIsRenewed(t *testing.T) {
	f, _ := fake(t, vault.CEL)
	token := f.NewToken(3*time.Second, 0, true)
	up := open(t, server(f), vault.CEL, login(vault.Login{Method: vault.Token, Secret: given(secret.Text(token))}))
	if !up.TokenEnd().IsZero() {
		t.Error("nobody has told its end yet")
	}
	keep(t, up)
	eventually(t, "renewal", func() bool { return count(f, "auth/token/renew-self") >= 2 })
	if left := time.Until(up.TokenEnd()); left <= 0 || left > 4*time.Second {
		t.Errorf("it ends in %s", left)
	}
	if count(f, "auth/token/lookup-self") != 1 {
		t.Errorf("the calls were %v", f.Calls())
	}
}

// The file of a token is the operator's: a new one counts from the next call on.
func TestANewTokenInTheFileCounts(t *testing.T) {
	f, _ := fake(t, vault.CEL)
	var mu sync.Mutex
	now := secret.Text(f.NewToken(0, 0, false))
	up := open(t, server(f), vault.CEL, login(vault.Login{Method: vault.Token, Secret: func() (secret.Text, error) {
		mu.Lock()
		defer mu.Unlock()
		return now, nil
	}}))
	upstreamtest.Issue(t, up, order(t))
	f.RevokeTokens()
	_, err := up.Issue(t.Context(), order(t))
	fails(t, err, ra.UpstreamDown, "invalid token")
	mu.Lock()
	now = secret.Text(f.NewToken(0, 0, false))
	mu.Unlock()
	upstreamtest.Issue(t, up, order(t))
}

// A renewed certificate is shown, and logs in anew: an auth role for certificates
// renews a token for the one that it was given to.
func TestARenewedCertificateLogsInAnew(t *testing.T) {
	f, _ := fake(t, vault.CEL)
	shown := own(f, t)
	_, up := withCertificate(t, f, vault.Login{Method: vault.TLS}, func() (*tls.Certificate, error) { return &shown, nil })
	for range 2 {
		upstreamtest.Issue(t, up, order(t))
	}
	if n := count(f, "auth/cert/login"); n != 1 {
		t.Errorf("%d logins", n)
	}
	shown = own(f, t)
	upstreamtest.Issue(t, up, order(t))
	if n := count(f, "auth/cert/login"); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestWithoutOurCertificateTheChainCanBeRead(t *testing.T) {
	f, _ := fake(t, vault.CEL)
	_, up := withCertificate(t, f, vault.Login{Method: vault.TLS}, func() (*tls.Certificate, error) { return nil, errors.New("it is being obtained") })
	_, err := up.Issue(t.Context(), order(t))
	fails(t, err, ra.UpstreamDown, "it is being obtained")
	if certs, err := up.CACerts(t.Context()); err != nil || len(certs) != 2 {
		t.Errorf("%d certificates: %v", len(certs), err)
	}
}

func TestANamespaceIsSentWithEachCall(t *testing.T) {
	f, _ := fake(t, vault.CEL)
	f.Change(func(f *vaulttest.Fake) { f.Namespace = "team/est" })
	in := func(namespace string) *vault.Upstream {
		return open(t, server(f), vault.CEL, appRole, func(c *vault.Config) { c.Namespace = namespace })
	}
	up := in("team/est/")
	leaf := upstreamtest.Issue(t, up, order(t))
	if err := up.Revoke(t.Context(), leaf, 4); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"", "team"} {
		_, err := in(other).Issue(t.Context(), order(t))
		fails(t, err, ra.UpstreamDown, "404: no handler for route")
	}
}
