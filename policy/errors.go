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
}

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

// problems collects mistakes while a file is read.
type problems struct{ found Errors }

func (p *problems) add(at Pos, format string, args ...any) {
	p.found = append(p.found, Problem{Pos: at, Message: fmt.Sprintf(format, args...)})
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
	return slices.Compact(sorted)
}

func comparePos(a, b Pos) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
}
