// SPDX-License-Identifier: Apache-2.0

package format

import (
	"strings"
	"unicode/utf8"
)

// text gives the result. Comments that stood below each other still do.
func (p *printer) text() string {
	var b strings.Builder
	for i := 0; i < len(p.out); {
		first := p.out[i]
		n := 1
		if first.comment != "" && !first.alone {
			for i+n < len(p.out) && p.out[i+n].comment != "" && p.out[i+n].column == first.column {
				n++
			}
		}
		align(&b, p.out[i:i+n])
		i += n
	}
	return b.String()
}

// align writes lines whose comments stand below each other.
func align(b *strings.Builder, lines []line) {
	column, gap := 0, 0
	for _, l := range lines {
		if l.comment != "" && !l.alone {
			column = max(column, utf8.RuneCountInString(l.content))
			if gap == 0 || l.gap < gap {
				gap = l.gap
			}
		}
	}
	for i, l := range lines {
		switch {
		case l.comment == "":
			b.WriteString(l.content)
		case i == 0 && l.alone:
			b.WriteString(l.content + l.comment)
		case l.alone:
			b.WriteString(spaces(column+gap) + l.comment)
		default:
			b.WriteString(l.content + spaces(column+gap-utf8.RuneCountInString(l.content)) + l.comment)
		}
		b.WriteByte('\n')
	}
}
