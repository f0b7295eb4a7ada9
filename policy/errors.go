// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotYAML is in the error of Parse when the bytes aren't YAML at all, so
// that nothing of the policy could be read. Any other mistake of the text is
// an [Errors].
var ErrNotYAML = errors.New("not YAML")

// A Problem is one mistake in a policy file.
type Problem struct {
	Pos     Pos
	Message string
	// ID is the stable id of the kind of mistake (see Mistakes).
	ID string
}

// The kinds of mistakes.
const (
	notYAMLText   = "not-yaml"
	notStrict     = "strict-yaml"
	sizeMistake   = "too-large"
	unknownKey    = "unknown-key"
	wrongValue    = "wrong-value"
	missingKey    = "missing-key"
	contradiction = "no-sense"
)

// Mistakes gives every kind of mistake, for documents that list them.
func Mistakes() []Lint {
	return []Lint{
		{ID: notYAMLText, About: "The text is not YAML at all."},
		{ID: notStrict, About: "YAML that a policy doesn't have: anchors, aliases, tags, merge keys, a key that stands twice, a second document."},
		{ID: sizeMistake, About: "The file is far larger than a policy is."},
		{ID: unknownKey, About: "A key that the language doesn't have here."},
		{ID: wrongValue, About: "A value that isn't of the kind that its key wants."},
		{ID: missingKey, About: "A key that must be written is missing."},
		{ID: contradiction, About: "What is written can't hold, or contradicts another line."},
	}
}

// Problems gives the mistakes in an error of Parse, Compile and Bind. It is
// empty for any other error.
func Problems(err error) Errors {
	var list Errors
	var text *unreadable
	switch {
	case errors.As(err, &list):
		return list
	case errors.As(err, &text):
		return Errors{text.problem}
	}
	return nil
}

// An unreadable is the error for a text of which nothing could be read.
type unreadable struct{ problem Problem }

// Error gives "file:line:col: not YAML: …".
func (u *unreadable) Error() string { return u.problem.String() }

// Unwrap makes it an ErrNotYAML.
func (u *unreadable) Unwrap() error { return ErrNotYAML }

// String gives "file:line:col: message".
func (p Problem) String() string { return p.Pos.String() + ": " + p.Message }

// Errors are all mistakes that were found in a policy file, in file order.
type Errors []Problem

// Error gives one problem on each line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Nobody reads more mistakes of one file than these. Who makes more makes one
// of them over and over.
const (
	mostShown = 200
	mostKept  = 4 * mostShown // what is found first doesn't always stand first
)

// problems collects mistakes while a file is read.
type problems struct {
	found Errors
	more  int // not kept
}

func (p *problems) add(at Pos, format string, args ...any) {
	p.addAs(contradiction, at, format, args...)
}

func (p *problems) addAs(id string, at Pos, format string, args ...any) {
	if p.full() {
		p.more++
		return
	}
	p.found = append(p.found, Problem{Pos: at, Message: fmt.Sprintf(format, args...), ID: id})
}

// full tells that no further mistake is kept.
func (p *problems) full() bool { return len(p.found) >= mostKept }

// join adds what others have found.
func (p *problems) join(other problems) {
	p.found, p.more = append(p.found, other.found...), p.more+other.more
}

// err gives the mistakes of each file in its order, each once, or nil.
func (p *problems) err() error {
	if len(p.found) == 0 {
		return nil
	}
	sorted := slices.Clone(p.found)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), comparePos(a.Pos, b.Pos))
	})
	sorted = slices.Compact(sorted)
	if more := p.more + len(sorted) - mostShown; more > 0 {
		last := sorted[mostShown-1].Pos
		sorted = append(sorted[:mostShown:mostShown], Problem{
			Pos: last, ID: contradiction, Message: fmt.Sprintf("there are %d more mistakes, which are not shown", more),
		})
	}
	return sorted
}

func comparePos(a, b Pos) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
}
