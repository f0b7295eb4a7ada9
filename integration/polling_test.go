// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/upstream/ejbca/ejbcatest"
)

const pollSoon = "limits {\n\t\t\tpending_poll 1s\n\t\t}\n\t\t"

// decided waits for the record of what a CA has decided while no device asked.
func (s *site) decided(order string) audit.Record {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, r := range s.records() {
			if r.Pending != nil && r.Pending.ID.String() == order && r.Outcome != "pending" {
				return r
			}
		}
	}
	s.t.Fatalf("nothing was decided about %s\n%s", order, s.log)
	return audit.Record{}
}

// EJBCA approves an end entity while nobody asks: the certificate is there when the
// device comes, after a restart as well.
func TestAnEJBCAIsAskedAgainInTheBackground(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]int{ejbcatest.Approved: http.StatusOK, ejbcatest.Rejected: http.StatusBadGateway} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			f, c := ejbcaSite(t)
			f.Change(func(f *ejbcatest.Fake) { f.Approvals = true })
			c.site, c.extra = strings.Replace(c.site, "upstream ejbca", pollSoon+"upstream ejbca", 1), logEvents
			s := serve(t, c)
			key := csrtest.Signer(newKey(t))
			status, text, order, _ := s.asks("plc-1.site.example.net", key)
			if status != http.StatusAccepted {
				t.Fatalf("%d %s", status, text)
			}
			if w := s.waiting(); w.ID != order || w.State != "ordered" || w.Next.IsZero() || !strings.Contains(w.Names, "plc-1") {
				t.Errorf("%+v", w)
			}
			s.stop()
			s.run()
			if out, _ := s.pending(0, "show", order); !strings.Contains(out, "waits for the CA, which is asked again at") {
				t.Errorf("shown is %s", out)
			}
			f.Decide(state)
			r := s.decided(order)
			if want == http.StatusOK && (r.Outcome != "issued" || r.Cert == nil) || want != http.StatusOK && !strings.Contains(r.Reason.String(), "has been rejected") {
				t.Errorf("recorded is %+v", r)
			}
			asked := len(f.Calls())
			status, text, id, leaf := s.asks("plc-1.site.example.net", key)
			if status != want || len(f.Calls()) != asked {
				t.Errorf("%d %s, and EJBCA was asked: %v", status, text, f.Calls()[asked:])
			}
			if want != http.StatusOK {
				return
			}
			if again := s.record(id); r.Cert.Serial != audit.Serial(leaf.SerialNumber) || again.Replays.String() != order {
				t.Errorf("the device has %x, which replays %q", leaf.SerialNumber, again.Replays)
			}
			if e := s.event("est_issued", r.ID.String()); e["replays"] != "" || e["serial"] != r.Cert.Serial || e["identity"] != "http_basic:"+user {
				t.Errorf("the event of the new certificate is %v", e)
			}
			if e := s.event("est_issued", id); e["replays"] != order || e["serial"] != r.Cert.Serial {
				t.Errorf("the event of what was given again is %v", e)
			}
			if out, _ := s.pending(0, "list"); !strings.Contains(out, "nothing waits") {
				t.Errorf("listed is %s", out)
			}
		})
	}
}

// A second Estra whose policy wants an approval is the CA: what is approved there is
// fetched by this one, and not by the device.
func TestAnEstraThatDecidesLaterIsAskedAgainInTheBackground(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]string{"by simple enrolment": "", "by Full CMC": "cmc\n\t\t\t"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			soon := strings.TrimSuffix(strings.TrimSpace(pollSoon), "}")
			operations, life := behalf+"\n      approval: manual", "31d"
			if mode != "" {
				operations = strings.Replace("    fullcmc:\n"+strings.ReplaceAll(operations, "\n", "\n  "), "    on_behalf", "      on_behalf", 1)
				life = "30d" // as there: a CMC message says it
			}
			ra, hq := chained(t, mode+"}\n\t\t"+soon, operations, strings.NewReplacer("REWRITE\n", "", "VALIDITY", life))
			key := csrtest.Signer(newKey(t))
			status, text, order, _ := ra.asks("plc-1.site.example.net", key)
			if status != http.StatusAccepted {
				t.Fatalf("%d %s: %+v", status, text, ra.record(order))
			}
			hq.pending(0, "approve", hq.waiting().ID, "--as", "anna")
			r := ra.decided(order)
			if r.Outcome != "issued" || r.Cert == nil {
				t.Fatalf("recorded is %+v", r)
			}
			hq.stop()
			status, text, id, leaf := ra.asks("plc-1.site.example.net", key)
			if status != http.StatusOK || audit.Serial(leaf.SerialNumber) != r.Cert.Serial || ra.record(id).Replays.String() != order {
				t.Errorf("%d %s, %+v", status, text, ra.record(id))
			}
		})
	}
}
