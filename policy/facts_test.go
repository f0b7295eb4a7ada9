// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestFactsAreAJSONObjectWithinBounds(t *testing.T) {
	for source, want := range map[string]string{
		``: ``, `null`: ``, ` null `: ``,
		`{}`: `{}`,
		` {"a": [1, 2.5, true, null, "x", {"b": []}]} `: `{"a":[1,2.5,true,null,"x",{"b":[]}]}`,
	} {
		f, err := ParseFacts([]byte(source))
		if err != nil || string(f.JSON()) != want {
			t.Errorf("%q: %q %v, want %q", source, f.JSON(), err, want)
		}
	}
	for name, source := range map[string]string{
		"a list": `[]`, "a text": `"x"`, "no JSON": `{`, "more behind": `{} {}`, "rubbish behind": `{}x`,
		"a name twice": `{"a":1,"a":2}`, "a name twice, within": `{"a":{"b":1,"b":2}}`,
		"a number too large":  `{"a":1e999}`,
		"too deep":            strings.Repeat(`{"a":`, 20) + `1` + strings.Repeat(`}`, 20),
		"too many":            `{"a":[` + strings.Repeat(`1,`, maxFactsCount) + `1]}`,
		"too long":            `{"a":"` + strings.Repeat("x", maxFacts) + `"}`,
		"a list that is open": `{"a":[1`, "a comma too many": `{"a":1,}`,
	} {
		if f, err := ParseFacts([]byte(source)); err == nil || f.JSON() != nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5,true,null,"x",{"b":[]}]}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Fuzz(func(t *testing.T, source []byte) {
		facts, err := ParseFacts(source)
		if err != nil || facts.JSON() == nil {
			return
		}
		again, err := ParseFacts(facts.JSON())
		if err != nil || !bytes.Equal(again.JSON(), facts.JSON()) || !json.Valid(facts.JSON()) {
			t.Errorf("%q became %q: %v", facts.JSON(), again.JSON(), err)
		}
	})
}

// Whatever an outside service says, no expression costs much.
func TestThreat_NoFactsCostMuch(t *testing.T) {
	long := strings.Repeat("x", maxCELText)
	many := `["` + strings.Join(strings.Split(strings.Repeat("y", 900), ""), `","`) + `"]`
	facts, err := ParseFacts([]byte(`{"a":` + many + `,"b":` + many + `,"long":"` + long + `","longer":"` + long + `y","deep":{"a":[[[1]]]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range map[string]string{
		"each with each":       `who.data.a.all(x, who.data.b.all(y, x == y))`,
		"the same, thrice":     `who.data.a.all(x, who.data.b.all(y, who.data.a == who.data.b))`,
		"in":                   `who.data.a.all(x, x in who.data.b)`,
		"a text doubled":       `(who.data.long + who.data.long).size() > 0`,
		"lists doubled":        `(who.data.a + who.data.b).size() > 0`,
		"a long text":          `who.data.longer == ""`,
		"a regular expression": `who.data.a.all(x, who.data.long.matches("(x*)*y"))`,
		"the wrong type":       `who.data.a.startsWith("x")`,
		"a sum of types":       `who.data.a + 1 == 2`,
		"replaced":             `who.data.long.replace("x", "xx").size() > 0`,
	} {
		src := strings.Replace(`version: 1
name: x
profiles:
  a:
    labels: [""]
    enroll:
      who: [{http_basic: {users: [a]}}]
      linking: if_present
      checks: [{id: x, rule: 'RULE', message: no}]
    subject: {CN: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`, "RULE", rule, 1)
		file, err := Parse("policy.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		policy, err := Compile(file, nil)
		if err != nil {
			continue // refused before anything runs
		}
		profile, _ := policy.Profile("")
		req := parseRequest(t, "account http_basic a\nsubject CN=a")
		req.Who.Data = facts
		start := time.Now()
		d := profile.Decide(req)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: %s", name, took)
		}
		if d.Verdict == Allow && name != "in" && name != "lists doubled" {
			t.Errorf("%s: allowed", name)
		}
	}
}

func TestAPolicyThatReadsDataNeedsAWebhook(t *testing.T) {
	policy := mustCompile(t, "policy.yaml", []byte(`version: 1
name: x
profiles:
  a:
    labels: [""]
    enroll:
      who: [{http_basic: {users: [a]}}]
      linking: if_present
      checks: [{id: x, rule: 'has(who.data.site)', message: no}]
    subject: {CN: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`))
	env := Environment{Users: []string{"a"}, Upstreams: map[string]Capabilities{"ca": {Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}}}
	const want = "policy.yaml:9:24: `profiles.a.enroll.checks.rule` reads who.data, and est has no `webhook` in the Caddyfile"
	if err := policy.Bind(env); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	env.Webhook = true
	if err := policy.Bind(env); err != nil {
		t.Error(err)
	}
}
