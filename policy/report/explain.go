// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// An Explanation is one decision, told so that a reviewer can follow it.
type Explanation struct {
	Decision policy.Decision
	Steps    []policy.Step
	Gate     policy.Gate
	CSR      *csr.Request
	// Status and Answer are what the client would get.
	Status int
	Answer string
}

// Text tells the decision for a terminal: what came out, each rule in the
// order it was asked, and the certificate beside what was asked for. It ends
// with a line break. What comes from the request is escaped.
func (e Explanation) Text() string {
	var b strings.Builder
	d := e.Decision
	fmt.Fprintf(&b, "verdict:  %s\nprofile:  %s\npolicy:   %s\ngate:     %s\n", d.Verdict, policy.Show(d.Profile), policy.Show(d.Policy), e.Gate)
	b.WriteString(hang(0, "client:  ", fmt.Sprintf("%d, %s", e.Status, e.Answer)))
	if d.Approval != nil {
		b.WriteString(hang(0, "approval:", d.Approval.String()))
	}
	b.WriteString("\nRULES, in the order asked\n")
	for _, s := range e.Steps {
		step(&b, s)
	}
	if said := e.Decision.Findings; len(said) > 0 {
		b.WriteString("\nFINDINGS, in the order of the file\n")
		for _, f := range said {
			b.WriteString(hang(1, "", f.String()))
		}
	}
	if e.CSR != nil && d.Plan.Validity > 0 {
		e.certificate(&b)
	}
	return b.String()
}

// step writes one rule: outcome, place, path; below it what was compared.
func step(b *strings.Builder, s policy.Step) {
	outcome := s.Outcome
	switch outcome {
	case string(policy.Refused), string(policy.Required):
		outcome = strings.ToUpper(outcome)
	}
	fmt.Fprintf(b, "  %-14s %d:%d  %s\n", outcome, s.Pos.Line, s.Pos.Col, s.Path)
	for _, line := range []struct{ word, text string }{{"got", s.Got}, {"want", s.Want}} {
		if line.text != "" {
			b.WriteString(hang(17, line.word, policy.Show(line.text)))
		}
	}
}

// hang writes a text behind an indented word, its further lines below its
// first one.
func hang(indent int, word, text string) string {
	const space = "\x00" // one that doesn't end a word
	lead := strings.Repeat(space, indent) + word
	if word != "" {
		lead = strings.ReplaceAll(fmt.Sprintf("%s%-4s", strings.Repeat(space, indent), word), " ", space)
	}
	wrapped := Wrap(lead+" "+text, strings.Repeat(" ", utf8.RuneCountInString(lead)+1))
	return strings.ReplaceAll(wrapped, space, " ") + "\n"
}

// certificate writes what the certificate has, with what was asked for and
// isn't in it, and what is in it and wasn't asked for.
func (e Explanation) certificate(b *strings.Builder) {
	title := "CERTIFICATE"
	if !e.Decision.Grants() {
		title += ", as it would have been"
	}
	fmt.Fprintf(b, "\n%s (- asked and not in it, + not asked)\n", title)
	for _, part := range compareParts(asked(e.CSR), planned(e.Decision.Plan)) {
		fmt.Fprintf(b, "  %s\n", part)
	}
	fmt.Fprintf(b, "    %-11s%s\n", "validity", policy.DurationText(e.Decision.Plan.Validity))
}

// A line of a certificate: its part, and one value of it.
type certLine struct{ part, value string }

func asked(r *csr.Request) []certLine {
	lines := nameLines(r.Names)
	usage, _, _ := r.RequestedKeyUsage() // one that can't be read has a finding
	for _, name := range policy.KeyUsageNames(usage) {
		lines = append(lines, certLine{"key usage", name})
	}
	usages, _, _ := r.RequestedExtKeyUsage()
	for _, oid := range usages {
		lines = append(lines, certLine{"ext usage", policy.ExtKeyUsageName(oid)})
	}
	for _, x := range r.Extensions {
		if !slices.Contains([]string{csr.OIDKeyUsage, csr.OIDExtKeyUsage, csr.OIDSubjectAltName, csr.OIDBasicConstraints, csr.OIDSubjectKeyIdentifier}, x.ID.String()) {
			lines = append(lines, certLine{"extension", policy.ExtensionText(x)})
		}
	}
	return lines
}

func planned(p policy.Plan) []certLine {
	lines := nameLines(p.Names)
	for _, name := range policy.KeyUsageNames(p.KeyUsage) {
		lines = append(lines, certLine{"key usage", name})
	}
	for _, oid := range p.ExtKeyUsage {
		lines = append(lines, certLine{"ext usage", policy.ExtKeyUsageName(oid)})
	}
	for _, x := range p.Extensions {
		lines = append(lines, certLine{"extension", policy.ExtensionText(x)})
	}
	return lines
}

func nameLines(names csr.Names) []certLine {
	var lines []certLine
	for _, rdn := range names.Subject {
		lines = append(lines, certLine{"subject", (csr.Name{rdn}).String()})
	}
	for _, name := range names.SAN {
		lines = append(lines, certLine{"san", name.String()})
	}
	return lines
}

// compareParts merges both sides part by part.
func compareParts(before, after []certLine) []string {
	var out []string
	for _, part := range []string{"subject", "san", "key usage", "ext usage", "extension"} {
		was := slices.DeleteFunc(slices.Clone(before), func(l certLine) bool { return l.part != part })
		is := slices.DeleteFunc(slices.Clone(after), func(l certLine) bool { return l.part != part })
		for _, l := range was {
			if slices.Contains(is, l) {
				continue
			}
			out = append(out, fmt.Sprintf("- %-11s%s", l.part, l.value))
		}
		for _, l := range is {
			sign := "+"
			if slices.Contains(was, l) {
				sign = " "
			}
			out = append(out, fmt.Sprintf("%s %-11s%s", sign, l.part, l.value))
		}
	}
	return out
}

// JSON gives the same as a JSON object on several lines.
func (e Explanation) JSON() ([]byte, error) {
	type stepJSON struct {
		File    string `json:"file"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Path    string `json:"path"`
		Outcome string `json:"outcome"`
		Got     string `json:"got,omitempty"`
		Want    string `json:"want,omitempty"`
	}
	type findingJSON struct {
		File    string `json:"file"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Path    string `json:"path"`
		Effect  string `json:"effect"`
		Check   string `json:"check,omitempty"`
		Message string `json:"message"`
	}
	result := struct {
		Verdict  string        `json:"verdict"`
		Profile  string        `json:"profile"`
		Policy   string        `json:"policy"`
		Gate     bool          `json:"gate_open"`
		Status   int           `json:"status"`
		Answer   string        `json:"answer"`
		Rules    []stepJSON    `json:"rules"`
		Findings []findingJSON `json:"findings"`
		Cert     []string      `json:"certificate"`
	}{
		e.Decision.Verdict.String(), e.Decision.Profile, e.Decision.Policy, e.Gate.Open, e.Status, e.Answer,
		[]stepJSON{}, []findingJSON{}, []string{},
	}
	for _, s := range e.Steps {
		result.Rules = append(result.Rules, stepJSON{s.Pos.File, s.Pos.Line, s.Pos.Col, s.Path, s.Outcome, s.Got, s.Want})
	}
	for _, f := range e.Decision.Findings {
		result.Findings = append(result.Findings, findingJSON{f.Pos.File, f.Pos.Line, f.Pos.Col, f.Path, string(f.Effect), f.Check, f.Message})
	}
	if e.CSR != nil && e.Decision.Plan.Validity > 0 {
		result.Cert = append(compareParts(asked(e.CSR), planned(e.Decision.Plan)), "  validity   "+policy.DurationText(e.Decision.Plan.Validity))
	}
	return encode(result)
}
