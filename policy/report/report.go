// SPDX-License-Identifier: Apache-2.0

// Package report writes what the policy tools find: as text for people at a
// terminal, as JSON, as SARIF for code review, as JUnit for test runners.
package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-est/estra/policy"
)

// Width is how many columns the text forms have.
const Width = 80

// A Level says how bad an entry is.
type Level string

// The levels, as SARIF calls them.
const (
	Error   Level = "error"   // the file is refused
	Warning Level = "warning" // also said at start
	Note    Level = "note"    // for who writes and reviews the file
)

// An Entry is one thing to say about a policy file.
type Entry struct {
	ID      string // of policy.Mistakes or policy.Lints
	Level   Level
	Pos     policy.Pos
	Path    string // the policy path, or empty
	Message string
}

// A Check is the result of checking a policy file.
type Check struct {
	File     string
	Name     string // the policy's `name:`; empty where the file is wrong
	SHA256   string // likewise
	Profiles int
	Entries  []Entry // in file order
}

// OK tells whether the file is right.
func (c Check) OK() bool { return c.Count(Error) == 0 }

// Count gives how many entries of a level there are.
func (c Check) Count(level Level) int {
	n := 0
	for _, e := range c.Entries {
		if e.Level == level {
			n++
		}
	}
	return n
}

// Add adds entries that the result doesn't have yet.
func (c *Check) Add(entries ...Entry) {
	for _, e := range entries {
		if !slices.Contains(c.Entries, e) {
			c.Entries = append(c.Entries, e)
		}
	}
	slices.SortStableFunc(c.Entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
}

// Mistakes gives the entries for what is wrong with a file. They are empty
// for an error that isn't about a policy file.
func Mistakes(err error) []Entry {
	var entries []Entry
	for _, p := range policy.Problems(err) {
		entries = append(entries, Entry{ID: p.ID, Level: Error, Pos: p.Pos, Message: p.Message})
	}
	return entries
}

// Lint gives the entries for the warnings of a file.
func Lint(findings []policy.Finding) []Entry {
	start := map[string]Level{}
	for _, l := range policy.Lints() {
		start[l.ID] = Note
		if l.Start {
			start[l.ID] = Warning
		}
	}
	var entries []Entry
	for _, f := range findings {
		entries = append(entries, Entry{ID: f.Lint, Level: start[f.Lint], Pos: f.Pos, Path: f.Path, Message: f.Message})
	}
	return entries
}

// Text gives an entry for a terminal: "file:line:col: " and the message, in
// lines of at most Width columns where its words allow it, and below it where
// a reader finds more. It ends with a line break.
func (e Entry) Text() string {
	text := e.Message
	if e.Level != Error {
		text = string(e.Level) + ": " + text
	}
	tail := "[" + e.ID + "]"
	if e.Path != "" {
		tail = e.Path + " " + tail
	}
	if e.Level == Error {
		return Wrap(e.Pos.String()+": "+text, "    ") + "\n"
	}
	return Wrap(e.Pos.String()+": "+text, "    ") + "\n    " + tail + "\n"
}

// Wrap breaks a text between words so that no line is longer than Width; the
// lines after the first are indented.
func Wrap(text, indent string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > Width:
			b.WriteString("\n" + indent)
			column = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// JSON gives the result as a JSON object on several lines.
func (c Check) JSON() ([]byte, error) {
	type finding struct {
		ID      string `json:"id"`
		Level   Level  `json:"level"`
		File    string `json:"file"`
		Line    int    `json:"line,omitempty"`
		Column  int    `json:"column,omitempty"`
		Path    string `json:"path,omitempty"`
		Message string `json:"message"`
	}
	result := struct {
		File     string    `json:"file"`
		OK       bool      `json:"ok"`
		Policy   string    `json:"policy,omitempty"`
		SHA256   string    `json:"sha256,omitempty"`
		Profiles int       `json:"profiles"`
		Findings []finding `json:"findings"`
	}{c.File, c.OK(), c.Name, c.SHA256, c.Profiles, []finding{}}
	for _, e := range c.Entries {
		result.Findings = append(result.Findings, finding{e.ID, e.Level, e.Pos.File, e.Pos.Line, e.Pos.Col, e.Path, e.Message})
	}
	return encode(result)
}

// encode writes JSON as people read it: <, > and & as they are.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(value)
	return b.Bytes(), err
}
