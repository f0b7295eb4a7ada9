// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
)

// A nameRule says which values one subject attribute or one form of SAN may
// have.
type nameRule struct {
	spot       spot
	label      string      // how messages call it: "subject attribute CN", "DNS name"
	celTypes   []*cel.Type // what an expression for it may give
	form       form
	bounded    bool // allow or a list under require stands in the file
	allow      []pattern
	allowAt    spot
	require    bool // a value must be there
	required   []pattern
	requireAt  spot
	max        int // 0 is no bound of its own
	maxAt      spot
	set        []string
	setBy      *expression // set: {cel: …}; set is empty then, until a request is there
	setAt      spot
	wildcard   bool
	wildcardAt spot
}

func (r *nameRule) sets() bool { return len(r.set) > 0 || r.setBy != nil }

// nameRule reads what subject attributes and SAN forms have in common. The
// caller reads set.
func (c *compiler) nameRule(n node, label string, f form, gives ...*cel.Type) nameRule {
	r := nameRule{spot: n.spot(), label: label, form: f, celTypes: gives}
	allow, require, most := n.get("allow"), n.get("require"), n.get("max")
	r.allowAt, r.requireAt, r.maxAt = allow.spot(), require.spot(), most.spot()
	r.allow = c.patterns(allow, f)
	r.bounded = allow.present() || require.isList()
	r.require = require.on()
	r.required = c.patterns(require, f)
	if count, ok := most.number(); ok {
		r.max = count
		if count < 1 {
			c.add(most.at, "`%s` is at least 1", most.path)
		}
	}
	r.wildcard, r.wildcardAt = n.get("wildcard").on(), n.get("wildcard").spot()
	if r.wildcard && f.name != dnsForm.name && f.name != identifierForm.name {
		c.add(r.wildcardAt.at, "`%s` has no meaning here: only DNS names have wildcards", r.wildcardAt.path)
	}
	for _, list := range []node{allow, require} {
		if list.isList() && len(list.items()) == 0 {
			c.add(list.at, "`%s` is an empty list, which takes nothing", list.path)
		}
	}
	return r
}

// unset looks at a rule without set.
func (c *compiler) unset(r *nameRule) {
	if !r.bounded && !r.require {
		c.add(r.spot.at, "`%s` takes no value: it has none of allow, require and set", r.spot.path)
	}
	if r.require && !r.bounded {
		c.warn(lintAnyValue, r.requireAt, "`%s` without allow takes any value", r.requireAt.path)
	}
}

// literals gives the rule the values of set, held against the rest of the
// rule.
func (c *compiler) literals(r *nameRule, set node) {
	r.set, r.setBy, r.setAt = nil, nil, set.spot()
	if cel := set.get("cel"); cel.present() {
		r.setBy = c.expression(cel, c.scope, r.celTypes...)
		return
	}
	items := []node{set}
	if set.isList() {
		items = set.texts()
		if len(set.items()) == 0 {
			c.add(set.at, "`%s` is an empty list: leave the key out to have no such name", set.path)
		}
	}
	for _, item := range items {
		value, ok := item.text()
		if !ok {
			continue
		}
		if _, err := r.form.spell(value); err != nil {
			c.add(item.at, "%s can't be the %s: %v", quote(value), r.label, err)
			continue
		}
		r.set = append(r.set, value)
		if _, err := r.accepts(value); err != nil && r.bounded {
			c.add(item.at, "`allow` and `set` disagree: %s can't be set: %v", quote(value), err)
		} else if err != nil {
			c.add(item.at, "%s can't be the %s: %v", quote(value), r.label, err)
		}
	}
	if r.max > 0 && len(r.set) > r.max {
		c.add(r.setAt.at, "`set` has %d values, and `max` is %d", len(r.set), r.max)
	}
}

// accepts tells whether a value is accepted, and which line says so. It looks
// at allow, require and wildcard; set and max are the caller's.
func (r *nameRule) accepts(value string) (spot, error) {
	spelled, err := r.form.spell(value)
	if err != nil {
		return r.spot, err
	}
	at := r.spot
	if r.bounded {
		at = r.allowAt
		if len(r.allow) == 0 {
			at = r.requireAt
		}
	}
	if strings.Contains(spelled, "*") && (r.bounded || r.form.name != textForm.name) {
		return r.acceptsWildcard(at, spelled)
	}
	if !r.bounded {
		if r.require || r.sets() {
			return at, nil
		}
		return at, errors.New("the line has no pattern")
	}
	matches := func(p pattern) bool { return p.match(spelled) }
	if p, ok := matchAny(r.allow, matches); ok {
		return spot{p.at, r.allowAt.path}, nil
	}
	if p, ok := matchAny(r.required, matches); ok {
		return spot{p.at, r.requireAt.path}, nil
	}
	return at, fmt.Errorf("it is not one of those allowed: %s", r.wants())
}

// acceptsWildcard: only a whole first label may be `*`, and only the pattern
// with the same first label takes it.
func (r *nameRule) acceptsWildcard(at spot, spelled string) (spot, error) {
	rest, ok := cutWildcard(asciiLower(spelled))
	if !ok || strings.Contains(rest, "*") {
		return at, errors.New("* may only be the whole first label of a DNS name")
	}
	if !r.wildcard {
		return r.spot, errors.New("it is a wildcard name, which needs `wildcard: true`")
	}
	if _, err := spellDNS(rest); err != nil {
		return at, fmt.Errorf("it is no wildcard DNS name: %w", err)
	}
	if !r.bounded && (r.require || r.sets()) {
		return at, nil
	}
	matches := func(p pattern) bool { return p.matchWildcard(rest) }
	if p, ok := matchAny(r.allow, matches); ok {
		return spot{p.at, r.allowAt.path}, nil
	}
	if p, ok := matchAny(r.required, matches); ok {
		return spot{p.at, r.requireAt.path}, nil
	}
	return at, fmt.Errorf("it is a wildcard name, and allowed are %s", r.wants())
}

func (r *nameRule) wants() string {
	return showList(patternTexts(append(r.allow[:len(r.allow):len(r.allow)], r.required...)))
}

// counts holds how many values were asked for against require and max.
func (j *judge) counts(r *nameRule, values []string) {
	if r.require && len(values) > 0 {
		j.asked(r.requireAt, "", "", "holds")
	}
	if r.require && len(values) == 0 {
		j.add(r.requireAt, Required, ByPolicy, "", r.wants(), "the request has no %s, and one must be there", r.label)
	}
	for _, p := range r.required {
		if p.satisfied(r.form, values) {
			j.asked(spot{p.at, r.requireAt.path}, "", p.text, "holds")
		} else {
			j.add(spot{p.at, r.requireAt.path}, Required, ByPolicy, showList(values), quote(p.text),
				"the request has no %s that is %s, and one must be there", r.label, quote(p.text))
		}
	}
	if r.max > 0 && len(values) > 0 && (len(values) <= r.max || r.sets()) {
		j.asked(r.maxAt, "", "", "holds")
	}
	if r.max > 0 && len(values) > r.max && !r.sets() {
		j.refuse(r.maxAt, ByPolicy, fmt.Sprint(len(values)), fmt.Sprintf("at most %d", r.max),
			"the request has %d values of the %s, and at most %d may be there", len(values), r.label, r.max)
	}
}

// satisfied tells whether one of the values is of the pattern.
func (p pattern) satisfied(f form, values []string) bool {
	for _, value := range values {
		spelled, err := f.spell(value)
		if err != nil {
			continue
		}
		rest, wildcard := cutWildcard(asciiLower(spelled))
		if p.match(spelled) || wildcard && p.matchWildcard(rest) {
			return true
		}
	}
	return false
}
