// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/webhook/webhooktest"
)

// beforeWebhookCA is the Caddyfile of an RA before a CA that speaks our JSON.
const beforeWebhookCA = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
		upstream webhook URL {
			root root.pem
			chain issuing.pem
			secret_file ca.secret
		}
		certificate off
	}
}
`

func webhookSite(ca *webhooktest.CA) config {
	return config{
		site:   strings.Replace(beforeWebhookCA, "URL", ca.URL, 1),
		policy: strings.NewReplacer("USAGES", "clientAuth, \"1.3.6.1.4.1.32473.1.7\"", "REWRITE", "      title: {set: Router}\n").Replace(byCFSSL),
		files: map[string]string{
			"root.pem": string(ca.RootPEM()), "issuing.pem": string(ca.ChainPEM()), "ca.secret": ca.SecretText() + "\n",
		},
	}
}

func TestADeviceEnrollsThroughTheWebhookInPython(t *testing.T) {
	t.Parallel()
	ca := webhooktest.Python(t)
	s := serve(t, webhookSite(ca))
	const name = "plc-1.site.example.net"
	status, text, id, leaf := s.asks(name, csrtest.SAN(csrtest.DNS(name)))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s", status, text, s.record(id).Reason, ca.Log())
	}
	record := s.record(id)
	if leaf.Subject.CommonName != name || len(leaf.Subject.Names) != 3 || leaf.CheckSignatureFrom(ca.Intermediate) != nil {
		t.Errorf("the subject is %s, of %s", leaf.Subject, leaf.Issuer)
	}
	if record.Conforms == nil || !*record.Conforms || record.Upstream == nil || string(record.Upstream.Ref) != leaf.SerialNumber.String() || !leaf.NotAfter.Equal(record.Plan.NotAfter) {
		t.Errorf("the record has conforms %v, upstream %+v, end %s", record.Conforms, record.Upstream, record.Plan.NotAfter)
	}
	if table := s.est(0, "upstream", "check", "webhook", "--address", s.admin); !row(table, "webhook", "issuer", "good", "Webhook Test Intermediate") || !row(table, "webhook", "secret", "skipped", "no /cacerts") {
		t.Error(table)
	}

	// Another secret in the file counts at once, and the right one again.
	write(t, s.dir, "ca.secret", "YW5vdGhlciBzZWNyZXQgb2YgMTYgYnl0ZXM=")
	if status, _, id, _ := s.asks(name); status != http.StatusServiceUnavailable || !strings.Contains(string(s.record(id).Reason), "the webhook answered 401") {
		t.Errorf("%d, recorded %s", status, s.record(id).Reason)
	}
	write(t, s.dir, "ca.secret", ca.SecretText())
	if status, text, _, _ := s.asks(name); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	if strings.Contains(s.log.String(), ca.SecretText()) {
		t.Error("the secret is in the log")
	}
}
