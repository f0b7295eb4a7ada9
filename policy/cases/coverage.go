// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy"
)

// A Coverage says which rules of a policy the cases have asked.
type Coverage struct {
	Units     int // rules that decide something, each pattern of a list for itself
	Touched   int
	Untouched []Unit // in the order of the language
	units     []Unit
}

// A Unit is a rule, or one item of a list of rules.
type Unit struct {
	Pos     policy.Pos
	Path    string
	Value   string
	touched bool
	item    bool
	plain   string // the path as steps have it
}

// Percent is the share of rules that were asked, rounded down; 100 where there
// are none.
func (c Coverage) Percent() int {
	if c.Units == 0 {
		return 100
	}
	return 100 * c.Touched / c.Units
}

var (
	lineOf = regexp.MustCompile(`\.who\[.*\]\.`)
	// partOfSet is what stands below an extension that is set: it is asked as one.
	partOfSet = regexp.MustCompile(`(\.extensions\.set\..*)\.(der|utf8|ia5|oid|policies|critical|cel)$`)
)

// atLoad are rules that no request meets: they are held when a file is loaded.
var atLoad = []string{"guardrails.validity.max"}

// coverageOf finds the rules that are written and decide something. What the
// file leaves to a default is nobody's to test.
func coverageOf(p *policy.Policy) Coverage {
	var c Coverage
	for _, r := range p.Rules() {
		if r.Default || !r.Decides || slices.Contains(atLoad, r.Path) || r.Path == "profiles."+r.Profile || strings.HasSuffix(r.Path, ".labels") {
			continue
		}
		plain := strings.TrimSuffix(lineOf.ReplaceAllString(partOfSet.ReplaceAllString(r.Path, "$1"), ".who."), ".cel")
		if len(r.Items) == 0 {
			c.units = append(c.units, Unit{Pos: r.Pos, Path: r.Path, Value: strings.Join(r.Values, ", "), plain: plain})
			continue
		}
		for i, at := range r.Items {
			c.units = append(c.units, Unit{Pos: at, Path: r.Path, Value: r.Values[i], plain: plain, item: len(r.Items) > 1 || at != r.Pos})
		}
	}
	return c
}

// touch marks what the steps of a decision asked. An item of a list counts
// where it decided; a rule of its own where its line was asked.
func (c *Coverage) touch(profile, operation string, steps []policy.Step) {
	for i := range c.units {
		u := &c.units[i]
		if u.Path == "profiles."+profile+"."+operation {
			u.touched = true
		}
		for _, s := range steps {
			if u.touched {
				break
			}
			if s.Outcome == "does not apply" {
				continue // a check whose `when` is false was not put to the request
			}
			u.touched = s.Pos == u.Pos || !u.item && s.Path == u.plain && near(s.Pos, u.Pos)
		}
	}
}

// near tells whether two places are of one rule, whose key and value may stand
// on two lines.
func near(a, b policy.Pos) bool { return a.Line-b.Line <= 1 && b.Line-a.Line <= 1 }

func (c *Coverage) close() {
	c.Units = len(c.units)
	for _, u := range c.units {
		if u.touched {
			c.Touched++
		} else {
			c.Untouched = append(c.Untouched, u)
		}
	}
}
