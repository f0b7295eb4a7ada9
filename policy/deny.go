// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// A denyRule has patterns of names that no certificate may have.
type denyRule struct {
	spot     spot
	form     form
	patterns []pattern
}

// forDeny gives a form as guardrails compare it: where two spellings may well
// mean the same, they count as the same. What a profile allows is compared
// without that.
func (f form) forDeny() form {
	same := func(text string) string { return text }
	switch f.name {
	case emailForm.name:
		same = asciiLower // the local part too: few hosts tell ADMIN from admin
	case uriForm.name:
		same = plainURI
	default:
		return f
	}
	compile := func(text string) (pattern, error) {
		p, err := f.compile(same(text))
		p.text = text
		return p, err
	}
	spell := func(value string) (string, error) {
		spelled, err := f.spell(value)
		return same(spelled), err
	}
	return form{f.name, compile, spell}
}

// plainURI leaves out the port that a scheme has anyway, and puts the slash
// for an empty path (RFC 3986 section 6.2.3).
func plainURI(text string) string {
	u, err := splitURI(text)
	if err != nil || !u.authority {
		return text
	}
	if u.scheme == "https" && u.port == ":443" || u.scheme == "http" && u.port == ":80" {
		u.port = ""
	}
	if !strings.HasPrefix(u.path, "/") {
		u.path = "/" + u.path
	}
	return u.scheme + "://" + u.host + u.port + u.path
}

// denies gives the pattern that forbids a name. The value is as the request
// has it; one that its form can't spell is refused elsewhere. A URI is denied
// whatever its query and its fragment are.
func (g *guardrails) denies(tag csr.NameForm, value string) (pattern, spot, bool) {
	rule, ok := g.deny[tag]
	if !ok {
		return pattern{}, spot{}, false
	}
	spelled, err := rule.form.spell(value)
	if err != nil {
		return pattern{}, spot{}, false
	}
	short := spelled
	if i := strings.IndexAny(spelled, "?#"); tag == csr.URI && i >= 0 {
		short = spelled[:i]
	}
	rest, wildcard := cutWildcard(spelled)
	p, hit := matchAny(rule.patterns, func(p pattern) bool {
		return p.match(spelled) || p.match(short) || wildcard && p.touchesWildcard(rest)
	})
	return p, spot{p.at, rule.spot.path}, hit
}

// deniesAttribute: what looks like a name of another form is used as one, and
// is denied as one.
func (g *guardrails) deniesAttribute(oid, value string) (pattern, spot, bool) {
	switch oid {
	case emailInSubject:
		return g.denies(csr.Email, value)
	case commonName:
		return g.deniesCommonName(value)
	}
	return pattern{}, spot{}, false
}

func (g *guardrails) deniesCommonName(value string) (pattern, spot, bool) {
	host := hostIn(value)
	if addr, ok := parseAddress(host); ok {
		return g.denies(csr.IP, addr.Unmap().WithZone("").String())
	}
	// Not a letter of host names, and yet many take it for one.
	if p, at, denied := g.denies(csr.DNS, strings.ReplaceAll(host, "_", "x")); denied {
		return p, at, true
	}
	if p, at, denied := g.denies(csr.Email, value); denied {
		return p, at, true
	}
	return g.denies(csr.URI, value)
}

// hostIn gives the host of a URL and of host:port. Of a plain host, and of
// text that is none of these, it leaves what matters.
func hostIn(value string) string {
	_, authority, isURL := strings.Cut(value, "//")
	if !isURL {
		authority = value
	}
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	if i := strings.LastIndexByte(authority, '@'); isURL && i >= 0 {
		authority = authority[i+1:]
	}
	if inner, ok := strings.CutPrefix(authority, "["); ok {
		host, _, _ := strings.Cut(inner, "]")
		return host
	}
	host, port, _ := strings.Cut(authority, ":")
	if strings.Trim(port, "0123456789") != "" {
		return authority // an IPv6 address, or text
	}
	return strings.TrimSuffix(host, ".")
}
