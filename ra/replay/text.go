// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Group are the differences of one profile for one reason.
type Group struct {
	Profile string
	// Change is "allow -> deny", or "another certificate".
	Change string
	// Reason is the path of the rule that refuses, or the part of the
	// certificate that differs.
	Reason string
	Count  int
	// Example is the request id of the first one.
	Example string
}

// Groups sums the differences up by profile and reason, the most frequent
// first. A request with several reasons counts in each.
func (s *Summary) Groups() []Group {
	groups := map[[3]string]*Group{}
	for _, d := range s.Differences {
		change, reasons := d.Old.String()+" -> "+d.New.String(), d.Reasons
		if d.Old == d.New {
			change, reasons = "another certificate", nil
			for _, part := range d.Plan {
				reasons = append(reasons, part.Name)
			}
		}
		for _, reason := range reasons {
			key := [3]string{d.Profile, change, reason}
			if groups[key] == nil {
				groups[key] = &Group{Profile: d.Profile, Change: change, Reason: reason, Example: d.ID}
			}
			groups[key].Count++
		}
	}
	return slices.SortedFunc(func(yield func(Group) bool) {
		for g := range maps.Values(groups) {
			if !yield(*g) {
				return
			}
		}
	}, func(a, b Group) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Profile, b.Profile), cmp.Compare(a.Change, b.Change), cmp.Compare(a.Reason, b.Reason))
	})
}

// Text gives the summary for a terminal, with at most so many differences one
// by one. It ends with a line break.
func (s *Summary) Text(most int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests decided anew, %d otherwise\n", s.Replayed, s.Differ)
	count := func(n int, what string) {
		if n > 0 {
			fmt.Fprintf(&b, "  %d %s\n", n, what)
		}
	}
	count(s.Skipped, "lines without a request that a policy was asked about")
	count(s.Undecidable, "not decidable: values that the new policy asks were not recorded")
	count(s.Otherwise, "decided otherwise by the old file today than recorded")
	count(s.Unreadable, "lines that can't be read")
	for _, problem := range s.Problems {
		fmt.Fprintf(&b, "    %s\n", problem)
	}
	if groups := s.Groups(); len(groups) > 0 {
		b.WriteString("\nBY PROFILE AND REASON\n")
		for _, g := range groups {
			fmt.Fprintf(&b, "  %6d  %s: %s\n          %s\n          such as %s\n", g.Count, g.Profile, g.Change, g.Reason, g.Example)
		}
	}
	if len(s.Differences) > 0 && most > 0 {
		b.WriteString("\nREQUESTS\n")
		for _, d := range s.Differences[:min(most, len(s.Differences))] {
			d.text(&b)
		}
		if more := len(s.Differences) - most; more > 0 {
			fmt.Fprintf(&b, "  and %d more (--most %d shows all)\n", more, len(s.Differences))
		}
	}
	return b.String()
}

func (d Difference) text(b *strings.Builder) {
	fmt.Fprintf(b, "  %s  %s  %s\n    %s\n", d.Time.UTC().Format(time.RFC3339), d.Profile, d.ID, d.Subject)
	if d.Old != d.New {
		fmt.Fprintf(b, "    %s -> %s: %s\n", d.Old, d.New, strings.Join(d.Reasons, ", "))
	}
	for _, part := range d.Plan {
		fmt.Fprintf(b, "    %s: %s\n      -> %s\n", part.Name, orNothing(part.Old), orNothing(part.New))
	}
}

func orNothing(text string) string {
	if text == "" {
		return "(nothing)"
	}
	return text
}
