// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
)

// A recorder handles events by remembering them.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) Handle(_ context.Context, e caddy.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprint(e.Name(), " ", e.Data["n"]))
	return nil
}

func (r *recorder) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// Caddy starts its apps in no order, and tells when all have started.
func TestNoEventIsLostWhileTheAppsStart(t *testing.T) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir())),
		AppsRaw:    caddy.ModuleMap{"est": json.RawMessage(`{}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := estApp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	heard := new(recorder)
	a.events.Subscriptions = append(a.events.Subscriptions, &caddyevents.Subscription{
		Events: []string{"est_issued", "est_upstream_failed"}, Handlers: []caddyevents.Handler{heard},
	})
	emit := func(name string, n int) { a.emit(name, map[string]any{"n": n}) }

	if err := a.Start(); err != nil { // before the events app
		t.Fatal(err)
	}
	emit("est_upstream_failed", 1)
	if err := a.events.Start(); err != nil {
		t.Fatal(err)
	}
	emit("est_issued", 2)
	emit("est_refused", 3) // nobody asked for it
	a.events.Emit(ctx, "started", nil)
	emit("est_issued", 4)
	want := []string{"est_upstream_failed 1", "est_issued 2", "est_issued 4"}
	for deadline := time.Now().Add(5 * time.Second); len(heard.names()) < len(want) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := heard.names(); !slices.Equal(got, want) {
		t.Errorf("heard %q", got)
	}
	if err := a.Stop(); err != nil {
		t.Error(err)
	}
}

func TestEventsThatWaitAreBounded(t *testing.T) {
	var gate startGate
	for n := range mostHeld + 2 {
		if !gate.hold(event{name: "est_refused", data: map[string]any{"n": n}}) {
			t.Fatal("the gate is open")
		}
	}
	passed := 0
	if lost := gate.release(func(event) { passed++ }); lost != 2 || passed != mostHeld {
		t.Errorf("%d passed, %d lost", passed, lost)
	}
	if gate.hold(event{}) {
		t.Error("the gate is closed after the last")
	}
}
