// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// parseSubject reads a subject as csr.Name prints it: "O=Example,
// CN=device", in the order encoded, with RFC 4514's escapes and + between the
// attributes of one RDN. An empty text is an empty subject.
func parseSubject(text string) (csr.Name, error) {
	var name csr.Name
	rest := strings.TrimLeft(text, " ") // a space at the end may be escaped
	if rest == "" {
		return nil, nil
	}
	var rdn csr.RDN
	for {
		kind, after, found := strings.Cut(rest, "=")
		if !found {
			return nil, fmt.Errorf("subject %q: want TYPE=VALUE at %q", text, rest)
		}
		oid, known := csr.TypeOID(strings.TrimSpace(kind))
		if !known {
			return nil, fmt.Errorf("subject %q: %q is neither a known attribute, such as CN, nor an OID", text, strings.TrimSpace(kind))
		}
		value, end, err := subjectValue(after)
		if err != nil {
			return nil, fmt.Errorf("subject %q: %w", text, err)
		}
		rdn = append(rdn, csr.NewAttributeValue(oid, value))
		if end == "" || end[0] == ',' {
			name, rdn = append(name, rdn), nil
		}
		if end == "" {
			return name, nil
		}
		rest = strings.TrimLeft(end[1:], " ")
	}
}

// subjectValue reads one value up to an unescaped comma or plus, which the
// rest begins with.
func subjectValue(text string) (value, rest string, err error) {
	var out strings.Builder
	kept := 0 // up to here, a space at the end was escaped
	text = strings.TrimLeft(text, " ")
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ',' || c == '+':
			return trimTail(out.String(), kept), text[i:], nil
		case c != '\\':
			out.WriteByte(c)
		case i+1 == len(text):
			return "", "", fmt.Errorf("a backslash at the end escapes nothing")
		case strings.IndexByte(` ,+"\<>;=#`, text[i+1]) >= 0:
			i++
			out.WriteByte(text[i])
			kept = out.Len()
		default:
			pair := text[i+1 : min(i+3, len(text))]
			octet, err := hex.DecodeString(pair)
			if err != nil || len(octet) != 1 {
				return "", "", fmt.Errorf("\\%s is no escape of RFC 4514", pair)
			}
			out.WriteByte(octet[0])
			i += 2
			kept = out.Len()
		}
	}
	return trimTail(out.String(), kept), "", nil
}

func trimTail(s string, kept int) string {
	return s[:kept] + strings.TrimRight(s[kept:], " ")
}

// sanForms are the prefixes of --san.
var sanForms = map[string]csr.NameForm{"dns": csr.DNS, "ip": csr.IP, "email": csr.Email, "uri": csr.URI}

// parseSAN reads the --san flags: dns:NAME, ip:ADDRESS, email:ADDRESS,
// uri:URI. Without a prefix, an address is an IP and anything else a DNS name.
func parseSAN(flags []string) ([]csr.GeneralName, error) {
	var names []csr.GeneralName
	for _, text := range flags {
		form, value := csr.DNS, text
		prefix, rest, found := strings.Cut(text, ":")
		if known, ok := sanForms[prefix]; ok && found {
			form, value = known, rest
		} else if _, err := netip.ParseAddr(text); err == nil {
			form = csr.IP
		}
		name, err := csr.NewName(form, value)
		if err != nil {
			return nil, fmt.Errorf("--san %q: %w", text, err)
		}
		names = append(names, name)
	}
	return names, nil
}
