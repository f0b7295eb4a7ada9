// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
)

const addedPolicy = "added a TLS policy for %s with client_auth mode request"

// A line that imports bring twice is two handlers. The one that asks for
// client certificates must not do so for the site that has them off. That one
// is second: the JSON of a site provisioned before is gone.
func TestAnImportedHandlerRepairsItsOwnSiteAlone(t *testing.T) {
	t.Parallel()
	inside := func(site, option string) string {
		return site + " {\n\ttls internal\n\thandle {\n\t\test {\n\t\t\tpolicy policy.yaml\n\t\t\tcertificate off\n\t\t\tbasic {\n\t\t\t\testuser " + hash(t) + "\n\t\t\t}\n\t\t\t" + option + "\n\t\t}\n\t}\n}\n"
	}
	snippet := "(enrol) {\n\thandle {\n\t\test {\n\t\t\tpolicy policy.yaml\n\t\t\tcertificate off\n\t\t\tbasic {\n\t\t\t\testuser HASH\n\t\t\t}\n\t\t\t{block}\n\t\t}\n\t}\n}\n"
	cases := map[string]config{
		"files of equal name": {site: "import */site.caddy\n", files: map[string]string{
			"a/site.caddy": inside("a.localhost", ""),
			"b/site.caddy": inside("b.localhost", "client_certs off"),
		}},
		"a snippet": {site: snippet + "a.localhost {\n\ttls internal\n\timport enrol\n}\nb.localhost {\n\ttls internal\n\timport enrol {\n\t\tclient_certs off\n\t}\n}\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.policy = devices
			s := prepare(t, c)
			_, errs, code := runCaddy(t, s.dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
			if code != 0 || !strings.Contains(errs, fmt.Sprintf(addedPolicy, "a.localhost")) {
				t.Errorf("exit %d, and nothing was added for a:\n%s", code, errs)
			}
			if strings.Contains(errs, fmt.Sprintf(addedPolicy, "b.localhost")) {
				t.Errorf("the site that has client certificates off was changed:\n%s", errs)
			}
		})
	}
}

func TestADirectiveOutsideEverySiteSaysSo(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"named route":   "&(enrol) {\n\t" + block + "\n}\nlocalhost:PORT {\n\ttls internal\n\tinvoke enrol\n}\n",
		"handle_errors": "localhost:PORT {\n\ttls internal\n\thandle_errors {\n\t\t" + block + "\n\t}\n}\n",
	}
	for name, site := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, config{site: site, policy: devices})
			_, errs, code := runCaddy(t, s.dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
			if code == 0 || !strings.Contains(errs, "est: can't find its site: it stands in a named route or in handle_errors") || !strings.Contains(errs, "Caddyfile:") {
				t.Errorf("exit %d:\n%s", code, errs)
			}
		})
	}
}
