// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"strings"
)

// MaxText is the length of a Text when it is written, in bytes.
const MaxText = 1024

// MaxList is the number of entries that a list of names, OIDs or findings
// keeps. A policy's own limit is far below it; a request that is refused for
// its size still leaves a record of bounded size.
const MaxList = 100

// Text is text that others chose: a client, a CA, a policy's author. It is
// cut when it is written, so that nobody can blow up the record.
type Text string

// String gives at most MaxText bytes of valid UTF-8; "…" at the end says that
// it was cut.
func (t Text) String() string {
	const mark = "…"
	s := string(t)
	if len(s) > MaxText {
		// An incomplete character at the cut goes with the invalid bytes.
		return strings.ToValidUTF8(s[:MaxText-len(mark)], "") + mark
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// MarshalText is String, for encoding/json.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// texts tells each entry by its String, and past MaxList how many more there
// are.
func texts[T fmt.Stringer](from []T) []Text {
	var list []Text
	for i, v := range from {
		if i == MaxList {
			return append(list, Text(fmt.Sprintf("… and %d more", len(from)-MaxList)))
		}
		list = append(list, Text(v.String()))
	}
	return list
}
