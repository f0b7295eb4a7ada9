// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"github.com/caddy-est/estra/policy"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

// Each archive has texts and what they become.
func TestATextBecomesItsCanonicalForm(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(archive.Files); i += 2 {
			title := strings.TrimSuffix(archive.Files[i].Name, ".before")
			t.Run(title, func(t *testing.T) {
				got := formatted(t, archive.Files[i].Data)
				if *update {
					archive.Files[i+1].Data = got
				}
				if want := archive.Files[i+1].Data; string(got) != string(want) {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
			})
		}
		if *update {
			if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// formatted formats, and makes sure that doing so again changes nothing.
func formatted(t *testing.T, src []byte) []byte {
	t.Helper()
	got, err := Source("p.yaml", src)
	if err != nil {
		t.Fatalf("%v\n%s", err, src)
	}
	again, err := Source("p.yaml", got)
	if err != nil || string(again) != string(got) {
		t.Errorf("formatting again changes it: %v\nonce:\n%s\ntwice:\n%s", err, got, again)
	}
	return got
}

// corpus gives every policy of the repository that is strict YAML.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for _, pattern := range []string{"../../examples/policies/*.yaml", "../../examples/scenarios/*/*.yaml", "../testdata/*.yaml", "../testdata/*/*.txtar"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Ext(name) != ".yaml" {
				src = txtar.Parse(src).Files[0].Data
			}
			if policy.StrictYAML(name, src) == nil {
				found[name] = src
			}
		}
	}
	return found
}

func TestThePoliciesOfTheRepositoryAreCanonical(t *testing.T) {
	for name, src := range corpus(t) {
		if got := formatted(t, src); string(got) != string(src) && filepath.Ext(name) == ".yaml" {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// However a file is indented, its canonical form is the same.
func TestIndentationOfTheSourceDoesNotCount(t *testing.T) {
	for name, src := range corpus(t) {
		want := formatted(t, src)
		var wide []string
		for text := range strings.Lines(string(src)) {
			n := indentOf(text)
			if strings.HasPrefix(text[n:], "- ") {
				text = text[:n] + "-   " + text[n+2:]
			}
			wide = append(wide, spaces(n)+text) // twice as deep
		}
		if strings.ContainsAny(string(src), "|>") && slices.ContainsFunc(wide, isBlockScalar) {
			continue // its indentation would be text
		}
		got := formatted(t, []byte(strings.Join(wide, "")))
		if string(got) != string(want) {
			t.Errorf("%s: got:\n%s\nwant:\n%s", name, got, want)
		}
	}
}

func isBlockScalar(text string) bool {
	s := scanner{start: true}
	s.scan(strings.TrimRight(text, "\n"), indentOf(text))
	return s.block
}

func TestWhatIsNoStrictYAMLIsNotFormatted(t *testing.T) {
	for _, src := range []string{"", "a: [", "a: &x 1\n", "a: 1\na: 2\n", "a: 1\n---\nb: 1\n", "a: !!str 1\n"} {
		got, err := Source("p.yaml", []byte(src))
		var list policy.Errors
		if got != nil || !errors.Is(err, policy.ErrNotYAML) && !errors.As(err, &list) || !strings.HasPrefix(err.Error(), "p.yaml:") {
			t.Errorf("%q: %q, %v", src, got, err)
		}
	}
}

// Whatever is strict YAML is formatted, once and for all, and means the same.
func FuzzSource(f *testing.F) {
	for _, src := range corpus(f) {
		f.Add(src)
	}
	names, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range names {
		if archive, err := txtar.ParseFile(name); err == nil {
			for _, file := range archive.Files {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		once, err := Source("p.yaml", src)
		if err != nil {
			if _, wrong := policy.Parse("p.yaml", src); wrong == nil {
				t.Fatalf("a policy can't be formatted: %v", err)
			}
			return
		}
		twice, err := Source("p.yaml", once)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%v\nonce:\n%q\ntwice:\n%q", err, once, twice)
		}
		var before, after any
		if errors.Join(yaml.Unmarshal(src, &before), yaml.Unmarshal(once, &after)) == nil && !reflect.DeepEqual(before, after) {
			t.Fatalf("it means something else:\n%q\n%q", src, once)
		}
	})
}
