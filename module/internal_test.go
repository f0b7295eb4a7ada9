// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// internal runs a Caddy in this process until the test ends, and gives an upstream
// that signs in it.
func internal(t *testing.T) *Internal {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir()) // of the store
	config, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"storage": map[string]any{"module": "file_system", "root": t.TempDir()},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "ERROR"}}},
		"apps":    map[string]any{"est": map[string]any{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	u := new(Internal)
	if err := u.Provision(caddy.ActiveContext()); err != nil {
		t.Fatal(err)
	}
	if err := u.app.openStore(); err != nil { // as it is with a site
		t.Fatal(err)
	}
	return u
}

func TestInternalPassesTheSuiteOfUpstreams(t *testing.T) {
	u := internal(t)
	upstreamtest.Run(t, upstreamtest.Subject{
		Open: func(testing.TB, upstreamtest.Place) ra.Upstream { return u },
		Pins: u.Pins(),
	})
}
