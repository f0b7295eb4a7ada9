// SPDX-License-Identifier: Apache-2.0

// Package secret has the type of what no log, record or message may show.
package secret

import (
	"fmt"
	"io"
)

// hidden stands in the place of a secret.
const hidden = "(secret)"

// A Text is text that no format verb and no encoder shows. A conversion to
// string is the only way to it, so that a reader finds every use.
type Text string

// Format implements fmt.Formatter, for every verb.
func (Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (Text) MarshalText() ([]byte, error) { return []byte(hidden), nil }
