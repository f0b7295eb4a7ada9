// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"slices"
)

// A listRule says which attributes or extensions a request may have.
type listRule struct {
	spot    spot
	require []listed
	allow   []listed
	ignore  []listed
}

// A listed is one entry of such a list.
type listed struct {
	spot spot
	oid  asn1.ObjectIdentifier
	name string
	// Of attributes: where the values go, and for subjectDirectoryAttributes
	// which ones may.
	into    destination
	intoAt  spot
	bounded bool
	allow   []pattern
	allowAt spot
}

// A destination is where the values of an attribute go.
type destination uint8

const (
	nowhere destination = iota
	intoSubject
	intoDirectory // subjectDirectoryAttributes, RFC 5280 section 4.2.1.8
)

// A treatment is what a listRule does with an OID.
type treatment uint8

const (
	unlisted treatment = iota
	allowed
	ignored
)

// taken gives the entries under require and allow.
func (r listRule) taken() []listed { return slices.Concat(r.require, r.allow) }

func (r listRule) treat(oid asn1.ObjectIdentifier) (listed, treatment) {
	is := func(l listed) bool { return l.oid.Equal(oid) }
	for _, list := range [][]listed{r.require, r.allow} {
		if i := slices.IndexFunc(list, is); i >= 0 {
			return list[i], allowed
		}
	}
	if i := slices.IndexFunc(r.ignore, is); i >= 0 {
		return r.ignore[i], ignored
	}
	return listed{}, unlisted
}

// list reads the three lists. An entry is a name or an OID, or a map with one
// under `name`.
func (c *compiler) list(n node, oidOf func(string) (asn1.ObjectIdentifier, bool), known []string) listRule {
	rule := listRule{spot: n.spot()}
	seen := map[string]int{}
	read := func(list node) []listed {
		var entries []listed
		for _, item := range list.items() {
			name := item
			if !item.isText() {
				name = item.get("name")
			}
			if !name.isText() {
				continue // a checker's
			}
			oid, ok := oidOf(name.value())
			if !ok {
				c.add(name.at, "%s is neither a name known here nor an OID%s", quote(name.value()), didYouMean(name.value(), known))
				continue
			}
			if line, twice := seen[oid.String()]; twice {
				c.add(name.at, "%s already stands on line %d", quote(name.value()), line)
			}
			seen[oid.String()] = name.at.Line
			entry := listed{spot: spot{item.at, item.path}, oid: oid, name: name.value()}
			c.destination(item, &entry)
			entries = append(entries, entry)
		}
		return entries
	}
	rule.require, rule.allow, rule.ignore = read(n.get("require")), read(n.get("allow")), read(n.get("ignore"))
	return rule
}

func wantsOf(r listRule) string {
	var names []string
	for _, entry := range r.taken() {
		names = append(names, entry.name)
	}
	return showList(names)
}
