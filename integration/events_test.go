// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

func init() {
	caddy.RegisterModule(&eventLog{})
}

// eventLog is an event handler such as others write: it logs each event.
type eventLog struct{ log *zap.Logger }

func (*eventLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_log", New: func() caddy.Module { return new(eventLog) }}
}

func (h *eventLog) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func (h *eventLog) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	return nil
}

func (h *eventLog) Handle(_ context.Context, e caddy.Event) error {
	h.log.Info("event", zap.String("event", e.Name()), zap.Any("data", e.Data))
	return nil
}

var _ caddyevents.Handler = (*eventLog)(nil)

// logEvents are the global options that bind eventLog to our events.
const logEvents = `events {
		on est_issued test_log
		on est_refused test_log
		on est_nonconforming test_log
		on est_upstream_failed test_log
	}`

// event waits for the event of a request, or with an empty id for one without
// a request.
func (s *site) event(name, requestID string) map[string]any {
	s.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for line := range strings.Lines(s.log.String()) {
			var entry struct {
				Logger, Event string
				Data          map[string]any
			}
			if json.Unmarshal([]byte(line), &entry) != nil || entry.Logger != "events.handlers.test_log" || entry.Event != name {
				continue
			}
			if id, _ := entry.Data["request_id"].(string); id == requestID {
				return entry.Data
			}
		}
	}
	s.t.Fatalf("no event %s for the request %q\n%s", name, requestID, s.log)
	return nil
}

// documentedData are the names in code spans of docs/metrics.md between two
// texts.
func documentedData(t *testing.T, from, to string) []string {
	t.Helper()
	_, text, _ := strings.Cut(page(t, "../docs/metrics.md"), from)
	text, _, _ = strings.Cut(text, to)
	var names []string
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

func TestEveryEventIsEmittedWithItsData(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	c, plain := jwkSite(ca, ""), plainSite(t, ca)
	c.extra, plain.extra = logEvents, logEvents
	s, unplanned := serve(t, c), serve(t, plain)
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.csr("bad", "/CN=evil.example.com", "")

	seen := make(map[string]bool)
	check := func(name, id, label, last, value string) {
		t.Helper()
		data := d.site.event(name, id)
		want := map[string]any{
			"op": "simpleenroll", "label": label, "profile": "devices", "identity": "http_basic:" + user,
			"request_id": id, "upstream": "step_ca", last: value,
		}
		if name == "est_issued" {
			want["replays"] = "" // it is a new certificate
		}
		if !maps.Equal(data, want) {
			t.Errorf("%s has %v, want %v", name, data, want)
		}
		for key := range data {
			seen[key] = true
		}
	}
	record := d.issued("devices/simpleenroll", "one", basicOption)
	check("est_issued", string(record.ID), "devices", "serial", record.Cert.Serial)
	record = d.refused(d.ask("simpleenroll", "bad", basicOption), 403, "refused by policy")
	check("est_refused", string(record.ID), "", "kind", string(record.Kind))
	d.moveTo(unplanned)
	record = d.refused(d.ask("simpleenroll", "one", basicOption), 502, notIssued)
	check("est_nonconforming", string(record.ID), "", "kind", "nonconforming")
	ca.Stop()
	d.moveTo(s)
	record = d.refused(d.ask("simpleenroll", "one", basicOption), 503, later)
	check("est_upstream_failed", string(record.ID), "", "kind", "upstream_down")
	same(t, "data of a request's event", documentedData(t, "Data of a request's event:", "Without a request:"), slices.Sorted(maps.Keys(seen)))

	alone := serve(t, c) // it can't refresh what it serves at /cacerts
	data := alone.event("est_upstream_failed", "")
	if reason, _ := data["reason"].(string); data["upstream"] != "step_ca" || !strings.Contains(reason, "no connection to step-ca") {
		t.Errorf("without a request est_upstream_failed has %v", data)
	}
	same(t, "data of an event without a request", documentedData(t, "Without a request:", "\n\n"), slices.Sorted(maps.Keys(data)))
}
