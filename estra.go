// SPDX-License-Identifier: Apache-2.0

// Package estra is an EST (RFC 7030) registration authority for Caddy.
//
// Import it into a custom Caddy, or build one with
//
//	xcaddy build --with github.com/caddy-est/estra
//
// It brings the directive `est`, the modules behind it and the commands
// `caddy est …`.
package estra

import (
	_ "github.com/caddy-est/estra/caddyfile"      // the directive
	_ "github.com/caddy-est/estra/module"         // the modules
	_ "github.com/caddy-est/estra/module/command" // the commands
)
