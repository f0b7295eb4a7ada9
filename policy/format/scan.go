// SPDX-License-Identifier: Apache-2.0

package format

import "strings"

// A scanner knows, at the end of a line, what the next one begins in. It
// reads just enough of YAML for that.
type scanner struct {
	start   bool // a value may begin here
	plain   bool // a plain text, which the next line may go on with
	key     bool // a key of a map in block style was read
	quote   byte // within quotes: which
	depth   int  // open brackets
	block   bool // a literal or folded text begins on the next line
	indent  int  // its indentation, where it is written
	keep    bool // its line breaks at the end are text
	comment int  // where a comment begins, or -1
}

// scan reads a line from an offset to its end.
func (s *scanner) scan(text string, from int) {
	for i := from; i < len(text); {
		c := text[i]
		switch {
		case s.quote != 0:
			i = s.quoted(text, i)
		case c == ' ' || c == '\t':
			i++
		case c == '#' && (!s.plain || i == from || text[i-1] == ' ' || text[i-1] == '\t'):
			s.comment, s.plain = i, false
			return
		case s.start && (c == '"' || c == '\''):
			s.quote, s.start, s.plain = c, false, false
			i++
		case (s.start || s.depth > 0) && (c == '[' || c == '{'):
			s.depth++
			s.start, s.plain = true, false
			i++
		case s.start && s.depth == 0 && (c == '|' || c == '>'):
			s.header(text, i+1)
			return
		case s.depth > 0:
			s.flow(c, text[i+1:])
			i++
		default:
			s.inBlock(c, text[i+1:])
			i++
		}
	}
}

// quoted reads to the end of a quoted text, or of the line.
func (s *scanner) quoted(text string, i int) int {
	for i < len(text) {
		switch {
		case s.quote == '"' && text[i] == '\\':
			i += 2
			continue
		case text[i] != s.quote:
			i++
			continue
		case s.quote == '\'' && strings.HasPrefix(text[i+1:], "'"):
			i += 2
			continue
		}
		s.quote = 0
		return i + 1
	}
	return len(text)
}

// flow reads a letter within brackets.
func (s *scanner) flow(c byte, behind string) {
	switch c {
	case ']', '}':
		s.depth--
		s.start, s.plain = false, false
	case ',':
		s.start, s.plain = true, false
	case ':':
		if !s.plain || behind == "" || strings.ContainsRune(" \t,[]{}", rune(behind[0])) {
			s.start, s.plain = true, false
		}
	default:
		s.plain = s.plain || s.start
		s.start = false
	}
}

// inBlock reads a letter outside of brackets and quotes.
func (s *scanner) inBlock(c byte, behind string) {
	if c == ':' && !s.start && (behind == "" || behind[0] == ' ' || behind[0] == '\t') {
		s.key, s.start, s.plain = true, true, false
		return
	}
	s.plain = s.plain || s.start
	s.start = false
}

// header reads what stands behind | or >.
func (s *scanner) header(text string, i int) {
	s.block, s.start = true, false
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '+':
			s.keep = true
		case c >= '1' && c <= '9':
			s.indent = int(c - '0')
		case c == '#':
			s.comment = i
			return
		}
	}
}
