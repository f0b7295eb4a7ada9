// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/cases"
)

// Tests is the result of the test files of a policy.
type Tests struct {
	Policy string // the policy file
	Run    cases.Run
	// Verbose lists the cases that passed, too.
	Verbose bool
}

// Text gives the result for a terminal: the cases that failed, then how many
// passed, then the rules that no case asked. It ends with a line break.
func (t Tests) Text() string {
	var b strings.Builder
	for _, r := range t.Run.Results {
		switch {
		case !r.Passed():
			fmt.Fprintf(&b, "FAIL  %s: %s\n", r.Case.Pos, r.Case.Name)
			for _, problem := range r.Problems {
				for i, line := range strings.Split(problem, "\n") {
					b.WriteString(hang(6+2*min(i, 1), "", line))
				}
			}
		case t.Verbose:
			fmt.Fprintf(&b, "ok    %s\n", r.Case.Name)
		}
	}
	failed := t.Run.Failed()
	fmt.Fprintf(&b, "%d passed, %d failed\n", len(t.Run.Results)-failed, failed)
	c := t.Run.Coverage
	fmt.Fprintf(&b, "%s: %d of %d rules asked (%d %%)\n", t.Policy, c.Touched, c.Units, c.Percent())
	t.untouched(&b)
	return b.String()
}

// untouched lists the rules that no case has asked. Of an operation that no
// case asks for it says so, and how many rules are in it.
func (t Tests) untouched(b *strings.Builder) {
	all := t.Run.Coverage.Untouched
	whole := "\x00"
	for i, u := range all {
		if strings.HasPrefix(u.Path, whole+".") {
			continue
		}
		value := policy.Show(u.Value)
		if u.Value == "offered" {
			whole = u.Path
			within := 0
			for _, inner := range all[i+1:] {
				if strings.HasPrefix(inner.Path, whole+".") {
					within++
				}
			}
			value = fmt.Sprintf("no case asks for it (%d rules)", within+1)
		}
		b.WriteString(hang(1, "", fmt.Sprintf("%d:%d %s: %s", u.Pos.Line, u.Pos.Col, u.Path, value)))
	}
}

// JSON gives the result as a JSON object on several lines.
func (t Tests) JSON() ([]byte, error) {
	type caseJSON struct {
		Name     string   `json:"name"`
		File     string   `json:"file"`
		Line     int      `json:"line"`
		OK       bool     `json:"ok"`
		Verdict  string   `json:"verdict"`
		Problems []string `json:"problems,omitempty"`
	}
	type ruleJSON struct {
		Line   int    `json:"line"`
		Column int    `json:"column"`
		Path   string `json:"path"`
		Value  string `json:"value"`
	}
	failed := t.Run.Failed()
	result := struct {
		Policy    string     `json:"policy"`
		Passed    int        `json:"passed"`
		Failed    int        `json:"failed"`
		Cases     []caseJSON `json:"cases"`
		Rules     int        `json:"rules"`
		Asked     int        `json:"asked"`
		Percent   int        `json:"percent"`
		Untouched []ruleJSON `json:"not_asked"`
	}{t.Policy, len(t.Run.Results) - failed, failed, []caseJSON{}, t.Run.Coverage.Units, t.Run.Coverage.Touched, t.Run.Coverage.Percent(), []ruleJSON{}}
	for _, r := range t.Run.Results {
		result.Cases = append(result.Cases, caseJSON{r.Case.Name, r.Case.Pos.File, r.Case.Pos.Line, r.Passed(), r.Decision.Verdict.String(), r.Problems})
	}
	for _, u := range t.Run.Coverage.Untouched {
		result.Untouched = append(result.Untouched, ruleJSON{u.Pos.Line, u.Pos.Col, u.Path, u.Value})
	}
	return encode(result)
}

// JUnit gives the result as JUnit's XML, which test runners read.
func (t Tests) JUnit() ([]byte, error) {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		File    string   `xml:"file,attr"`
		Line    int      `xml:"line,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	type testsuite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	suite := testsuite{Name: t.Policy, Tests: len(t.Run.Results), Failures: t.Run.Failed()}
	for _, r := range t.Run.Results {
		c := testcase{Class: t.Policy, Name: r.Case.Name, File: r.Case.Pos.File, Line: r.Case.Pos.Line}
		if !r.Passed() {
			first, _, _ := strings.Cut(r.Problems[0], "\n")
			c.Failure = &failure{first, strings.Join(r.Problems, "\n")}
		}
		suite.Cases = append(suite.Cases, c)
	}
	out, err := xml.MarshalIndent(suite, "", "  ")
	return append([]byte(xml.Header), append(out, '\n')...), err
}
