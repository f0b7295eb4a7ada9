// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"fmt"
	"io"
)

// An attribute's value can be a secret (challengePassword), and a request
// holds them in Raw and RawInfo as well. So neither can be printed or
// marshalled by accident: both have one short text for every verb and every
// encoder. Whoever needs a value reads Values.

// String gives the type and the number of values.
func (a Attribute) String() string {
	if len(a.Values) == 1 {
		return a.Type.String() + " (1 value)"
	}
	return fmt.Sprintf("%v (%d values)", a.Type, len(a.Values))
}

// Format writes String, whatever the verb and the flags.
func (a Attribute) Format(f fmt.State, _ rune) { write(f, a.String()) }

// MarshalText gives String; encoding/json and YAML use it.
func (a Attribute) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// String gives the subject and the SHA-256 of the request.
func (r Request) String() string {
	return fmt.Sprintf("PKCS #10 request %s (subject %q)", r.SHA256(), r.Names.Subject.String())
}

// Format writes String, whatever the verb and the flags.
func (r Request) Format(f fmt.State, _ rune) { write(f, r.String()) }

// MarshalText gives String; encoding/json and YAML use it.
func (r Request) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// write ignores the error as fmt itself does: a fmt.State has nowhere to
// take it.
func write(f fmt.State, s string) { _, _ = io.WriteString(f, s) }
