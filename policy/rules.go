// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strconv"
	"strings"
)

// A Rule is one line of a policy file that says something: for tools that
// compare policies, or count which rules are ever asked.
type Rule struct {
	Pos  Pos    // of the key; of a default, where it would stand
	Path string // such as profiles.routers.san.dns.allow
	// Values is what the line says: one text, or one for each item of a list.
	Values []string
	// Items are the places of Values, where each item is a rule of its own
	// that a request meets or doesn't meet.
	Items []Pos
	// Default is true when the line isn't in the file, and Values is what
	// holds without it.
	Default bool
	// Decides is false for a line that no decision asks, such as `about`.
	Decides bool
	// Change says what another value would mean.
	Change Change
	// Order has the values from the narrowest to the widest, with ByOrder.
	Order []string
}

// Change says what it means when the values of a rule become others.
type Change uint8

// The meanings of a change.
const (
	Neither        Change = iota // other certificates, neither more nor fewer
	MoreIsWider                  // each value lets something in
	MoreIsNarrower               // each value keeps something out
	LargerIsWider                // a bound
	ByOrder                      // by Rule.Order
	Nothing                      // nothing is decided by it
)

// A meaning is what a key means for Rules. each: its items are met one by one.
type meaning struct {
	change Change
	each   bool
	order  []string
}

var (
	widens   = meaning{change: MoreIsWider, each: true}
	narrows  = meaning{change: MoreIsNarrower, each: true}
	bound    = meaning{change: LargerIsWider}
	writes   = meaning{}
	inert    = meaning{change: Nothing}
	trueWide = meaning{change: ByOrder, order: []string{"false", "true"}}
	trueSafe = meaning{change: ByOrder, order: []string{"true", "false"}}
	offered  = meaning{change: ByOrder, order: []string{"not offered", "offered"}}
)

func ordered(narrow, wide string) meaning {
	return meaning{change: ByOrder, order: []string{narrow, wide}}
}

// meanings by the end of a path: the longest that fits counts. A test holds
// that each key of the language has one.
var meanings = map[string]meaning{
	"version": inert, "name": inert, "default": inert, "about": inert, "owner": inert,
	"labels": {change: MoreIsWider}, "upstream": writes, "csrattrs.format": inert, "csrattrs.linking": inert,

	"guardrails.never": narrows, "deny.dns": narrows, "deny.ip": narrows, "deny.email": narrows, "deny.uri": narrows,
	"limits.csr_bytes": bound, "limits.names": bound,
	"rsa": widens, "ecdsa": widens, "ed25519": trueWide, "rsa_exponents": widens, "signatures": widens,
	"hygiene.roca": trueSafe, "hygiene.close_primes": trueSafe, "hygiene.small_factors": trueSafe,
	"hygiene.debian_weak": narrows, "hygiene.blocked": narrows, "hygiene.reuse": ordered("forbid", "allow"),
	"validity.default": bound, "validity.max": bound,

	"enroll": offered, "reenroll": offered, "serverkeygen.enabled": trueWide,
	"who": widens, "linking": ordered("required", "if_present"), "approval": ordered("manual", "auto"),
	"same_names": ordered("exact", "equal"), "same_key": ordered("forbid", "allow"), "window": bound, "expired": bound,

	"allow": widens, "require": narrows, "max": bound, "wildcard": trueWide, "ignore": widens, "set": writes,
	"usage.key": writes, "usage.ext": writes, "cel": writes,

	"checks": narrows, "when": writes, "rule": writes, "message": inert, "id": inert,
	"enforce": ordered("refuse", "warn"), "disclose": inert,
}

func meaningOf(path string) (meaning, bool) {
	for rest := path; rest != ""; {
		if m, ok := meanings[rest]; ok {
			return m, true
		}
		_, after, found := strings.Cut(rest, ".")
		if !found {
			break
		}
		rest = after
	}
	// What stands under a layered set, or beside a name, is a value.
	if strings.Contains(path, ".set.") || strings.HasPrefix(path, "set.") {
		return writes, true
	}
	return meaning{}, false
}

// Rules gives every rule of the policy in the order of the language, with
// what holds where a key isn't written.
func (p *Policy) Rules() []Rule {
	var w ruleWalk
	w.value(p.root, policyFile, "", "")
	return w.rules
}

// A ruleWalk goes through a file with the table of the language in hand.
type ruleWalk struct{ rules []Rule }

// add adds a rule. path is that of the file, shapePath the same without the
// names that the author chose.
func (w *ruleWalk) add(r Rule, shapePath string) {
	m, _ := meaningOf(shapePath)
	r.Change, r.Order, r.Decides = m.change, m.order, m.change != Nothing
	if !m.each {
		r.Items = nil
	}
	w.rules = append(w.rules, r)
}

func (w *ruleWalk) value(n node, s *shape, path, shapePath string) {
	switch s.kind {
	case aMap:
		w.keys(n, s, path, shapePath)
	case anyMap:
		for _, member := range n.members() {
			w.value(member, s.each, join(path, member.name), shapePath)
		}
	case aList:
		w.list(n, s, path, shapePath)
	case oneKind:
		for _, alt := range s.alts {
			if alt.takes(n) {
				w.value(n, alt, path, shapePath)
				return
			}
		}
	default:
		w.add(Rule{Pos: n.at, Path: path, Values: []string{n.scalar(s)}, Items: []Pos{n.at}}, shapePath)
	}
}

// scalar writes a value the same for the same meaning.
func (n node) scalar(s *shape) string {
	if d, ok := n.duration(); ok && s.kind == aDuration {
		return shortDuration(d)
	}
	if size, ok := n.size(); ok && s.kind == aSize {
		return sizeText(size)
	}
	return n.plain()
}

func (w *ruleWalk) keys(n node, s *shape, path, shapePath string) {
	for _, k := range s.keys {
		if k.later {
			continue
		}
		child, at, shapeAt := n.get(k.name), join(path, k.name), join(shapePath, k.name)
		if m, ok := meanings[shapeTail(shapeAt)]; ok && slices.Equal(m.order, offered.order) {
			if child.present() {
				w.add(Rule{Pos: child.at, Path: at, Values: []string{"offered"}}, shapeAt)
			} else {
				w.add(Rule{Pos: child.at, Path: at, Values: []string{"not offered"}, Default: true}, shapeAt)
				continue
			}
		}
		switch {
		case child.present():
			w.value(child, k.is, at, shapeAt)
		case k.is.kind == aMap && !k.required && k.initial == "" && strings.HasPrefix(shapeAt, "guardrails"):
			w.keys(child, k.is, at, shapeAt)
		case k.initial != "" && k.is.kind != anyMap:
			w.add(Rule{Pos: child.at, Path: at, Values: defaultValues(n, k), Default: true}, shapeAt)
		}
	}
}

func shapeTail(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// defaultValues gives what holds without a key.
func defaultValues(parent node, k key) []string {
	if k.initial == "the default" { // validity.max
		return []string{parent.get("default").plain()}
	}
	if k.is.kind == aList {
		return strings.Split(k.initial, ", ")
	}
	return []string{k.initial}
}

// list: the lines of `who` are known by what they prove, checks by their id.
func (w *ruleWalk) list(n node, s *shape, path, shapePath string) {
	r := Rule{Pos: n.at, Path: path, Values: []string{}}
	for _, item := range n.items() {
		r.Values = append(r.Values, item.plain())
		r.Items = append(r.Items, item.at)
	}
	if shapeTail(shapePath) != "checks" {
		w.add(r, shapePath)
	}
	if s.each.kind != aMap {
		return
	}
	for i, item := range n.items() {
		if id := item.get("id"); id.isText() {
			w.check(item, join(path, id.value()), shapePath)
			continue
		}
		for _, k := range lineKeys {
			if part := item.get(k.name); part.present() && !k.later {
				w.value(part, k.is, path+"["+r.Values[i]+"]."+k.name, join(shapePath, k.name))
			}
		}
	}
}

// check: what a check says is one rule, under its id.
func (w *ruleWalk) check(n node, path, shapePath string) {
	rule := strings.Join(strings.Fields(n.get("rule").value()), " ")
	if when := n.get("when"); when.present() {
		rule += " when " + strings.Join(strings.Fields(when.value()), " ")
	}
	w.add(Rule{Pos: n.at, Path: path, Values: []string{rule}, Items: []Pos{n.at}}, shapePath)
	enforce := n.get("enforce")
	value := enforce.value()
	if !enforce.present() {
		value = "refuse"
	}
	w.add(Rule{Pos: enforce.at, Path: join(path, "enforce"), Values: []string{value}, Default: !enforce.present()}, join(shapePath, "enforce"))
}

// plain writes a value on one line, the same for the same meaning: keys in
// their order, without quotes, and without what a who line sets and checks.
func (n node) plain() string {
	switch {
	case n.yaml == nil:
		return ""
	case n.isList():
		var items []string
		for _, item := range n.items() {
			items = append(items, item.plain())
		}
		return "[" + strings.Join(items, ", ") + "]"
	case len(n.members()) > 0:
		var members []string
		for _, member := range n.members() {
			if slices.ContainsFunc(lineKeys, func(k key) bool { return k.name == member.name }) {
				continue
			}
			members = append(members, member.name+": "+member.plain())
		}
		return "{" + strings.Join(members, ", ") + "}"
	}
	if strings.ContainsAny(n.yaml.Value, ",:[]{}\"") {
		return strconv.Quote(n.yaml.Value)
	}
	return n.yaml.Value
}

func sizeText(size int64) string {
	switch {
	case size > 0 && size%(1<<20) == 0:
		return strconv.FormatInt(size>>20, 10) + "MiB"
	case size > 0 && size%(1<<10) == 0:
		return strconv.FormatInt(size>>10, 10) + "KiB"
	}
	return strconv.FormatInt(size, 10)
}
