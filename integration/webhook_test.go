// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smallstep/certificates/webhook"
)

const hookKey = "thirty-two bytes of a webhook key"

// A hookService is one that was written for step-ca: it reads step-ca's types,
// and checks its signature.
type hookService struct {
	*httptest.Server
	mode  atomic.Value // string
	asked atomic.Int32
}

func newHookService(t *testing.T) *hookService {
	t.Helper()
	h := &hookService{}
	h.mode.Store("yes")
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		raw, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(hookKey))
		mac.Write(raw)
		signature, _ := hex.DecodeString(r.Header.Get("X-Smallstep-Signature"))
		var body webhook.RequestBody
		if err := json.Unmarshal(raw, &body); err != nil || !hmac.Equal(signature, mac.Sum(nil)) || body.X509CertificateRequest == nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		switch h.mode.Load() {
		case "yes":
			_ = json.NewEncoder(w).Encode(webhook.ResponseBody{Allow: true, Data: map[string]any{"names": []string{body.X509CertificateRequest.Subject.CommonName}}})
		case "another name":
			_ = json.NewEncoder(w).Encode(webhook.ResponseBody{Allow: true, Data: map[string]any{"names": []string{"other.example.net"}}})
		case "no":
			_ = json.NewEncoder(w).Encode(webhook.ResponseBody{Error: &webhook.Error{Code: "gone", Message: "not in the inventory"}})
		case "broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "slow":
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		}
	}))
	t.Cleanup(h.Close)
	return h
}

var hookPolicy = strings.Replace(devices, "    reenroll:", `      checks:
        - {id: inventory, rule: 'csr.subject.CN in who.data.names', message: the inventory has another name}
    reenroll:`, 1)

func TestAWebhookAuthorizesAndEnriches(t *testing.T) {
	t.Parallel()
	h := newHookService(t)
	encoded := base64.StdEncoding.EncodeToString([]byte(hookKey))
	s := serve(t, config{
		site:   strings.Replace(smallest, "basic {", fmt.Sprintf("webhook %s {\n\t\t\tsecret %s\n\t\t\ttimeout 1s\n\t\t\troot hook.pem\n\t\t}\n\t\tbasic {", h.URL, encoded), 1),
		policy: hookPolicy,
		files:  map[string]string{"hook.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}))},
	})
	client, body := s.client(nil), request(t, "a.example.net")
	for _, c := range []struct {
		mode string
		want int
	}{{"yes", 200}, {"another name", 403}, {"no", 403}, {"broken", 503}, {"slow", 503}} {
		h.mode.Store(c.mode)
		if got := s.enrolAs(client, user, password, body); got != c.want {
			t.Errorf("%s: %d, want %d\n%s", c.mode, got, c.want, s.log)
		}
	}
	before := h.asked.Load()
	if got := s.enrolAs(client, user, "wrong", body); got != 401 || h.asked.Load() != before {
		t.Errorf("a stranger: %d, and the service was asked %d times", got, h.asked.Load()-before)
	}
	records := s.audits()
	input, _ := records[0]["input"].(map[string]any)
	if data, _ := json.Marshal(input["data"]); string(data) != `{"names":["a.example.net"]}` {
		t.Errorf("the record has the data %s", data)
	}
	if reason := fmt.Sprint(records[2]["reason"]); !strings.Contains(reason, "not in the inventory (gone)") {
		t.Errorf("the record has the reason %q", reason)
	}
	s.noSecrets(t, password, hookKey, encoded)
}
