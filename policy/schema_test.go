// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

func compiledSchema(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("policy.schema.json", document); err != nil {
		t.Fatal(err)
	}
	made, err := compiler.Compile("policy.schema.json") // held against the meta-schema, too
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// policyCorpus gives every policy file of the repository, right and wrong.
func policyCorpus(t *testing.T) map[string][]byte {
	t.Helper()
	corpus := map[string][]byte{}
	for _, pattern := range []string{"../examples/policies/*.yaml", "../examples/scenarios/*/*.yaml", "testdata/*.yaml", "testdata/*/*.txtar"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Ext(name) == ".yaml" {
				if !strings.HasSuffix(name, "_test.yaml") {
					corpus[name] = src
				}
				continue
			}
			for _, file := range txtar.Parse(src).Files {
				if file.Name == "policy.yaml" {
					corpus[name] = file.Data
				}
			}
		}
	}
	return corpus
}

// beyondSchema are files of which JSON, and so a schema, can't say what is
// wrong.
var beyondSchema = map[string]string{
	"top-name-date.txtar":      "YAML 1.2 takes a date for text",
	"yaml-bool-key.txtar":      "each key is text in JSON",
	"yaml-number-key.txtar":    "each key is text in JSON",
	"yaml-list-key.txtar":      "JSON has no such key",
	"yaml-merge.txtar":         "editors merge before they look",
	"yaml-profile-twice.txtar": "of two keys that are the same JSON has one",
}

// What a checker finds is of the shape, and all of that the schema must find;
// what makes no sense, or is no plain YAML, is none of the schema's business.
func TestSchemaAndParserAgreeOnEveryPolicyOfTheRepository(t *testing.T) {
	schema := compiledSchema(t, Schema())
	accepted, refused := 0, 0
	corpus := policyCorpus(t)
	for _, name := range slices.Sorted(maps.Keys(corpus)) {
		if beyondSchema[filepath.Base(name)] != "" {
			continue
		}
		var strict problems
		tree, err := readYAML(name, corpus[name], &strict)
		if err != nil {
			continue // nothing to look at
		}
		var check checker
		check.check(node{yaml: tree, at: nodePos(name, tree)}, policyFile)
		want := check.wrong.err()
		got := schema.Validate(asJSON(t, tree))
		if (got == nil) != (want == nil) {
			t.Errorf("%s:\nthe schema: %v\nthe parser: %v", name, got, want)
		}
		if want == nil {
			accepted++
		} else {
			refused++
		}
	}
	if accepted < 20 || refused < 40 {
		t.Errorf("%d files of the right shape, and %d of the wrong one: the corpus wasn't found", accepted, refused)
	}
}

// The same of test files: those of the examples, and one with every mistake.
func TestTheSchemaOfTestFilesAgreesWithTheirParser(t *testing.T) {
	schema := compiledSchema(t, TestSchema())
	names, err := filepath.Glob("../examples/policies/*_test.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	scenarios, err := filepath.Glob("../examples/scenarios/*/*_test.yaml")
	if err != nil || len(scenarios) == 0 {
		t.Fatalf("no test files of scenarios: %v", err)
	}
	names = append(names, scenarios...)
	for _, name := range append(names, "testdata/testfile/mistakes.txtar") {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		wrong := filepath.Ext(name) == ".txtar"
		if wrong {
			src = txtar.Parse(src).Files[0].Data
		}
		tree, err := readYAML(name, src, &problems{})
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(asJSON(t, tree)); (err != nil) != wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A value may stand where its shape says. Each of these is one of its kind,
// or just isn't.
func TestSchemaAndParserAgreeOnEachKindOfValue(t *testing.T) {
	for _, s := range []*shape{
		text, boolean, number, period, texts, numbers, {kind: aSize}, {kind: aShare}, {kind: aTime},
		{kind: aWord, words: []string{"auto", "legacy"}}, {kind: oneKind, alts: []*shape{boolean, texts}},
		{kind: aText, suggest: knownKeyUsages}, {kind: anyMap, each: number}, {kind: aMap, keys: []key{{name: "a", is: number, required: true}}},
	} {
		m := schemaMaker{uses: map[*shape]int{}, names: map[*shape]string{}}
		made := m.inline(s)
		schema := compiledSchema(t, made.encode())
		for _, value := range []string{
			`""`, `text`, `"1"`, `1`, `0`, `-1`, `1.5`, `01`, `999999999`, `9999999999`, `true`, `yes`, `null`, `~`, `[]`, `[a]`, `[1]`, `[[a]]`, `[null]`,
			`{}`, `{a: 1}`, `{a: x}`, `{b: 1}`, `{a: 1, b: 1}`, `90d`, `0s`, `09d`, `1.5h`, `-1d`, `90D`, `d`, `100000d`, `36600d`, `99999999m`, `1h30m`,
			`16KiB`, `16KB`, `1MiB`, `KiB`, `0KiB`, `1%`, `0%`, `100%`, `101%`, `"%"`, `auto`, `Auto`, `legacy`, `digitalSignature`,
			`2030-01-02T15:04:05Z`, `"2030-01-02T15:04:05+01:00"`, `2030-01-02`, `15:04:05`,
		} {
			if slices.Contains([]string{"01", "99999999m"}, value) {
				continue // one is an octal to YAML 1.1 and a number to YAML 1.2; the other is a hundred years and more
			}
			var document yaml.Node
			if err := yaml.Unmarshal([]byte(value), &document); err != nil {
				t.Fatal(err)
			}
			tree := document.Content[0]
			if tree.Tag == "!!timestamp" && s.kind != aTime {
				continue // text to YAML 1.2
			}
			var check checker
			check.check(node{yaml: tree, name: "a", path: "a"}, s)
			want, got := check.wrong.err(), schema.Validate(asJSON(t, tree))
			if (got == nil) != (want == nil) {
				t.Errorf("%s as %s:\nthe schema: %v\nthe parser: %v", value, s.describe(), got, want)
			}
		}
	}
}

// asJSON gives a tree as editors put it before a schema.
func asJSON(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch n.Kind {
	case yaml.MappingNode:
		made := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			made[n.Content[i].Value] = asJSON(t, n.Content[i+1])
		}
		return made
	case yaml.SequenceNode:
		made := []any{}
		for _, item := range n.Content {
			made = append(made, asJSON(t, item))
		}
		return made
	case yaml.AliasNode:
		return asJSON(t, n.Alias)
	default:
		return scalarAsJSON(t, n)
	}
}

func scalarAsJSON(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch n.Tag {
	case "!!bool":
		return n.Value == "true" // yes and no are text: YAML 1.2
	case "!!null":
		return nil
	case "!!int":
		number, err := strconv.ParseInt(n.Value, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		return json.Number(strconv.FormatInt(number, 10))
	case "!!float":
		return json.Number(n.Value)
	default:
		return n.Value
	}
}

func TestTheSchemaSaysWhatTheTableSays(t *testing.T) {
	var schema struct {
		Properties struct {
			Guardrails struct {
				Properties struct {
					Limits struct {
						Properties map[string]struct {
							Description string
							Default     any
						}
					}
				}
			}
			Profiles struct {
				AdditionalProperties struct {
					Properties map[string]struct {
						Description string
						Properties  map[string]any
					}
				}
			}
		}
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	limits := schema.Properties.Guardrails.Properties.Limits.Properties
	if got := limits["csr_bytes"]; got.Default != "16KiB" || got.Description != "the largest certification request, in DER" {
		t.Errorf("limits.csr_bytes: %+v", got)
	}
	if got := limits["names"]; got.Default != 20.0 {
		t.Errorf("limits.names: %+v", got)
	}
	profile := schema.Properties.Profiles.AdditionalProperties.Properties
	if got := profile["upstream"].Description; got != "the upstream of the Caddyfile that issues. Default: the only one" {
		t.Errorf("upstream: %s", got)
	}
	if _, ok := profile["subject"].Properties["serialNumber"]; !ok {
		t.Error("the schema suggests no subject attributes")
	}
}
