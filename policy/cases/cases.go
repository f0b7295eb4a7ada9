// SPDX-License-Identifier: Apache-2.0

// Package cases runs the tests of a policy file: requests that need no server
// and no CA, with what the policy is to say of each.
package cases

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy"
)

// A Result is what became of one case.
type Result struct {
	Case     policy.TestCase
	Decision policy.Decision
	// Problems say where the decision isn't the one that is wanted, with the
	// place in the test file. None: the case passed.
	Problems []string
}

// Passed tells whether the policy said what the case wants.
func (r Result) Passed() bool { return len(r.Problems) == 0 }

// A Run is what became of the cases of one policy.
type Run struct {
	Results  []Result
	Coverage Coverage
}

// Failed counts the cases that didn't pass.
func (r Run) Failed() int {
	n := 0
	for _, result := range r.Results {
		if !result.Passed() {
			n++
		}
	}
	return n
}

// Test runs cases against a policy. files has what the cases name; only, if
// not nil, picks cases by name. A case that can't be made is a failed case.
func Test(p *policy.Policy, tests []policy.TestCase, files fs.FS, only *regexp.Regexp) Run {
	run := Run{Coverage: coverageOf(p)}
	for _, c := range tests {
		if only == nil || only.MatchString(c.Name) {
			run.Results = append(run.Results, one(p, c, files, &run.Coverage))
		}
	}
	run.Coverage.close()
	return run
}

func one(p *policy.Policy, c policy.TestCase, files fs.FS, covered *Coverage) Result {
	result := Result{Case: c}
	req, err := builder{files, c}.request()
	if err != nil {
		if at, ok := errors.AsType[mistake](err); ok {
			err = at
		}
		result.Problems = []string{err.Error()}
		return result
	}
	profile, ok := p.Profile(c.Label)
	if !ok {
		result.Problems = []string{fmt.Sprintf("%s: the policy has no label %q", c.Pos, c.Label)}
		return result
	}
	decision, steps := req.Explain(profile)
	covered.touch(profile.Name(), operationOf(req, profile), steps)
	result.Decision = decision
	result.Problems = compare(c.Want, decision)
	if got := gateWord(req.Gate(profile)); c.Want.Gate != "" && got != c.Want.Gate {
		result.Problems = append(result.Problems, fmt.Sprintf("%s: the gate is %s, and %s is wanted", c.Want.Pos, got, c.Want.Gate))
	}
	return result
}

func gateWord(g policy.Gate) string {
	switch {
	case g.Open:
		return "open"
	case g.Challenge:
		return "challenge"
	default:
		return "shut"
	}
}

// operationOf is the key of the policy file that decides a request.
func operationOf(req policy.Arrival, profile *policy.Profile) string {
	if on, is := req.OnBehalf(profile); is {
		if on.CMC {
			return "fullcmc.on_behalf"
		}
		return "on_behalf"
	}
	return map[policy.Op]string{policy.SimpleEnroll: "enroll", policy.SimpleReenroll: "reenroll", policy.ServerKeygen: "serverkeygen",
		policy.CMCEnroll: "fullcmc.enroll", policy.CMCReenroll: "fullcmc.reenroll"}[req.Op]
}

func compare(want policy.TestWant, got policy.Decision) []string {
	var problems []string
	add := func(at policy.Pos, format string, args ...any) {
		problems = append(problems, at.String()+": "+fmt.Sprintf(format, args...))
	}
	if got.Verdict.String() != want.Verdict {
		add(want.Pos, "the verdict is %s, and %s is wanted%s", got.Verdict, want.Verdict, because(got))
	}
	var wanted []policy.Finding
	for _, w := range want.Findings {
		found := slices.DeleteFunc(slices.Clone(got.Findings), func(f policy.Finding) bool { return !matches(w, f) })
		if len(found) == 0 {
			add(w.Pos, "no finding is %s", describe(w))
		}
		wanted = append(wanted, found...)
	}
	for _, f := range got.Findings {
		refuses := f.Effect == policy.Refused || f.Effect == policy.Required
		if want.Only && refuses && !slices.Contains(wanted, f) {
			add(want.Pos, "a line refuses that no finding names: %s", f)
		}
	}
	for _, part := range want.Plan {
		if got := partOf(got, part.Name); got != part.Value {
			add(part.Pos, "%s of the certificate is %q, and %q is wanted", part.Name, got, part.Value)
		}
	}
	return problems
}

// because gives the first reasons of a verdict that wasn't wanted.
func because(d policy.Decision) string {
	var b strings.Builder
	for _, f := range d.Findings {
		if f.Effect == policy.Refused || f.Effect == policy.Required {
			b.WriteString("\n" + f.String())
		}
	}
	return b.String()
}

func matches(w policy.TestFinding, f policy.Finding) bool {
	return (f.Path == w.Path || strings.HasSuffix(f.Path, "."+w.Path)) && (w.Effect == "" || w.Effect == string(f.Effect))
}

func describe(w policy.TestFinding) string {
	if w.Effect == "" {
		return "of " + w.Path
	}
	return w.Effect + " of " + w.Path
}

// partOf gives a part of a plan as a test file writes it. Lists are sorted:
// their order means nothing, save in a subject.
func partOf(d policy.Decision, name string) string {
	p := d.Plan
	var words []string
	switch name {
	case "subject":
		return p.Names.Subject.String()
	case "made_key":
		if d.Keygen == nil {
			return ""
		}
		return policy.KeyName(d.Keygen.Key)
	case "validity":
		return policy.DurationText(p.Validity)
	case "upstream":
		return p.Upstream
	case "san":
		for _, n := range p.Names.SAN {
			words = append(words, n.String())
		}
	case "key_usage":
		words = policy.KeyUsageNames(p.KeyUsage)
	case "ext_key_usage":
		for _, oid := range p.ExtKeyUsage {
			words = append(words, policy.ExtKeyUsageName(oid))
		}
	case "extensions":
		for _, e := range p.Extensions {
			words = append(words, policy.ExtensionName(e.ID))
		}
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}
