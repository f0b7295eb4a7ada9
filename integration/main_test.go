// SPDX-License-Identifier: Apache-2.0

// Package integration tests Estra as its users meet it: a Caddy process with
// the plugin, real certification authorities behind it, and clients that are
// not ours in front.
package integration

import (
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-est/estra"
	_ "github.com/caddy-est/estra/module/srp"
)

// asCaddy makes this test binary be Caddy with Estra: one link serves both.
const asCaddy = "ESTRA_TEST_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) == "1" {
		caddycmd.Main()
		return
	}
	code := m.Run()
	for _, f := range cleanUp {
		f()
	}
	os.Exit(code)
}

// cleanUp is done after all tests.
var cleanUp []func()
