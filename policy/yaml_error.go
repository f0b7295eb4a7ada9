// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

const openQuote = "a quote is opened and never closed"

// yamlWords are the library's messages in words that tell what to do. Where a
// message begins so, what stands here is said.
var yamlWords = []struct{ begins, says string }{
	{"mapping values are not allowed in this context", "a colon followed by a space stands within a text: put the text in quotes"},
	{"could not find expected ':'", "a line has no colon, where `key: value` is wanted"},
	{"did not find expected key", "this line stands in no column of the lines above: each key begins where those beside it begin"},
	{"did not find expected '-' indicator", "this line stands in no column of the lines above: each item of a list begins with a dash below the others"},
	{"did not find expected ',' or ']'", "a bracket [ is not closed, or a comma is missing between two items"},
	{"did not find expected ',' or '}'", "a brace { is not closed, or a comma is missing between two keys"},
	{"did not find expected alphabetic or numeric character", "a text can't begin with * or & without quotes: put it in quotes"},
	{"found unexpected end of stream", openQuote},
	{"found character that cannot start any token", "no value begins with this letter: indent with spaces and not with tabs, and put texts that begin with @, ` or % in quotes"},
	{"found unknown escape character", "a backslash within double quotes begins an escape, and this is none: write two, or use single quotes"},
}

// yamlError puts the library's message into our form. Its line is that of
// where a construct begins, or of where the library gave up, and often neither
// is where the mistake is; so the first line is looked for with which the text
// is YAML no more.
func yamlError(name string, src []byte, err error) error {
	text := err.Error()
	at := Pos{File: name, Line: 1, Col: 1}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.Line = line
		}
		text = text[len(m[0]):]
	}
	for _, w := range yamlWords {
		if strings.HasPrefix(text, w.begins) {
			text = w.says
		}
	}
	if line, ok := firstBroken(src); ok {
		at.Line = line
		content := bytes.Split(src, []byte{'\n'})[line-1]
		at.Col = 1 + len(content) - len(bytes.TrimLeft(content, " "))
		if bytes.Count(content, []byte{'"'})%2 == 1 {
			text = openQuote // the library complains of what stands behind the next one
		}
	}
	return notYAML(at, text)
}

// Of a text larger than this nobody looks for the line: reading it over and
// over takes time.
const mostSearched = 64 << 10

// firstBroken gives the line with which a text that isn't YAML begins not to
// be. A text that ends within brackets, quotes or a list may be YAML again a
// few lines below.
func firstBroken(src []byte) (int, bool) {
	if len(src) > mostSearched {
		return 0, false
	}
	var ends []int // of the lines
	for i, c := range src {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(ends) == 0 || ends[len(ends)-1] < len(src) {
		ends = append(ends, len(src))
	}
	good := func(lines int) bool {
		var document yaml.Node
		return lines == 0 || yaml.Unmarshal(src[:ends[lines-1]], &document) == nil
	}
	const ahead = 40
	low := 0
	for rounds := 0; rounds < 20; rounds++ {
		high := len(ends)
		for low+1 < high {
			if mid := (low + high) / 2; good(mid) {
				low = mid
			} else {
				high = mid
			}
		}
		next := low
		for n := low + 2; n <= min(low+ahead, len(ends)-1); n++ {
			if good(n) {
				next = n
			}
		}
		if next == low {
			return low + 1, true
		}
		low = next
	}
	return 0, false
}
