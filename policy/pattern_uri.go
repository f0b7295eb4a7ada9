// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const atext = "a-zA-Z0-9!#$%&'+/=?^_`{|}~-" // RFC 5322 section 3.2.3, without the star

// compileEmail: local@domain. In the local part `*` never crosses a dot and
// `**` does; the domain is a DNS pattern.
func compileEmail(text string) (pattern, error) {
	local, domain, ok := strings.Cut(text, "@")
	if !ok || local == "" || domain == "" {
		return pattern{}, errors.New("it is not of the form local@domain")
	}
	if err := stars(text); err != nil {
		return pattern{}, err
	}
	if err := dotAtom(strings.ReplaceAll(local, "*", "x")); err != nil {
		return pattern{}, err
	}
	labels, err := dnsLabels(domain)
	if err != nil {
		return pattern{}, fmt.Errorf("its domain can't match: %w", err)
	}
	expression := translate(local, `[`+atext+`]*`, `[.`+atext+`]+`) + `@` + labelExpressions(labels)
	return pattern{text: text, whole: anchored(expression)}, nil
}

// spellEmail takes a Mailbox of RFC 5321 with a dot-atom local part (RFC 5280
// section 4.2.1.6), and gives the domain in lower case. Quoted local parts
// aren't accepted.
func spellEmail(value string) (string, error) { return mailbox(value, spellDNS) }

// mailbox is spellEmail with another rule for the domain.
func mailbox(value string, spellDomain func(string) (string, error)) (string, error) {
	local, domain, ok := strings.Cut(value, "@")
	if !ok {
		return "", errors.New("it has no @")
	}
	if err := dotAtom(strings.ReplaceAll(local, "*", "x")); err != nil {
		return "", err
	}
	domain, err := spellDomain(domain)
	if err != nil {
		return "", fmt.Errorf("its domain is no DNS name: %w", err)
	}
	return local + "@" + domain, nil
}

func dotAtom(local string) error {
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return errors.New("its local part has an empty piece")
		}
		if strings.ContainsFunc(atom, notAtext) {
			return errors.New("its local part has a letter that is not accepted")
		}
	}
	return nil
}

func notAtext(r rune) bool {
	return !isLDH(r) && !strings.ContainsRune("!#$%&'+/=?^_`{|}~", r)
}

// A uri is the split of a URI that patterns need. Opaque URIs such as urn:
// have only scheme and path.
type uri struct {
	scheme, host, port, path string
	authority                bool
}

func splitURI(text string) (uri, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || !isScheme(scheme) {
		return uri{}, errors.New("it does not begin with a scheme such as https:") //nolint:staticcheck // the colon is the scheme's
	}
	u := uri{scheme: asciiLower(scheme), path: upperEscapes(rest)}
	if strings.ContainsFunc(rest, notInURI) {
		return uri{}, errors.New("it has a character that no URI has")
	}
	if !strings.HasPrefix(rest, "//") {
		if rest == "" {
			return uri{}, errors.New("it has nothing behind the scheme")
		}
		return u, nil
	}
	u.authority = true
	end := strings.IndexAny(rest[2:], "/?#")
	if end < 0 {
		end = len(rest) - 2
	}
	authority := asciiLower(rest[2 : 2+end])
	u.path = upperEscapes(rest[2+end:])
	if strings.Contains(authority, "@") {
		return uri{}, errors.New("it has a user before the host")
	}
	u.host = authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		u.host, u.port = authority[:i], authority[i:]
		if _, ok := decimal(u.port[1:]); !ok {
			return uri{}, errors.New("its port is not a number")
		}
	}
	if u.host == "" {
		return uri{}, errors.New("it has no host")
	}
	return u, nil
}

func isScheme(s string) bool {
	if s == "" || !isLDH(rune(s[0])) || s[0] == '-' || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !isLDH(r) && r != '+' && r != '.' })
}

func notInURI(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", r)
}

// compileURI: scheme://host/path. In the host `*` and `**` are as in DNS
// patterns; in the path `*` never crosses a slash and `**` does. Neither
// reaches into a query or a fragment.
func compileURI(text string) (pattern, error) {
	if err := stars(text); err != nil {
		return pattern{}, err
	}
	ascii, err := asciiHost(text)
	if err != nil {
		return pattern{}, fmt.Errorf("its host can't match: %w", err)
	}
	u, err := splitURI(ascii)
	if err != nil {
		return pattern{}, err
	}
	expression := regexpScheme(u)
	if u.authority {
		host, err := hostExpression(u.host)
		if err != nil {
			return pattern{}, err
		}
		expression += host + translate(u.port, "", "")
	}
	if err := plainPath(u.path); err != nil {
		return pattern{}, err
	}
	one := `[^/?#]*`
	if !u.authority {
		one = `[^/:?#]*`
	}
	return pattern{text: text, whole: anchored(expression + translate(u.path, one, `[^?#]+`))}, nil
}

// asciiHost puts the xn-- form for the international labels of a URI's host.
func asciiHost(text string) (string, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return text, nil
	}
	host := rest
	if i := strings.IndexAny(rest, "/?#:"); i >= 0 {
		host = rest[:i]
	}
	if !strings.ContainsFunc(host, beyondASCII) {
		return text, nil
	}
	labels, err := dnsLabels(host)
	return scheme + "://" + strings.Join(labels, ".") + rest[len(host):], err
}

func regexpScheme(u uri) string {
	if u.authority {
		return translate(u.scheme+"://", "", "")
	}
	return translate(u.scheme+":", "", "")
}

func hostExpression(host string) (string, error) {
	if addr, ok := literalHost(host); ok {
		return translate(addr, "", ""), nil
	}
	labels, err := dnsLabels(host)
	if err != nil {
		return "", fmt.Errorf("its host can't match: %w", err)
	}
	return labelExpressions(labels), nil
}

// literalHost gives an IP address as a URI has it.
func literalHost(host string) (string, bool) {
	inner, bracketed := strings.CutPrefix(host, "[")
	inner = strings.TrimSuffix(inner, "]")
	addr, err := netip.ParseAddr(inner)
	if err != nil || addr.Zone() != "" || addr.Is4In6() || bracketed != addr.Is6() {
		return "", false
	}
	if bracketed {
		return "[" + addr.String() + "]", true
	}
	return addr.String(), true
}

// plainPath refuses what another reader could take for another path. text is
// the path with query and fragment.
func plainPath(text string) error {
	if err := plainEscapes(text); err != nil {
		return err
	}
	path, _, _ := strings.Cut(text, "?")
	path, _, _ = strings.Cut(path, "#")
	if strings.Contains(path, "%2F") || strings.Contains(path, "%00") {
		return errors.New("its path hides a slash or a NUL behind a percent sign")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return errors.New("its path has a segment . or ..") //nolint:staticcheck // the dots are the segment
		}
	}
	return nil
}

// plainEscapes refuses a percent-encoding of what is never encoded: the same
// URI is written without (RFC 3986 section 6.2.2.2).
func plainEscapes(text string) error {
	parts := strings.Split(text, "%")
	for _, part := range parts[1:] {
		letter, err := hex.DecodeString(part[:min(2, len(part))])
		if err != nil || len(letter) == 0 {
			return errors.New("it has a percent sign without two hexadecimal digits")
		}
		if r := rune(letter[0]); isLDH(r) || strings.ContainsRune("._~", r) {
			return fmt.Errorf("it hides %s behind a percent sign", quote(string(r)))
		}
	}
	return nil
}

// upperEscapes writes percent-encodings in upper case (RFC 3986 section
// 6.2.2.1).
func upperEscapes(text string) string {
	parts := strings.Split(text, "%")
	for i, part := range parts[1:] {
		n := min(2, len(part))
		parts[i+1] = strings.ToUpper(part[:n]) + part[n:]
	}
	return strings.Join(parts, "%")
}

// spellURI checks a URI, and gives scheme and host in lower case,
// percent-encodings in upper case (RFC 3986 section 6.2.2.1).
func spellURI(value string) (string, error) { return uriWith(value, spellDNS) }

// uriWith is spellURI with another rule for the host.
func uriWith(value string, spellHostName func(string) (string, error)) (string, error) {
	u, err := splitURI(value)
	if err != nil {
		return "", err
	}
	if err := plainPath(u.path); err != nil {
		return "", err
	}
	if !u.authority {
		return u.scheme + ":" + u.path, nil
	}
	host, ok := literalHost(u.host)
	if !ok {
		if _, err := spellHostName(strings.ReplaceAll(u.host, "*", "x")); err != nil {
			return "", fmt.Errorf("its host is no DNS name: %w", err)
		}
		host = u.host
	}
	return u.scheme + "://" + host + u.port + u.path, nil
}
