// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Bounds on a header: what a client says before anybody knows it.
const (
	maxHeader = 4096
	maxParams = 24
)

// errSyntax says no more: the header holds what people may type in the wrong
// field.
var errSyntax = errors.New("the Digest header can't be read")

// An answer is what an Authorization header says (RFC 7616 section 3.4).
type answer struct {
	user, realm, nonce, uri, response, algorithm, cnonce, qop, nc string
	opaque                                                        *string
}

// is tells whether a header is of the scheme Digest, and gives what follows.
func is(header string) (string, bool) {
	scheme, rest, ok := strings.Cut(header, " ")
	return rest, ok && strings.EqualFold(scheme, "Digest")
}

// parse reads a header. What must be there is there: an answer without nc and
// cnonce could be sent again and again (RFC 2069).
func parse(header string) (answer, error) {
	rest, ok := is(header)
	if !ok || len(header) > maxHeader {
		return answer{}, errSyntax
	}
	params, err := split(rest)
	if err != nil {
		return answer{}, err
	}
	// A hashed user name is offered by no challenge of ours.
	if params["userhash"] != "" && !strings.EqualFold(params["userhash"], "false") {
		return answer{}, errSyntax
	}
	user, err := userOf(params)
	if err != nil {
		return answer{}, err
	}
	a := answer{
		user: user, realm: params["realm"], nonce: params["nonce"], uri: params["uri"], response: params["response"],
		algorithm: params["algorithm"], cnonce: params["cnonce"], qop: params["qop"], nc: params["nc"],
	}
	if opaque, ok := params["opaque"]; ok {
		a.opaque = &opaque
	}
	for _, needed := range []string{a.user, a.realm, a.nonce, a.uri, a.response, a.cnonce, a.qop, a.nc} {
		if needed == "" {
			return answer{}, errSyntax
		}
	}
	return a, nil
}

// split reads a list of auth-params (RFC 9110 section 11.2). Each name stands
// once: of two values nobody could say which one counts.
func split(rest string) (map[string]string, error) {
	params := map[string]string{}
	for {
		rest = strings.TrimLeft(rest, " \t,") // a list may have empty elements
		if rest == "" {
			return params, nil
		}
		name, after := token(rest)
		after = strings.TrimLeft(after, " \t")
		if name == "" || !strings.HasPrefix(after, "=") || len(params) == maxParams {
			return nil, errSyntax
		}
		value, after, ok := value(strings.TrimLeft(after[1:], " \t"))
		name = strings.ToLower(name)
		if _, twice := params[name]; twice || !ok {
			return nil, errSyntax
		}
		params[name] = value
		rest = strings.TrimLeft(after, " \t")
		if rest != "" && rest[0] != ',' {
			return nil, errSyntax
		}
	}
}

// token gives the token that a text begins with (RFC 9110 section 5.6.2).
func token(text string) (string, string) {
	n := strings.IndexFunc(text, func(r rune) bool {
		alnum := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
	if n < 0 {
		n = len(text)
	}
	return text[:n], text[n:]
}

// value reads a token or a quoted-string. Clients quote what they need not,
// and the other way round.
func value(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		value, rest = token(text)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		c := text[i]
		switch c {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			if i++; i == len(text) {
				return "", "", false
			}
			c = text[i]
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", "", false
		}
		b.WriteByte(c)
	}
	return "", "", false
}

// userOf gives the user name: of `username`, or of `username*`, which is UTF-8
// in percent-encoding (RFC 7616 section 3.4, RFC 8187 section 3.2.1).
func userOf(params map[string]string) (string, error) {
	plain, hasPlain := params["username"]
	extended, has := params["username*"]
	if !has {
		return plain, nil
	}
	charset, rest, _ := strings.Cut(extended, "'")
	_, encoded, ok := strings.Cut(rest, "'") // the language says nothing
	user, err := url.PathUnescape(encoded)
	if hasPlain || !ok || err != nil || !strings.EqualFold(charset, "UTF-8") || !utf8.ValidString(user) {
		return "", errSyntax
	}
	return user, nil
}
