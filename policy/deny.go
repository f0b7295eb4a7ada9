// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"unicode/utf8"

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
	same, spell := func(text string) string { return text }, f.spell
	switch f.name {
	case emailForm.name, upnForm.name:
		same = asciiLower // the local part too: few hosts tell ADMIN from admin
		spell = func(value string) (string, error) { return mailbox(value, anyHost) }
	case uriForm.name:
		same = plainURI
		spell = func(value string) (string, error) { return uriWith(value, anyHost) }
	case directoryForm.name:
		same = plainDirectory
	case dnsForm.name:
		return form{f.name, compileDenied, anyHost}
	default:
		return f
	}
	compile := func(text string) (pattern, error) {
		p, err := f.compile(same(text))
		p.text = text
		return p, err
	}
	return form{f.name, compile, func(value string) (string, error) {
		spelled, err := spell(value)
		return same(spelled), err
	}}
}

// compileDenied is compileDNS for any host: what reads a name may not look
// whether its labels are valid.
func compileDenied(text string) (pattern, error) {
	p, err := compileDNS(text)
	p.check = func(string) error { return nil }
	return p, err
}

func anyHost(value string) (string, error) { return asciiLower(value), nil }

// plainDirectory: RFC 5280 section 7.1 compares names without letter case,
// and with runs of spaces as one.
func plainDirectory(text string) string {
	name, err := csr.ParseName(text)
	if err != nil {
		return text
	}
	for _, rdn := range name {
		for i, value := range rdn {
			if len(value.Raw) == 0 {
				rdn[i] = csr.NewAttributeValue(value.Type, strings.Join(strings.Fields(asciiLower(value.Value)), " "))
			}
		}
	}
	return name.String()
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
// whatever its query and its fragment are, a directoryName whatever else it
// has.
func (g *guardrails) denies(key sanKey, value string) (pattern, spot, bool) {
	rule, ok := g.deny[key]
	if !ok {
		return pattern{}, spot{}, false
	}
	spelled, err := rule.form.spell(value)
	if err != nil {
		return pattern{}, spot{}, false
	}
	short := spelled
	if i := strings.IndexAny(spelled, "?#"); key.form == csr.URI && i >= 0 {
		short = spelled[:i]
	}
	rest, wildcard := cutWildcard(spelled)
	p, hit := matchAny(rule.patterns, func(p pattern) bool {
		return p.match(spelled) || short != spelled && p.match(short) || wildcard && p.touchesWildcard(rest) || len(p.rdns) > 0 && p.touchesDirectory(spelled)
	})
	return p, spot{p.at, rule.spot.path}, hit
}

// deniesName looks at a SAN entry also as the names of other forms that it is
// used as.
func (g *guardrails) deniesName(key sanKey, value string) (pattern, spot, bool) {
	if p, at, denied := g.denies(key, value); denied || key.form != csr.OtherName && key.form != csr.DirectoryName {
		return p, at, denied
	}
	switch key {
	case principalName:
		return g.denies(sanKey{form: csr.Email}, value)
	case sanKey{form: csr.DirectoryName}:
		return g.deniesInDirectory(value)
	}
	// An SRVName (RFC 4985) is a host behind labels with underscores, an
	// SmtpUTF8Mailbox (RFC 9598) a mail address; any other text may be one.
	for _, prefix := range []string{utf8Prefix, ia5Prefix} {
		if text, ok := strings.CutPrefix(value, prefix); ok {
			return g.deniesCommonName(withoutService(text))
		}
	}
	return pattern{}, spot{}, false
}

// withoutService cuts the labels of a service: _ldap._tcp.host.
func withoutService(text string) string {
	for strings.HasPrefix(text, "_") {
		_, rest, found := strings.Cut(text, ".")
		if !found {
			break
		}
		text = rest
	}
	return text
}

func (g *guardrails) deniesInDirectory(value string) (pattern, spot, bool) {
	name, err := csr.ParseName(value)
	if err != nil {
		return pattern{}, spot{}, false
	}
	for _, rdn := range name {
		for _, attribute := range rdn {
			if p, at, denied := g.deniesAttribute(attribute.Type.String(), attribute.Value); denied {
				return p, at, denied
			}
		}
	}
	return pattern{}, spot{}, false
}

// deniesAttribute: what looks like a name of another form is used as one, and
// is denied as one.
func (g *guardrails) deniesAttribute(oid, value string) (pattern, spot, bool) {
	switch oid {
	case emailInSubject:
		return g.denies(sanKey{form: csr.Email}, value)
	case commonName:
		return g.deniesCommonName(value)
	}
	return pattern{}, spot{}, false
}

func (g *guardrails) deniesCommonName(value string) (pattern, spot, bool) {
	if len(g.deny) == 0 {
		return pattern{}, spot{}, false
	}
	host := hostIn(value)
	if addr, ok := parseAddress(host); ok {
		return g.denies(sanKey{form: csr.IP}, addr.Unmap().WithZone("").String())
	}
	if strings.ContainsFunc(host, beyondASCII) {
		if ascii, err := lookupIDNA.ToASCII(host); err == nil {
			host = ascii // what a browser makes of international letters
		}
	}
	if p, at, denied := g.denies(sanKey{form: csr.DNS}, strings.Map(hostLetter, host)); denied {
		return p, at, true
	}
	if p, at, denied := g.denies(sanKey{form: csr.Email}, value); denied {
		return p, at, true
	}
	return g.denies(sanKey{form: csr.URI}, value)
}

// hostLetter: what is not a letter of host names, and yet many take for one.
func hostLetter(r rune) rune {
	if r == '_' || r >= utf8.RuneSelf {
		return 'x'
	}
	return r
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
