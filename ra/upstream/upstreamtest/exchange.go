// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"encoding/json"
	"io/fs"
	"slices"
	"testing"
)

// An Exchange is one that the published documents of an API show, in a file. A
// strict server takes its fields and no other, and answers in its form.
type Exchange struct {
	From   string          `json:"from"` // the document and its version
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Fields []string        `json:"fields"`
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer"`
}

// Recorded reads testdata/NAME.json.
func Recorded(t testing.TB, files fs.FS, name string) Exchange {
	t.Helper()
	var e Exchange
	readJSON(t, files, name, &e)
	return e
}

// Knows says whether the API has all these fields. One that it hasn't fails the
// test.
func (e Exchange) Knows(t testing.TB, fields map[string]json.RawMessage) bool {
	for field := range fields {
		if !slices.Contains(e.Fields, field) {
			t.Errorf("%s %s: the API has no field %q (%s)", e.Method, e.Path, field, e.From)
			return false
		}
	}
	return true
}

// Form is the answer, to be filled in.
func (e Exchange) Form(t testing.TB) map[string]any {
	var answer map[string]any
	if err := json.Unmarshal(e.Answer, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// Fill replaces what an answer has, and nothing that it hasn't.
func Fill(t testing.TB, answer, values map[string]any) {
	for name, value := range values {
		if _, there := answer[name]; !there {
			t.Errorf("the recorded answer has no %s", name)
		}
		answer[name] = value
	}
}

// A Failure is an answer that brings no result.
type Failure struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// Failures are those of testdata/errors.json, by name.
func Failures(t testing.TB, files fs.FS) map[string]Failure {
	t.Helper()
	var list struct {
		Errors map[string]Failure `json:"errors"`
	}
	readJSON(t, files, "errors", &list)
	return list.Errors
}

func readJSON(t testing.TB, files fs.FS, name string, into any) {
	t.Helper()
	data, err := fs.ReadFile(files, "testdata/"+name+".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
