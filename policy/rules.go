// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// A Rule is one line of a policy file that says something: for tools that
// compare policies, or count which rules are ever asked.
type Rule struct {
	Pos  Pos    // of the key; of a default, where it would stand
	Path string // such as profiles.routers.san.dns.allow
	// Profile is the name of the profile that the rule is of, or empty.
	Profile string
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

	form *form // of patterns
}

// Covers tells whether one value of the rule takes all that another one
// takes: of patterns by what they match, of anything else when they are equal.
func (r Rule) Covers(wide, narrow string) bool {
	if wide == anyExponent || wide == anySignature {
		return true
	}
	if low, high, ok := strings.Cut(wide, " to "); ok && strings.HasSuffix(r.Path, ".rsa") {
		least, _ := decimal(low)
		most, _ := decimal(high)
		bits, isNumber := decimal(narrow)
		return wide == narrow || isNumber && bits >= least && bits <= most
	}
	if wide == narrow || r.form == nil {
		return wide == narrow
	}
	w, err := r.form.compile(unquote(wide))
	if err != nil {
		return false
	}
	n, err := r.form.compile(unquote(narrow))
	return err == nil && covers(w, n, *r.form, false)
}

// unquote takes away the quotes that plain puts.
func unquote(text string) string {
	if plain, err := strconv.Unquote(text); err == nil {
		return plain
	}
	return text
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

// Rules gives every rule of the policy in the order of the language, with
// what holds where a key isn't written.
func (p *Policy) Rules() []Rule {
	w := ruleWalk{root: p.root}
	w.value(p.root, policyFile, "", "")
	return w.rules
}

// A ruleWalk goes through a file with the table of the language in hand.
type ruleWalk struct {
	root    node
	profile string
	rules   []Rule
}

// add adds a rule. path is that of the file, shapePath the same without the
// names that the author chose.
func (w *ruleWalk) add(r Rule, shapePath string) {
	m, _ := meaningOf(shapePath)
	r.Change, r.Order, r.Decides = m.change, m.order, m.change != Nothing
	r.form, r.Profile = formAt(r.Path), w.profile
	if !m.each {
		r.Items = nil
	}
	w.rules = append(w.rules, r)
}

// formAt gives the form of the patterns of a rule, or nil.
func formAt(path string) *form {
	if i := strings.LastIndex(path, "].names"); i >= 0 {
		return boundForm(path[i+len("].names"):])
	}
	parts := strings.Split(path, ".")
	if len(parts) < 3 {
		return nil
	}
	if parts[1] == "deny" {
		kind, ok := kindAt(afterLast(path, ".deny."))
		return formOr(kind.form.forDeny(), ok)
	}
	last := parts[len(parts)-1]
	if parts[0] != "profiles" || last != "allow" && last != "require" {
		return nil
	}
	if under := afterLast(path, ".san."); under != "" {
		kind, ok := kindAt(strings.TrimSuffix(under, "."+last))
		return formOr(kind.form, ok)
	}
	oid, ok := attributeOID(strings.TrimSuffix(afterLast(path, ".subject."), "."+last))
	return formOr(subjectForm(oid.String()), ok)
}

// boundForm is that of the names for which an RA may ask.
func boundForm(under string) *form {
	switch under {
	case "":
		return &dnsForm
	case ".cn":
		return &identifierForm
	}
	kind, ok := kindAt(strings.TrimPrefix(under, "."))
	return formOr(kind.form, ok)
}

// kindAt reads what stands behind `san` in a path: dns, other_name.1.2.3.
func kindAt(path string) (sanKind, bool) {
	if typeID, ok := strings.CutPrefix(path, otherNames+"."); ok {
		return sanKind{sanKey{csr.OtherName, typeID}, otherForm(typeID)}, true
	}
	kind, ok := sanKinds[path]
	return kind, ok
}

func formOr(f form, ok bool) *form {
	if !ok {
		return nil
	}
	return &f
}

func (w *ruleWalk) value(n node, s *shape, path, shapePath string) {
	switch s.kind {
	case aMap:
		w.keys(n, s, path, shapePath)
	case anyMap:
		for _, member := range n.members() {
			at := join(path, member.name)
			if shapePath == "profiles" {
				w.profile = member.name
				w.add(Rule{Pos: member.at, Path: at, Values: []string{"offered"}}, shapePath)
			}
			w.value(member, s.each, at, shapePath)
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
		case k.is == keysShape:
			w.keyRules(child, at, shapeAt)
		case child.present():
			w.value(child, k.is, at, shapeAt)
		case k.is.kind == aMap && !k.required && k.initial == "" && strings.HasPrefix(shapeAt, "guardrails"):
			w.keys(child, k.is, at, shapeAt)
		case k.initial != "" && k.is.kind == aMap && len(k.is.keys) == 1:
			only := k.is.keys[0]
			w.add(Rule{Pos: child.at, Path: join(at, only.name), Values: []string{k.initial}, Default: true}, join(shapeAt, only.name))
		case k.initial != "" && k.is.kind != anyMap:
			w.add(Rule{Pos: child.at, Path: at, Values: w.defaults(n, path, k), Default: true}, shapeAt)
		}
	}
}

// afterLast gives what follows the last occurrence of a part, or "".
func afterLast(path, part string) string {
	if at := strings.LastIndex(path, part); at >= 0 {
		return path[at+len(part):]
	}
	return ""
}

// keyRules: what isn't written for a profile is the guardrail's.
func (w *ruleWalk) keyRules(n node, path, shapePath string) {
	written, fence := n.present(), w.root.get("guardrails").get("keys")
	if !written && !strings.HasPrefix(path, "guardrails.") && fence.present() {
		n = node{yaml: fence.yaml, at: n.at, path: n.path}
	}
	for _, k := range keysShape.keys {
		child, at, shapeAt := n.get(k.name), join(path, k.name), join(shapePath, k.name)
		if written && child.present() {
			w.value(child, k.is, at, shapeAt)
			continue
		}
		r := Rule{Pos: n.at, Path: at, Default: true, Values: []string{}}
		switch {
		case child.isList():
			for _, item := range child.items() {
				r.Values = append(r.Values, item.plain())
			}
		case child.present():
			r.Values = []string{child.plain()}
		case k.name == "ed25519":
			r.Values = []string{strconv.FormatBool(!n.present())}
		case !n.present() && k.name == "rsa":
			r.Values = []string{fmt.Sprintf("%d to %d", leastRSA, mostRSA)}
		case !n.present() && k.name == "ecdsa":
			r.Values = slices.Clone(k.is.each.words)
		case k.initial != "":
			r.Values = []string{k.initial}
		}
		w.add(r, shapeAt)
	}
}

func shapeTail(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// defaults gives what holds without a key.
func (w *ruleWalk) defaults(parent node, path string, k key) []string {
	switch {
	case k.initial == "the default": // validity.max
		return []string{parent.get("default").scalar(period)}
	case k.initial == mostValues:
		if oid, ok := attributeOID(afterLast(path, ".subject.")); ok && oid.String() == commonName || parent.get("beside").present() {
			return []string{"1"}
		}
		if names := w.root.get("guardrails").get("limits").get("names"); names.present() {
			return []string{names.plain()}
		}
		return []string{strconv.Itoa(defaultNames)}
	case k.is.kind == aList:
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
			if part := item.get(k.name); part.present() {
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
