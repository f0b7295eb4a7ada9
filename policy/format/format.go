// SPDX-License-Identifier: Apache-2.0

// Package format gives a policy file its one canonical indentation. It moves
// white space and nothing else: no key is sorted, no comment lost, no scalar
// written in another style. A YAML library that reads a tree and writes it
// anew can't promise that, so lines are moved here, and the result is held
// against the source.
package format

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-est/estra/policy"
)

// Source gives the text of a policy file, or of its test file, in canonical
// form:
//
//   - two spaces for each level, lists below their key too;
//   - lines that go on with a value (a flow list, a quoted text) two spaces
//     deeper than its key, and two more for each open bracket;
//   - comments of their own where the line below stands, comments behind a
//     value as far from it as before, aligned ones aligned;
//   - at most one blank line in a row, none at the ends, no space at the end
//     of a line, one line break at the end.
//
// Text that is canonical is given back as it is. name is for messages. The
// error is that of [policy.StrictYAML]; of a text that is no strict YAML
// nobody can say what its indentation means.
func Source(name string, src []byte) ([]byte, error) {
	if err := policy.StrictYAML(name, src); err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(string(src), "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	p := printer{in: strings.Split(text, "\n")}
	for p.at < len(p.in) {
		p.next()
	}
	p.flush(-1, 0, p.levels)
	out := []byte(p.text())
	if err := same(name, text, out); err != nil {
		return nil, err
	}
	return out, nil
}

// same makes sure that nothing but white space has moved, and that it means
// what it meant.
func same(name, before string, after []byte) error {
	visible := func(text string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, text)
	}
	err := errors.New("a letter was lost")
	if visible(before) == visible(string(after)) {
		var old, made yaml.Node
		if err = yaml.Unmarshal(after, &made); err == nil {
			err = yaml.Unmarshal([]byte(before), &old)
		}
		if err == nil {
			err = sameTree(&old, &made)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: the file can't be indented without changing what it means: %w; write this place in a simpler form", name, err)
	}
	return nil
}

func sameTree(a, b *yaml.Node) error {
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || a.Style != b.Style || len(a.Content) != len(b.Content) {
		return fmt.Errorf("line %d", a.Line)
	}
	for i, child := range a.Content {
		if err := sameTree(child, b.Content[i]); err != nil {
			return err
		}
	}
	return nil
}

// A level is a map or a list in block style around the line that is looked
// at: the column of its keys or dashes, as it was and as it becomes.
type level struct {
	old, new int
	dashes   bool
}

// A printer moves lines.
type printer struct {
	in      []string
	at      int // the next line
	levels  []level
	pending []int // blank lines and comments that wait for the line below
	out     []line
}

// A line is one of the result.
type line struct {
	content, comment string
	column           int  // of the comment in the source
	gap              int  // the spaces before it there
	alone            bool // there is nothing but the comment
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }

func indentOf(text string) int { return len(text) - len(strings.TrimLeft(text, " ")) }

func spaces(n int) string { return strings.Repeat(" ", n) }

func isComment(text string) bool { return strings.HasPrefix(strings.TrimLeft(text, " \t"), "#") }

// isMarker tells a line that begins or ends a document.
func isMarker(text string) bool {
	marker := strings.HasPrefix(text, "---") || strings.HasPrefix(text, "...")
	return marker && (len(text) == 3 || text[3] == ' ' || text[3] == '\t')
}

func (p *printer) next() {
	text := p.in[p.at]
	switch {
	case blank(text), isComment(text):
		p.pending = append(p.pending, p.at)
		p.at++
	case len(p.levels) == 0 && (isMarker(text) || text[0] == '%'): // or a directive
		p.flush(0, 0, nil)
		p.marker(text)
	default:
		p.entry(text)
	}
}

// marker writes a line such as ---, which may have a value behind it.
func (p *printer) marker(text string) {
	p.at++
	s := scanner{start: true, comment: -1}
	if strings.HasPrefix(text, "---") {
		s.scan(text, len("---"))
	}
	p.write(0, text, 0, s)
	p.rest(&s, level{old: -1, new: -2})
}

// entry writes a line in block style, and the lines that go on with it.
func (p *printer) entry(text string) {
	p.at++
	before := append([]level(nil), p.levels...)
	column := indentOf(text)
	cursor, indent, prefix := column, -1, ""
	for isIndicator(text[cursor:]) {
		dash := text[cursor] == '-'
		l := p.level(cursor, dash)
		if indent < 0 {
			indent = l.new
		}
		prefix += text[cursor : cursor+1]
		cursor++
		behind := strings.TrimLeft(text[cursor:], " \t")
		cursor = len(text) - len(behind)
		if behind == "" {
			break
		}
		prefix += " "
		if behind[0] == '#' {
			break
		}
	}
	s := scanner{start: true, comment: -1}
	if cursor < len(text) && text[cursor] != '#' {
		s.scan(text, cursor)
		if s.key {
			l := p.level(cursor, false)
			if indent < 0 {
				indent = l.new
			}
		}
	} else if cursor < len(text) {
		s.comment = cursor
	}
	if indent < 0 { // a value on a line of its own
		p.leave(column - 1)
		indent = p.top().new + 2
	}
	p.flush(column, indent, before)
	p.write(indent, prefix+text[cursor:], cursor-len(prefix), s)
	p.rest(&s, p.top())
}

// isIndicator tells a dash, a question mark or a colon that begins an entry.
func isIndicator(text string) bool {
	if text == "" || !strings.ContainsRune("-?:", rune(text[0])) {
		return false
	}
	return len(text) == 1 || text[1] == ' ' || text[1] == '\t'
}

func (p *printer) top() level {
	if len(p.levels) == 0 {
		return level{old: -1, new: -2}
	}
	return p.levels[len(p.levels)-1]
}

// leave ends the levels that are deeper than a column.
func (p *printer) leave(column int) {
	for p.top().old > column {
		p.levels = p.levels[:len(p.levels)-1]
	}
}

// level gives the level of an entry at a column. The dashes of a list may
// stand in the column of the key that has the list.
func (p *printer) level(column int, dashes bool) level {
	p.leave(column)
	top := p.top()
	if top.old == column && top.dashes && !dashes {
		p.levels = p.levels[:len(p.levels)-1]
		top = p.top()
	}
	if top.old < column || top.dashes != dashes {
		top = level{column, top.new + 2, dashes}
		p.levels = append(p.levels, top)
	}
	return top
}

// rest writes the lines that go on with a value: within brackets or quotes,
// of a block scalar, of a plain text over several lines.
func (p *printer) rest(s *scanner, around level) {
	for p.at < len(p.in) {
		switch {
		case s.block:
			p.blockScalar(s, around)
			return
		case s.quote != 0, s.depth > 0:
			p.continued(s, around)
		case s.plain && p.goesOn(around):
			p.continued(s, around)
		default:
			return
		}
	}
}

// goesOn tells whether the next line with text goes on with a plain scalar.
func (p *printer) goesOn(around level) bool {
	for _, text := range p.in[p.at:] {
		if !blank(text) {
			return indentOf(text) > around.old && !isComment(text) && !isMarker(text)
		}
	}
	return false
}

// continued writes one line within brackets or quotes, or of a plain text.
func (p *printer) continued(s *scanner, around level) {
	text := p.in[p.at]
	p.at++
	inner := strings.TrimLeft(text, " \t")
	if inner == "" {
		p.out = append(p.out, line{})
		return
	}
	depth := s.depth
	if s.quote == 0 {
		depth -= len(inner) - len(strings.TrimLeft(inner, "]}"))
	}
	from := len(text) - len(inner)
	s.comment = -1
	s.scan(text, from)
	p.write(around.new+2+2*max(depth, 0), inner, from, *s)
}

// blockScalar moves the text of a literal or folded scalar as a whole: what
// is deeper than its first line stays deeper, and spaces at the end of a line
// are text.
func (p *printer) blockScalar(s *scanner, around level) {
	old, made := around.old+s.indent, around.new+s.indent
	if s.indent == 0 {
		old, made = p.firstIndent(), around.new+2
		if old <= around.old {
			old = math.MaxInt // no text follows
		}
	}
	end := p.at // behind the last line of the text
	for i := p.at; i < len(p.in); i++ {
		text := p.in[i]
		if !blank(text) && indentOf(text) < old {
			break
		}
		lastBreak := i == len(p.in)-1 && text == ""
		if !blank(text) || len(text) > old || s.keep && !lastBreak {
			end = i + 1
		}
	}
	for ; p.at < end; p.at++ {
		moved := line{}
		if text := p.in[p.at]; len(text) > old {
			moved.content = spaces(made) + text[old:]
		}
		p.out = append(p.out, moved)
	}
}

// firstIndent gives the indentation of the next line with text, or -1.
func (p *printer) firstIndent() int {
	for _, text := range p.in[p.at:] {
		if !blank(text) {
			return indentOf(text)
		}
	}
	return -1
}

// flush writes the comments and blank lines above a line that stood at a
// column and stands at indent now. before are the levels around the line
// above them. A column of -1 is the end of the file.
func (p *printer) flush(column, indent int, before []level) {
	for i, at := range p.pending {
		text := p.in[at]
		if blank(text) {
			last := len(p.out) == 0 || column < 0 && p.allBlank(p.pending[i:])
			if !last && (i == 0 || !blank(p.in[p.pending[i-1]])) {
				p.out = append(p.out, line{})
			}
			continue
		}
		comment := strings.TrimSpace(text)
		was := len(text) - len(strings.TrimLeft(text, " \t"))
		p.out = append(p.out, line{
			content: spaces(commentIndent(was, column, indent, before)),
			comment: comment, column: was, alone: true,
		})
	}
	p.pending = p.pending[:0]
}

func (p *printer) allBlank(lines []int) bool {
	for _, at := range lines {
		if !blank(p.in[at]) {
			return false
		}
	}
	return true
}

// commentIndent puts a comment where the line below it stands. One that is
// deeper than that line belongs to what ends above.
func commentIndent(was, column, indent int, before []level) int {
	if was <= column || len(before) == 0 || before[len(before)-1].old < column {
		return indent
	}
	for i := len(before) - 1; i >= 0; i-- {
		if l := before[i]; l.old <= was && l.old > column {
			return l.new
		}
	}
	return indent
}

// write adds a line: text is its content and its comment, which began at a
// column of the source.
func (p *printer) write(indent int, text string, from int, s scanner) {
	made := line{content: text}
	source := p.in[p.at-1]
	if s.comment >= 0 {
		made.content, made.comment = text[:s.comment-from], text[s.comment-from:]
		made.column = utf8.RuneCountInString(source[:s.comment])
		made.gap = max(1, made.column-utf8.RuneCountInString(strings.TrimRight(source[:s.comment], " \t")))
		made.comment = strings.TrimRight(made.comment, " \t")
		made.alone = strings.TrimSpace(made.content) == ""
	}
	made.content = spaces(indent) + trimEnd(made.content, s.quote)
	p.out = append(p.out, made)
}

// trimEnd takes spaces from the end of a line. Within double quotes a space
// behind a backslash is text.
func trimEnd(text string, quote byte) string {
	trimmed := strings.TrimRight(text, " \t")
	backslashes := len(trimmed) - len(strings.TrimRight(trimmed, `\`))
	if quote == '"' && backslashes%2 == 1 && len(trimmed) < len(text) {
		return text[:len(trimmed)+1]
	}
	return trimmed
}
