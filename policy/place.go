// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// placeIn gives the place in the policy file of a line and column (of CEL: 1
// and 0 are the first) within the text of a scalar. YAML folds lines, drops
// indentation and writes quotes in its own ways; but the visible characters
// of the text stand in the file in the same order, so they are counted along.
func (c *compiler) placeIn(n node, line, col int) Pos {
	start := nodePos(n.at.File, n.yaml)
	text, ok := n.text()
	if !ok {
		return start
	}
	for range line - 1 {
		i := strings.IndexByte(text, '\n')
		if i < 0 {
			break
		}
		text = text[i+1:]
	}
	full, _ := n.text()
	before := full
	for i := range text {
		if col <= 0 {
			before = full[:len(full)-len(text)+i]
			break
		}
		col--
	}
	source := sourceAt(c.source, start)
	if source == nil {
		return start
	}
	offset := len(c.source) - len(source)
	if n.yaml.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		offset += bytes.IndexByte(source, '\n') + 1
	} else if n.yaml.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		offset++
	}
	return offsetPos(n.at.File, c.source, c.along(offset, before))
}

// along gives the offset in the file behind the visible characters of a text
// that begins at an offset, on the next visible character.
func (c *compiler) along(offset int, text string) int {
	for _, want := range text {
		if unicode.IsSpace(want) {
			continue
		}
		i := bytes.IndexRune(c.source[offset:], want)
		if i < 0 {
			return offset
		}
		offset += i + utf8.RuneLen(want)
	}
	for offset < len(c.source) && (c.source[offset] == ' ' || c.source[offset] == '\n' || c.source[offset] == '\r') {
		offset++
	}
	return offset
}

// sourceAt gives the file from a place on, or nil.
func sourceAt(source []byte, at Pos) []byte {
	for range at.Line - 1 {
		i := bytes.IndexByte(source, '\n')
		if i < 0 {
			return nil
		}
		source = source[i+1:]
	}
	for range at.Col - 1 {
		_, size := utf8.DecodeRune(source)
		if size == 0 {
			return nil
		}
		source = source[size:]
	}
	return source
}
