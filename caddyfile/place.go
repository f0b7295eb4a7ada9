// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// A place is one occurrence of the directive. An import brings the same line
// of the same file again, so line and file alone don't tell two apart.
type place struct {
	token caddyfile.Token
	shown string // as messages name token
	named bool   // in a named route
	nth   int    // of the occurrences with this token, counted from 1
}

// find says where the directive stands that h is at. Caddy evaluates the
// directives of one Caddyfile in their order, with one State.
func find(h httpcaddyfile.Helper) place {
	at := place{token: h.Token(), shown: show(h, h.Token()), named: h.IsNamedRoute()}
	seen, ok := h.State["est"].(map[string]int)
	if !ok {
		seen = map[string]int{}
		h.State["est"] = seen
	}
	seen[at.shown]++
	at.nth = seen[at.shown]
	return at
}

// String is unlike that of any other occurrence: the handler finds its site
// by it.
func (p place) String() string {
	text := p.shown
	if p.named {
		text += " (named route)"
	}
	if p.nth > 1 {
		text += fmt.Sprintf(" (import %d)", p.nth)
	}
	return text
}

// show names a token's file and line. The file is relative to the folder of
// the main Caddyfile, so that a configuration is the same wherever it lies.
// One from standard input or the admin API lies where Caddy runs.
func show(h httpcaddyfile.Helper, t caddyfile.Token) string {
	main, _ := h.Option("filename").(string)
	file, err := relative(filepath.Dir(main), t.File)
	if err != nil {
		file = t.File
	}
	return fmt.Sprintf("%s:%d", filepath.ToSlash(file), t.Line)
}

// relative is file as seen from folder. Either may be relative itself.
func relative(folder, file string) (string, error) {
	from, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}
