// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Each archive has a policy that is right, and all that Lint says of it.
func TestLintSaysWhatDeservesALook(t *testing.T) {
	archives, err := filepath.Glob("testdata/lint/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil || len(archive.Files) != 2 {
				t.Fatalf("an archive has policy.yaml and lint: %v", err)
			}
			policy := mustCompile(t, "policy.yaml", archive.Files[0].Data)
			var got strings.Builder
			for _, f := range policy.Lint() {
				if f.Effect != Warned || f.Path == "" {
					t.Errorf("not a warning: %+v", f)
				}
				fmt.Fprintf(&got, "%s: %s: %s (%s)\n", f.Pos, f.Lint, f.Message, f.Path)
			}
			if *update {
				archive.Files[1].Data = []byte(got.String())
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(archive.Files[1].Data); got.String() != want {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}

func TestEveryLintIsSaidSomewhereAndHasAnID(t *testing.T) {
	archives, _ := filepath.Glob("testdata/lint/*.txtar")
	var said strings.Builder
	for _, name := range archives {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(src)
	}
	for _, l := range Lints() {
		if !regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+$`).MatchString(l.ID) || !strings.HasSuffix(l.About, ".") {
			t.Errorf("a lint has an id and a sentence: %+v", l)
		}
		if l.ID != lintNoRevocation && l.ID != lintDigestMD5 && !strings.Contains(said.String(), ": "+l.ID+": ") { // those are Bind's
			t.Errorf("no policy under testdata/lint is warned of %s", l.ID)
		}
	}
}

func TestOnlyWhatLoosensIsSaidAtStart(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/lint/patterns.txtar")
	if err != nil {
		t.Fatal(err)
	}
	policy := mustCompile(t, "policy.yaml", archive.Files[0].Data)
	if all, start := len(policy.Lint()), len(policy.Warnings()); start == 0 || start >= all {
		t.Errorf("%d lints, %d of them at start", all, start)
	}
	for _, w := range policy.Warnings() {
		if w.Lint == lintWidePattern {
			t.Errorf("advice is said at start: %v", w)
		}
	}
}

func TestAPatternCoversAnotherIfItTakesAllThatTheOtherTakes(t *testing.T) {
	for _, test := range []struct {
		form         form
		outer, inner string
		want         bool
	}{
		{dnsForm, "*.example.net", "rtr-*.example.net", true},
		{dnsForm, "*.example.net", "*.EXAMPLE.net", true},
		{dnsForm, "rtr-*.example.net", "*.example.net", false},
		{dnsForm, "*.example.net", "*.*.example.net", false},
		{dnsForm, "**.example.net", "*.*.example.net", true},
		{dnsForm, "*.*.example.net", "**.example.net", false},
		{dnsForm, "*.*.example.net", "**.a.example.net", false},
		{dnsForm, "**.example.net", "**.a.example.net", true},
		{dnsForm, "**.a.example.net", "**.example.net", false},
		{dnsForm, "**", "example.net", true},
		{dnsForm, "a*b.example.net", "a*c*b.example.net", true},
		{dnsForm, "a*c*b.example.net", "a*b.example.net", false},
		{dnsForm, "*q*.example.net", "*.example.net", false},
		{textForm, "*", "**", false},
		{textForm, "**", "*", true},    // no value is empty
		{textForm, "a**", "a*", false}, // "a"
		{textForm, "Depot *", "Depot ", false},
		{textForm, "Depot*", "Depot", true},
		{textForm, "*.*", "**", false},
		{emailForm, "*@*.example.net", "*.a@x.example.net", false},
		{emailForm, "**@example.net", "*@example.net", true},
		{emailForm, "*@example.net", "**@example.net", false},
		{uriForm, "https://*.example.net/**", "https://www.example.net/a/*", true},
		{uriForm, "https://*.example.net/*", "https://www.example.net/**", false},
		{uriForm, "urn:dev:*", "urn:dev:mac:*", false},
		{uriForm, "urn:dev:**", "urn:dev:mac:*", true},
		{ipForm, "10.0.0.0/8", "10.1.0.0/16", true},
		{ipForm, "10.1.0.0/16", "10.0.0.0/8", false},
		{ipForm, "10.1.0.0/16", "10.1.2.3", true},
	} {
		outer, err := test.form.compile(test.outer)
		if err != nil {
			t.Fatal(err)
		}
		inner, err := test.form.compile(test.inner)
		if err != nil {
			continue // such as a text that ends with a space
		}
		if got := covers(outer, inner, test.form, false); got != test.want {
			t.Errorf("%s: %s covers %s: %v, want %v", test.form.name, test.outer, test.inner, got, test.want)
		}
	}
}

func TestBindKnowsWhatTheCaddyfileAnswers(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/lint/loose.txtar")
	if err != nil {
		t.Fatal(err)
	}
	env := Environment{
		Anchors: []string{"idevid", "ours"}, Users: []string{"onboarding"},
		Upstreams: map[string]Capabilities{"ca": {Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}},
	}
	said := func(env Environment, id string) (lines []int) {
		policy := mustCompile(t, "policy.yaml", archive.Files[0].Data)
		if err := policy.Bind(env); err != nil {
			t.Fatal(err)
		}
		for _, f := range policy.Lint() {
			if f.Lint == id {
				lines = append(lines, f.Pos.Line)
			}
		}
		return lines
	}
	if got := said(env, lintNoRevocation); got != nil {
		t.Errorf("all anchors have a CRL, and lines %v are warned of", got)
	}
	if got := said(env, lintNoClientAuth); len(got) != 1 {
		t.Errorf("no-client-auth on lines %v", got)
	}
	env.Unrevoked, env.AnyEKU = []string{"ours", "unused"}, []string{"idevid"}
	if got := said(env, lintNoRevocation); !equalInts(got, []int{12}) {
		t.Errorf("no-revocation on lines %v, want 12", got)
	}
	if got := said(env, lintNoClientAuth); len(got) != 1 {
		t.Error("the anchor of reenroll has no any_eku, and no-client-auth isn't said")
	}
	env.AnyEKU = []string{"ours"}
	if got := said(env, lintNoClientAuth); got != nil {
		t.Errorf("the anchor takes any EKU, and lines %v are warned of", got)
	}
}

func TestBindHoldsDigestAgainstTheCaddyfile(t *testing.T) {
	const src = `version: 1
name: x
profiles:
  a:
    labels: [""]
    enroll:
      who: [{digest: {users: [anna]}}]
      linking: if_present
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`
	for _, c := range []struct {
		digest Digest
		want   string
	}{
		{Digest{Users: []string{"anna"}}, ""},
		{Digest{Unread: true}, ""},
		{Digest{Users: []string{"ana"}}, "policy.yaml:7:31: est has no user \"anna\" in the Caddyfile's `digest`; did you mean `ana`?; there is: \"ana\""},
		{Digest{}, "policy.yaml:7:31: est has no user \"anna\" in the Caddyfile's `digest`; there is: nothing"},
	} {
		policy := mustCompile(t, "policy.yaml", []byte(src))
		err := policy.Bind(Environment{Digest: c.digest, Users: []string{"anna"}, Upstreams: map[string]Capabilities{"ca": {Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}}})
		if got := fmt.Sprint(err); err != nil && got != c.want || err == nil && c.want != "" {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if slices.ContainsFunc(policy.Warnings(), func(f Finding) bool { return f.Lint == lintDigestMD5 }) {
			t.Error("MD5 is off")
		}
	}
	policy := mustCompile(t, "policy.yaml", []byte(src))
	if err := policy.Bind(Environment{Digest: Digest{Users: []string{"anna"}, MD5: true}, Upstreams: map[string]Capabilities{"ca": {Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}}}); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(policy.Warnings(), func(f Finding) bool { return f.Lint == lintDigestMD5 && f.Pos.Line == 7 }) {
		t.Errorf("MD5 is on: %v", policy.Warnings())
	}
}
