// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

func TestTheCheckSaysHowItStands(t *testing.T) {
	good := []string{"token good: Vault takes it; it is renewed, and has", "rights good: our token may sign and revoke", "role est-ra good", "address ", "clock good"}
	with := func(i int, line string) []string {
		list := append([]string(nil), good...)
		list[i] = line
		return list
	}
	for name, c := range map[string]struct {
		mode   vault.Mode
		change func(*testing.T, *vaulttest.Fake)
		login  func(*vault.Config)
		want   []string
	}{
		"all is well":       {vault.Sign, nil, appRole, good},
		"all is well, too":  {vault.CEL, nil, appRole, good},
		"no role is needed": {vault.Verbatim, nil, appRole, append(append([]string(nil), good[:2]...), good[3:]...)},
		"it may not sign":   {vault.CEL, func(_ *testing.T, f *vaulttest.Fake) { f.Denied = []string{"pki/cel/sign/est-ra"} }, appRole, with(1, "rights bad: our token may not `update` pki/cel/sign/est-ra")},
		"it may not read":   {vault.CEL, func(_ *testing.T, f *vaulttest.Fake) { f.Denied = []string{"pki/cel/roles/est-ra"} }, appRole, with(2, "role est-ra skipped: our token may not `read` pki/cel/roles/est-ra")},
		"a role that takes names from the request": {vault.Sign, func(t *testing.T, f *vaulttest.Fake) {
			if err := f.WriteRole(vaulttest.Role, []byte(`{"allow_any_name": true}`)); err != nil {
				t.Error(err)
			}
		}, appRole, with(2, "role est-ra bad: it takes names from the request")},
		"another program": {vault.CEL, func(t *testing.T, f *vaulttest.Fake) {
			if err := f.WriteCELRole(vaulttest.Role, []byte(`{"cel_program": {"expression": "'no'"}}`)); err != nil {
				t.Error(err)
			}
		}, appRole, with(2, "role est-ra bad: its program doesn't look at our plan")},
		"a secret that isn't taken": {
			vault.CEL, nil, login(vault.Login{Method: vault.AppRole, Role: "other", Secret: given(vaulttest.SecretID)}),
			[]string{"token bad: auth/approle/login: Vault answered 400: invalid role or secret ID", "address ", "clock good"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, up := fake(t, c.mode, c.login)
			if c.change != nil {
				c.change(t, f)
			}
			checked(t, up.Check(t.Context()), c.want)
			if err := up.Health(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func checked(t *testing.T, checks []ra.Check, want []string) {
	t.Helper()
	if len(checks) != len(want) {
		t.Errorf("%+v, want %v", checks, want)
		return
	}
	for i, c := range checks {
		if line := c.What + " " + string(c.Result) + ": " + c.Detail; !strings.HasPrefix(line, want[i]) {
			t.Errorf("%s, want %s", line, want[i])
		}
	}
}

func TestTheCheckKnowsEachKindOfToken(t *testing.T) {
	f, _ := fake(t, vault.CEL)
	for token, want := range map[string]string{
		f.NewToken(0, 0, false):         "token good: Vault takes it; it has no end",
		f.NewToken(time.Hour, 0, true):  "token good: Vault takes it; it is renewed, and has 1h0m0s left",
		f.NewToken(time.Hour, 0, false): "token warning: Vault takes it; it can't be renewed, until 20",
		"hvs.unknown":                   "token bad: auth/token/lookup-self: Vault answered 403",
	} {
		up := open(t, server(f), vault.CEL, login(vault.Login{Method: vault.Token, Secret: given(secret.Text(token))}))
		checks := up.Check(t.Context())
		if line := checks[0].What + " " + string(checks[0].Result) + ": " + checks[0].Detail; !strings.HasPrefix(strings.Replace(line, "59m59s", "1h0m0s", 1), want) {
			t.Errorf("%s, want %s", line, want)
		}
	}
}

// A token that ended before its time is replaced, as an order would.
func TestTheCheckLogsInAnew(t *testing.T) {
	f, up := fake(t, vault.CEL, appRole)
	if checks := up.Check(t.Context()); checks[0].Result != ra.Good {
		t.Fatalf("%+v", checks)
	}
	f.RevokeTokens()
	if checks := up.Check(t.Context()); checks[0].Result != ra.Good {
		t.Errorf("%+v", checks)
	}
}

func TestASealedServerIsNotHealthy(t *testing.T) {
	f, up := fake(t, vault.CEL, func(c *vault.Config) { c.Namespace = "team" })
	f.Change(func(f *vaulttest.Fake) { f.Namespace = "team" })
	if err := up.Health(t.Context()); err != nil {
		t.Errorf("it is asked outside of the namespace: %v", err)
	}
	f.Change(func(f *vaulttest.Fake) { f.Sealed = true })
	fails(t, up.Health(t.Context()), ra.UpstreamDown, "sys/health: Vault answered 503")
	_, err := up.Issue(t.Context(), order(t))
	fails(t, err, ra.UpstreamDown, "503: Vault is sealed")
}
