// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// What is approved is issued when the device asks again. It measures from the end of
// the approval, by the admin API, to the certificate in the hands of a device that
// asks at once, on a new connection.
func TestTheCertificateIsReadyWhenItsApprovalReturns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]func(t *testing.T) config{
		"the embedded CA": func(*testing.T) config { return config{site: smallest, policy: devices} },
		"step-ca":         func(t *testing.T) config { return jwkSite(stepcatest.Start(t, stepcatest.Options{}), "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := c(t)
			conf.policy = strings.Replace(conf.policy, "      linking: if_present", "      linking: if_present\n      approval: manual", 1)
			s := serve(t, conf)
			const devices = 21
			took := make([]time.Duration, devices)
			for i := range took {
				key, cn := csrtest.Signer(newKey(t)), fmt.Sprintf("d%d.example.net", i)
				if status, text, _, _ := s.asks(cn, key); status != http.StatusAccepted {
					t.Fatalf("%d %s", status, text)
				}
				approve := fmt.Sprintf("http://%s/est/pending/%s/approve", s.admin, s.waiting().ID)
				res, err := http.Post(approve, "application/json", strings.NewReader(`{"as": "anna"}`))
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Fatalf("%d %s", res.StatusCode, text)
				}
				begin := time.Now()
				if status, text, _, _ := s.asks(cn, key); status != http.StatusOK {
					t.Fatalf("%d %s", status, text)
				}
				took[i] = time.Since(begin)
			}
			slices.Sort(took)
			t.Logf("from the approval to the certificate, with %s: half of %d within %s, all within %s", name, devices, took[devices/2], took[devices-1])
			if took[0] > 100*time.Millisecond {
				t.Errorf("the first of them took %s", took[0])
			}
		})
	}
}
