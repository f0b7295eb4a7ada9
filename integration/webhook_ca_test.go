// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
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

// A service that decides later is asked for the same order again, by its own name.
func TestAWebhookThatDecidesLaterIsAskedForTheSameOrder(t *testing.T) {
	t.Parallel()
	type order struct {
		RequestID   string `json:"request_id"`
		Ref         string `json:"ref"`
		Certificate struct {
			Serial string `json:"serial"`
		} `json:"certificate"`
	}
	var asked atomic.Int32
	var orders [2]order
	service := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if err := json.NewDecoder(r.Body).Decode(&orders[min(n, 2)-1]); err != nil {
			t.Error(err)
		}
		answer := `{"refused": {"reason": "nobody knows it"}}`
		if n == 1 {
			answer = `{"pending": {"retry_after": 7, "ref": "T-17"}}`
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(service.Close)
	root := armour("CERTIFICATE", service.Certificate().Raw)
	s := serve(t, config{
		site:   strings.Replace(beforeWebhookCA, "URL", service.URL, 1),
		policy: strings.NewReplacer("USAGES", "clientAuth", "REWRITE", "").Replace(byCFSSL),
		files:  map[string]string{"root.pem": root, "issuing.pem": root, "ca.secret": "c2l4dGVlbiBieXRlcyBsb25nIQ=="},
	})
	key := csrtest.Signer(newKey(t))
	if status, text, id, _ := s.asks("plc-1.site.example.net", key); status != http.StatusAccepted || s.record(id).Outcome != "pending" {
		t.Fatalf("%d %s, recorded %+v", status, text, s.record(id))
	}
	status, _, id, _ := s.asks("plc-1.site.example.net", key)
	if status != http.StatusBadGateway || !strings.Contains(string(s.record(id).Reason), "refuses: nobody knows it") {
		t.Errorf("%d, recorded %s", status, s.record(id).Reason)
	}
	first, second := orders[0], orders[1]
	if first.Ref != "" || second.Ref != "T-17" || first.RequestID != second.RequestID || first.Certificate.Serial == "" || first.Certificate.Serial != second.Certificate.Serial {
		t.Errorf("asked for %+v and %+v", first, second)
	}
}
