// SPDX-License-Identifier: Apache-2.0

// Package diff compares two policies by what they mean, rule by rule: a
// reviewer reads what may now be issued that could not be before, whatever
// lines have moved.
package diff

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
)

// Effect says what a change does to what the policy lets through. The zero
// value is a change that is neither wider nor narrower.
type Effect uint8

// The effects.
const (
	Changed   Effect = iota // other certificates, or in parts wider and in parts narrower
	Wider                   // lets more through
	Narrower                // lets less through
	Unaffects               // decides nothing
)

// String gives the word that reports have.
func (e Effect) String() string {
	switch e {
	case Wider:
		return "wider"
	case Narrower:
		return "narrower"
	case Unaffects:
		return "no effect"
	default:
		return "changed"
	}
}

// A Change is one rule that differs.
type Change struct {
	Path   string
	Effect Effect
	// Old and New are the places in the two files; of a rule that isn't in one
	// of them the zero Pos.
	Old, New policy.Pos
	// Removed and Added are the values that went away and that came. A scalar
	// that changed has one of each.
	Removed, Added []string
}

// Compare gives the changes from one policy to another: those of the first's
// rules in its order, then those that only the second has.
func Compare(before, after *policy.Policy) []Change {
	c := comparison{old: index(before), new: index(after), seen: map[string]bool{}}
	for _, rule := range before.Rules() {
		c.rule(rule)
	}
	for _, rule := range after.Rules() {
		c.rule(rule)
	}
	return c.changes
}

func index(p *policy.Policy) map[string]policy.Rule {
	rules := map[string]policy.Rule{}
	for _, rule := range p.Rules() {
		rules[rule.Path] = rule
	}
	return rules
}

type comparison struct {
	old, new map[string]policy.Rule
	seen     map[string]bool
	changes  []Change
}

func (c *comparison) rule(r policy.Rule) {
	path := r.Path
	if r.Profile != "" {
		// A profile that only one file has is one change, not one for each line.
		whole := "profiles." + r.Profile
		_, inOld := c.old[whole]
		_, inNew := c.new[whole]
		if inOld != inNew {
			path = whole
		}
	}
	if c.seen[path] {
		return
	}
	c.seen[path] = true
	before, inOld := c.old[path]
	after, inNew := c.new[path]
	switch {
	case inOld && inNew:
		c.both(before, after)
	case inOld && !before.Default:
		c.one(before, false)
	case inNew && !after.Default:
		c.one(after, true)
	}
}

func (c *comparison) add(change Change, decides bool) {
	if !decides {
		change.Effect = Unaffects
	}
	c.changes = append(c.changes, change)
}

// one reports a rule that stands in one file alone.
func (c *comparison) one(r policy.Rule, added bool) {
	change := Change{Path: r.Path}
	if added {
		change.New, change.Added = r.Pos, r.Values
	} else {
		change.Old, change.Removed = r.Pos, r.Values
	}
	more, less := Wider, Narrower
	if !added {
		more, less = less, more
	}
	switch r.Change {
	case policy.MoreIsWider:
		change.Effect = more
	case policy.MoreIsNarrower:
		change.Effect = less
		if slices.Equal(r.Values, []string{"false"}) {
			return // `require: false` is what holds without it
		}
	default:
		change.Effect = Changed
	}
	c.add(change, r.Decides)
}

func (c *comparison) both(before, after policy.Rule) {
	if slices.Equal(before.Values, after.Values) {
		return
	}
	change := Change{
		Path: before.Path, Old: before.Pos, New: after.Pos,
		Removed: without(before.Values, after.Values), Added: without(after.Values, before.Values),
	}
	switch before.Change {
	case policy.MoreIsWider:
		change.Effect = setEffect(change, after, before)
	case policy.MoreIsNarrower:
		change.Effect = flipped(setEffect(change, after, before))
	case policy.LargerIsWider:
		change.Effect = amountEffect(first(before.Values), first(after.Values))
	case policy.ByOrder:
		change.Effect = orderEffect(before.Order, first(before.Values), first(after.Values))
	default:
		change.Effect = Changed
	}
	if len(change.Removed)+len(change.Added) == 0 && before.Change != policy.Neither {
		return // the same values in another order
	}
	c.add(change, before.Decides)
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func without(values, others []string) []string {
	var rest []string
	for _, v := range values {
		if !slices.Contains(others, v) {
			rest = append(rest, v)
		}
	}
	return rest
}

// setEffect of lists where more is wider: what was removed and is still taken
// by another value has no effect, nor has what was added and was taken before.
func setEffect(change Change, after, before policy.Rule) Effect {
	open := func(values, by []string, r policy.Rule) bool {
		return slices.ContainsFunc(values, func(v string) bool {
			return !slices.ContainsFunc(by, func(wide string) bool { return r.Covers(wide, v) })
		})
	}
	wider := open(change.Added, before.Values, before)
	narrower := open(change.Removed, after.Values, after)
	switch {
	case wider && !narrower:
		return Wider
	case narrower && !wider:
		return Narrower
	case !wider:
		return Unaffects
	}
	return Changed
}

func flipped(e Effect) Effect {
	switch e {
	case Wider:
		return Narrower
	case Narrower:
		return Wider
	default:
		return e
	}
}

func orderEffect(order []string, before, after string) Effect {
	from, to := slices.Index(order, before), slices.Index(order, after)
	switch {
	case from < 0 || to < 0:
		return Changed
	case to > from:
		return Wider
	default:
		return Narrower
	}
}

// amountEffect compares bounds: durations, sizes, shares and numbers. "none"
// is beyond each of them.
func amountEffect(before, after string) Effect {
	from, okFrom := amount(before)
	to, okTo := amount(after)
	switch {
	case !okFrom || !okTo:
		return Changed
	case to > from:
		return Wider
	case to < from:
		return Narrower
	}
	return Unaffects
}

func amount(text string) (float64, bool) {
	if text == "none" {
		return 1e18, true
	}
	for _, unit := range []struct {
		suffix string
		factor float64
	}{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"%", 1}, {"d", 24 * time.Hour.Seconds()}, {"h", time.Hour.Seconds()},
		{"m", time.Minute.Seconds()}, {"s", 1}, {"", 1},
	} {
		if number, ok := strings.CutSuffix(text, unit.suffix); ok {
			if n, err := strconv.ParseFloat(number, 64); err == nil {
				return n * unit.factor, true
			}
		}
	}
	return 0, false
}

// Text gives the changes for a terminal: what is wider first, since it is
// what a reviewer has to agree to. It ends with a line break.
func Text(changes []Change) string {
	if len(changes) == 0 {
		return "The two policies mean the same.\n"
	}
	var b strings.Builder
	for _, effect := range []Effect{Wider, Changed, Narrower, Unaffects} {
		of := slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Effect != effect })
		if len(of) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s (%d)\n", strings.ToUpper(effect.String()), len(of))
		for _, c := range of {
			c.text(&b)
		}
	}
	return b.String()
}

func (c Change) text(b *strings.Builder) {
	fmt.Fprintf(b, "  %s\n", c.Path)
	line := func(sign string, at policy.Pos, values []string) {
		if at.Line == 0 {
			return
		}
		text := strings.Join(values, ", ")
		if text == "" && len(values) == 0 {
			text = "(the whole)"
		}
		fmt.Fprintf(b, "    %s %s  %s:%d\n", sign, text, at.File, at.Line)
	}
	if len(c.Removed) > 0 || c.New.Line == 0 {
		line("-", c.Old, c.Removed)
	}
	if len(c.Added) > 0 || c.Old.Line == 0 {
		line("+", c.New, c.Added)
	}
}
