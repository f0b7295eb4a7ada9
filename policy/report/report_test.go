// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
)

func TestATextIsWrappedBetweenWords(t *testing.T) {
	long := strings.Repeat("x", 90)
	for name, test := range map[string]struct{ text, want string }{
		"a short one stays":             {"a b", "a b"},
		"exactly the width stays":       {strings.Repeat("a ", 39) + "bb", strings.Repeat("a ", 39) + "bb"},
		"the word beyond goes down":     {strings.Repeat("a ", 39) + "bbb", strings.Repeat("a ", 38) + "a\n    bbb"},
		"a long word is never cut":      {"a " + long + " b", "a\n    " + long + "\n    b"},
		"letters count and bytes don't": {strings.Repeat("ä ", 39) + "bb", strings.Repeat("ä ", 39) + "bb"},
		"nothing stays nothing":         {"", ""},
	} {
		if got := Wrap(test.text, "    "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestFilesAreNamedRelativeToTheRoot(t *testing.T) {
	for name, want := range map[string]sarifAt{
		"policy.yaml":              {URI: "policy.yaml", BaseID: sourceRoot},
		"./a/../policy.yaml":       {URI: "policy.yaml", BaseID: sourceRoot},
		"/repo/a b/p.yaml":         {URI: "a%20b/p.yaml", BaseID: sourceRoot},
		"../p.yaml":                {URI: "file:///p.yaml"},
		"/etc/caddy/p.yaml":        {URI: "file:///etc/caddy/p.yaml"},
		"..p.yaml":                 {URI: "..p.yaml", BaseID: sourceRoot},
		"odd:name/policy.yaml":     {URI: "./odd:name/policy.yaml", BaseID: sourceRoot},
		"policies/umlaut-ä.yaml":   {URI: "policies/umlaut-%C3%A4.yaml", BaseID: sourceRoot},
		"policies/with?query.yaml": {URI: "policies/with%3Fquery.yaml", BaseID: sourceRoot},
	} {
		if got := artifact("/repo", name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// Every id that an entry can have is a rule, so that code review can say what
// is meant.
func TestEveryEntryInSARIFHasItsRule(t *testing.T) {
	var c Check
	for _, id := range append(policy.Mistakes(), policy.Lints()...) {
		c.Add(Entry{ID: id.ID, Level: Warning, Pos: policy.Pos{File: "p.yaml", Line: 1, Col: 1}, Message: "m"})
	}
	text, err := c.SARIF("/")
	if err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal(text, &log); err != nil {
		t.Fatal(err)
	}
	rules := log.Runs[0].Tool.Driver.Rules
	for _, result := range log.Runs[0].Results {
		if result.RuleIndex < 0 || rules[result.RuleIndex].ID != result.RuleID || rules[result.RuleIndex].Short.Text == "" {
			t.Errorf("%s has the rule %d", result.RuleID, result.RuleIndex)
		}
	}
	if len(log.Runs[0].Results) != len(rules) {
		t.Errorf("%d results, %d rules", len(log.Runs[0].Results), len(rules))
	}
}

func TestAMistakeWithoutALineHasNoRegion(t *testing.T) {
	_, err := policy.Parse("p.yaml", make([]byte, policy.MaxFile+1))
	entries := Mistakes(err)
	if len(entries) != 1 || entries[0].ID != "too-large" || entries[0].Pos.Line != 0 {
		t.Fatalf("%+v", entries)
	}
	text, err := Check{File: "p.yaml", Entries: entries}.SARIF("/")
	if err != nil || strings.Contains(string(text), "region") {
		t.Errorf("%v\n%s", err, text)
	}
	if got := entries[0].Text(); got != "p.yaml: the file is larger than 4 MiB, far more than anybody can review\n" {
		t.Errorf("%q", got)
	}
	if Mistakes(errors.New("another")) != nil {
		t.Error("an error that isn't about a policy file has entries")
	}
}
