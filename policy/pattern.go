// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A pattern is one compiled pattern of the policy file. Every match takes
// time linear in the value: Go's regexp is RE2.
type pattern struct {
	at   Pos
	text string
	// whole takes a value of the pattern's form, in the form's spelling.
	whole *matcher
	// check is there when letter case doesn't count, and says whether a value
	// in lower case, which whole takes, follows the rules of host names.
	check func(string) error
	// tail is how each value ends that whole takes: most values are told apart
	// by it, at the cost of a comparison. Only with check.
	tail string
	// star is true when the first label of a DNS pattern is "*", and rest
	// takes what follows the first label of a name.
	star bool
	rest *matcher
	// prefix stands for whole in IP patterns, and rdns in those of
	// directoryNames.
	prefix netip.Prefix
	rdns   []rdnPattern
}

// A form is how a kind of name is spelled and compared.
type form struct {
	name string // for messages: "DNS name"
	// compile makes a pattern, and refuses one that can never match.
	compile func(string) (pattern, error)
	// spell checks a requested value and gives it as patterns compare it.
	spell func(string) (string, error)
}

// The forms of names that have patterns.
var (
	dnsForm   = form{"DNS name", compileDNS, spellDNS}
	ipForm    = form{"IP address", compileIP, spellIP}
	emailForm = form{"mail address", compileEmail, spellEmail}
	uriForm   = form{"URI", compileURI, spellURI}
	textForm  = form{"value", compileText, spellText}
	// identifierForm is for subject attributes that name a machine or an
	// account: no letters that look like others.
	identifierForm = form{"name", compileIdentifier, spellText}
)

const maxPattern = 1024

// match tells whether a value, spelled by the form, is of the pattern. A
// value with `*` is of no pattern: see matchWildcard.
func (p pattern) match(spelled string) bool {
	if p.prefix.IsValid() {
		addr, err := netip.ParseAddr(spelled)
		return err == nil && p.prefix.Contains(addr)
	}
	if len(p.rdns) > 0 {
		return p.matchDirectory(spelled)
	}
	if p.check != nil {
		name := asciiLower(spelled)
		return strings.HasSuffix(name, p.tail) && p.whole.MatchString(name) && p.check(name) == nil
	}
	return p.whole != nil && p.whole.MatchString(spelled)
}

// matchWildcard tells whether the wildcard name "*."+rest is of the pattern:
// the pattern itself begins with the whole label `*`.
func (p pattern) matchWildcard(rest string) bool {
	return p.star && p.rest != nil && p.rest.MatchString(rest)
}

// touchesWildcard tells whether the wildcard name "*."+rest stands for some
// name of the pattern.
func (p pattern) touchesWildcard(rest string) bool {
	return p.rest != nil && p.rest.MatchString(rest)
}

// A matcher is an expression that is compiled when it is first asked: a large
// policy has many patterns, and a request asks few.
type matcher struct {
	compile func() *regexp.Regexp
}

// MatchString tells whether the whole text is of the expression.
func (m *matcher) MatchString(text string) bool { return m.compile().MatchString(text) }

// anchored makes a matcher. The expression is one of translate's and therefore
// valid.
func anchored(expression string) *matcher {
	return &matcher{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A(?s:` + expression + `)\z`) })}
}

// translate turns a pattern's text into an expression: literal text quoted,
// `*` and `**` by what the form puts for them.
func translate(text, one, many string) string {
	var b strings.Builder
	for text != "" {
		i := strings.IndexByte(text, '*')
		switch {
		case i < 0:
			b.WriteString(regexp.QuoteMeta(text))
			return b.String()
		case i > 0:
			b.WriteString(regexp.QuoteMeta(text[:i]))
			text = text[i:]
		case strings.HasPrefix(text, "**"):
			b.WriteString(many)
			text = text[2:]
		default:
			b.WriteString(one)
			text = text[1:]
		}
	}
	return b.String()
}

func stars(text string) error {
	if strings.Contains(text, "***") {
		return errors.New("more than two * in a row have no meaning")
	}
	if len(text) > maxPattern {
		return fmt.Errorf("it is longer than %d bytes", maxPattern)
	}
	return nil
}

// What stars stand for in text: of any letters, and of ASCII alone.
const (
	anyRun    = `[^.]*`
	anySome   = `.+`
	asciiRun  = `[ -\-/-~]*`
	asciiSome = `[ -~]+`
)

// compileText: `*` is any run of printable letters without a dot, `**` is one
// or more of any. Letter case counts.
func compileText(text string) (pattern, error) {
	return compileValue("", text, anyRun, anySome)
}

// compileIdentifier is compileText where `*` stands for ASCII only. A pattern
// with the shape of a DNS name is one: case doesn't count, and every label
// follows the rules of host names.
func compileIdentifier(text string) (pattern, error) {
	if strings.Contains(text, ".") && !strings.ContainsFunc(text, notInHostPattern) {
		if _, err := netip.ParseAddr(text); err != nil {
			return compileDNS(text)
		}
	}
	return compileValue("", text, asciiRun, asciiSome)
}

// compileValue makes a pattern of text behind a prefix that is part of every
// value.
func compileValue(prefix, text, one, many string) (pattern, error) {
	if err := plainText(text); err != nil {
		return pattern{}, err
	}
	return pattern{text: prefix + text, whole: anchored(regexp.QuoteMeta(prefix) + translate(text, one, many))}, nil
}

// plainText tells why a pattern of text can match none.
func plainText(text string) error {
	if err := stars(text); err != nil {
		return err
	}
	_, err := spellText(strings.ReplaceAll(text, "*", "x"))
	return err
}

// spellText takes any printable text. What can't be seen can't be reviewed.
func spellText(value string) (string, error) {
	switch {
	case value == "":
		return "", errors.New("it is empty")
	case !utf8.ValidString(value):
		return "", errors.New("it is not UTF-8")
	case strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", errors.New("it has a control character or another that can't be seen")
	case strings.TrimSpace(value) != value:
		return "", errors.New("it begins or ends with a space")
	}
	return value, nil
}

func compileIP(text string) (pattern, error) {
	addr, err := netip.ParseAddr(text)
	if err == nil {
		if addr.Zone() != "" {
			return pattern{}, errors.New("an address with a zone can't be in a certificate")
		}
		if addr.Is4In6() {
			return pattern{}, errors.New("IPv4 within IPv6 is never accepted: write the IPv4 address")
		}
		return pattern{text: text, prefix: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return pattern{}, errors.New("it is neither an IP address nor a range such as 10.20.0.0/16")
	case prefix.Addr().Is4In6():
		return pattern{}, errors.New("IPv4 within IPv6 is never accepted: write the IPv4 range")
	case prefix.Masked() != prefix:
		return pattern{}, fmt.Errorf("it has host bits: write %s", prefix.Masked())
	}
	return pattern{text: text, prefix: prefix}, nil
}

func spellIP(value string) (string, error) {
	addr, err := netip.ParseAddr(value)
	switch {
	case err != nil || addr.Zone() != "":
		return "", errors.New("it is not an IP address")
	case addr.Is4In6():
		return "", errors.New("it is an IPv4 address within IPv6")
	}
	return addr.String(), nil
}

// matchAny gives whether one of the patterns takes the value.
func matchAny(patterns []pattern, matches func(pattern) bool) (pattern, bool) {
	i := slices.IndexFunc(patterns, matches)
	if i < 0 {
		return pattern{}, false
	}
	return patterns[i], true
}

func patternTexts(patterns []pattern) []string {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.text
	}
	return texts
}
