// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestEachKeyOfTheLanguageHasAMeaningForComparisons(t *testing.T) {
	seen := map[*shape]bool{}
	var walk func(s *shape, path string)
	walk = func(s *shape, path string) {
		switch s.kind {
		case aMap:
			for _, k := range s.keys {
				walk(k.is, join(path, k.name))
			}
		case anyMap:
			walk(s.each, path)
		case oneKind:
			for _, alt := range s.alts {
				walk(alt, path)
			}
		default:
			if _, ok := meaningOf(path); !ok {
				t.Errorf("rules.go has no meaning for %s", path)
			}
			if s.kind == aList && s.each.kind == aMap && strings.HasSuffix(path, ".who") && !seen[s.each] {
				seen[s.each] = true
				for _, k := range lineKeys {
					walk(k.is, join(path, k.name))
				}
			}
		}
	}
	walk(policyFile, "")
}

func rulesText(p *Policy) string {
	var b strings.Builder
	for _, r := range p.Rules() {
		written := r.Pos.String()
		if r.Default {
			written = "default"
		}
		fmt.Fprintf(&b, "%s: %s = %s", written, r.Path, strings.Join(r.Values, " | "))
		if !r.Decides {
			b.WriteString(" (decides nothing)")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestRulesHasEveryLineAndEveryDefault(t *testing.T) {
	src, err := os.ReadFile("testdata/rules/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := rulesText(mustCompile(t, "policy.yaml", src))
	if *update {
		if err := os.WriteFile("testdata/rules/rules.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/rules/rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestExplainTellsEachRuleInTheOrderAsked(t *testing.T) {
	src, err := os.ReadFile("testdata/rules/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	policy := mustCompile(t, "policy.yaml", src)
	profile, _ := policy.Profile("")
	req := parseRequest(t, "cert idevid serialNumber=A17\nsubject CN=rtr-a17.example.net | OU=a\nsan dns:rtr-a17.example.net | dns:b.secret.example.net\n")
	decision, steps := profile.Explain(req)
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%s: %s: %s", s.Pos, s.Path, s.Outcome)
		if s.Got != "" || s.Want != "" {
			fmt.Fprintf(&b, " (got %s; want %s)", s.Got, s.Want)
		}
		b.WriteByte('\n')
	}
	if *update {
		if err := os.WriteFile("testdata/rules/steps.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/rules/steps.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
	if plain := profile.Decide(req); ExplainText(plain, Gate{}) != ExplainText(decision, Gate{}) {
		t.Error("Explain decides otherwise than Decide")
	}
}
