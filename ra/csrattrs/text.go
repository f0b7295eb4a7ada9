// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// fillIn stands for a value that is the client's.
const fillIn = "(to be filled in)"

// Lines says what is wanted for a person, one thing a line: a word, and what
// it is about. What comes from the server is escaped.
func (w Wanted) Lines() []string {
	var lines []string
	add := func(word, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%-10s %s", word, fmt.Sprintf(format, args...)))
	}
	for _, rdn := range w.Subject {
		texts := make([]string, len(rdn))
		for i, a := range rdn {
			texts[i] = csr.TypeName(a.Type) + "=" + valueText(a.Value)
		}
		add("subject", "%s", strings.Join(texts, "+"))
	}
	for _, k := range w.Keys {
		add("key", "%s", keyText(k))
	}
	for _, e := range w.Extensions {
		text := valueText(e.Value)
		if names, err := e.Names(); err == nil && e.ID.Equal(oidSubjectAltName) {
			texts := make([]string, len(names))
			for i, name := range names {
				texts[i] = name.String()
			}
			text = strings.Join(texts, ", ")
		}
		if e.Critical {
			text += ", critical"
		}
		add("extension", "%s %s", e.ID, text)
	}
	for _, a := range w.Attributes {
		text := fillIn
		if len(a.Values) > 0 {
			text = valueText(a.Values[0])
		}
		add("attribute", "%s %s", csr.TypeName(a.Type), text)
	}
	if w.Signature != nil {
		add("signature", "%s", w.Signature)
	}
	return lines
}

func keyText(k policy.KeyHint) string {
	switch {
	case k.Bits > 0:
		return fmt.Sprintf("%s %d", k.Algorithm, k.Bits)
	case k.Curve != "":
		return fmt.Sprintf("%s %s", k.Algorithm, k.Curve)
	}
	return string(k.Algorithm)
}

// valueText gives a string's text in quotes, and anything else in hex.
func valueText(der []byte) string {
	if der == nil {
		return fillIn
	}
	input, content := cryptobyte.String(der), cryptobyte.String(nil)
	var tag cbasn1.Tag
	if input.ReadAnyASN1(&content, &tag) && input.Empty() && utf8.Valid(content) {
		switch tag {
		case cbasn1.UTF8String, cbasn1.PrintableString, cbasn1.IA5String:
			return strconv.QuoteToASCII(string(content))
		default:
		}
	}
	return hex.EncodeToString(der)
}

// String gives "dns:a.example", an IP address, and other forms in hex.
func (n Name) String() string {
	prefix := n.Form.String() + ":"
	if n.Raw == nil {
		return prefix + fillIn
	}
	input, content := cryptobyte.String(n.Raw), cryptobyte.String(nil)
	if !input.ReadAnyASN1(&content, nil) {
		return prefix + hex.EncodeToString(n.Raw)
	}
	switch n.Form {
	case csr.DNS, csr.Email, csr.URI:
		quoted := strconv.QuoteToASCII(string(content))
		return prefix + quoted[1:len(quoted)-1]
	case csr.IP:
		if addr, ok := netip.AddrFromSlice(content); ok {
			return prefix + addr.String()
		}
	default:
	}
	return prefix + hex.EncodeToString(content)
}
