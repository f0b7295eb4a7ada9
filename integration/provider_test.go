// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(&tokenProvider{})
}

// tokenProvider is an HTTP authentication module such as others write: it
// knows one token, as a bearer or in a header of its own, and challenges in its
// own way.
type tokenProvider struct {
	Token string `json:"token"`
}

func (*tokenProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.test_token", New: func() caddy.Module { return new(tokenProvider) }}
}

func (p *tokenProvider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&p.Token) {
		return d.ArgErr()
	}
	return nil
}

func (p *tokenProvider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	if r.Header.Get("Authorization") == "Bearer "+p.Token || r.Header.Get("X-Api-Key") == p.Token {
		return caddyauth.User{ID: "robot"}, true, nil
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="test"`)
	return caddyauth.User{}, false, nil
}

func TestAProviderOfOthersAuthenticates(t *testing.T) {
	t.Parallel()
	s := serve(t, config{
		site: strings.Replace(smallest, "basic {\n\t\t\testuser HASH\n\t\t}", "provider staff test_token letmein", 1),
		policy: strings.Replace(devices, "http_basic: {users: [estuser], shared: true}",
			"provider: {name: staff, users: [robot]}", 1),
	})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	if status, answer := d.post("simpleenroll", "one", "-H 'Authorization: Bearer wrong'"); status != "401" || answer != "" {
		t.Errorf("a wrong token: %s %q", status, answer)
	}
	d.enrol("simpleenroll", "one", "-H 'Authorization: Bearer letmein'")
	d.enrol("simpleenroll", "one", "-H 'X-Api-Key: letmein'")
	// The provider's challenge alone: nobody here knows a password.
	for _, options := range []string{"", "-H 'X-Api-Key: wrong'", basicOption} {
		a := d.ask("simpleenroll", "one", options)
		if got := a.header["Www-Authenticate"]; a.status != 401 || len(got) != 1 || got[0] != `Bearer realm="test"` {
			t.Errorf("%q: %d with the challenges %q", options, a.status, got)
		}
	}
}

func TestBasicAndAProviderAreBothOffered(t *testing.T) {
	t.Parallel()
	s := serve(t, config{
		site:   strings.Replace(smallest, "basic {", "provider staff test_token letmein\n\t\tbasic {", 1),
		policy: devices,
	})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	a := d.ask("simpleenroll", "one", "")
	if got := a.header["Www-Authenticate"]; a.status != 401 || strings.Join(got, "; ") != `Basic realm="estra"; Bearer realm="test"` {
		t.Errorf("%d with the challenges %q", a.status, got)
	}
	d.enrol("simpleenroll", "one", basicOption)
}

// A line may want two accounts, which come in two headers.
func TestAPasswordAndAProviderAreBothDemanded(t *testing.T) {
	t.Parallel()
	s := serve(t, config{
		site: strings.Replace(smallest, "basic {", "provider staff test_token letmein\n\t\tbasic {", 1),
		policy: strings.Replace(devices, "http_basic: {users: [estuser], shared: true}",
			"all: [{http_basic: {users: [estuser]}}, {provider: {name: staff, users: [robot]}}]", 1),
	})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	for _, options := range []string{
		"", basicOption, "-H 'X-Api-Key: letmein'", "-H 'Authorization: Bearer letmein'",
		basicOption + " -H 'X-Api-Key: wrong'", "--user " + user + ":wrong -H 'X-Api-Key: letmein'",
	} {
		if status, answer := d.post("simpleenroll", "one", options); status != "401" || answer != "" {
			t.Errorf("%q: %s %q", options, status, answer)
		}
	}
	record := d.issued("simpleenroll", "one", basicOption+" -H 'X-Api-Key: letmein'")
	if record.Who == nil || record.Who.Method != "http_basic+staff" || record.Who.ID != "estuser + robot" {
		t.Errorf("the record has who %+v", record.Who)
	}
}
