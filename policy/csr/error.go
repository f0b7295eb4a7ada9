// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"errors"
	"fmt"
)

// A ParseError says what is wrong in a request or a certificate, and where.
// It never holds the value of an attribute.
type ParseError struct {
	// Path is the place, from the outside in, with elements counted from 1:
	// "subject: RDN 2". Empty for the whole.
	Path string
	// Reason is what is wrong there.
	Reason string
}

// Error gives "path: reason".
func (e *ParseError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

func bad(format string, args ...any) error {
	return &ParseError{Reason: fmt.Sprintf(format, args...)}
}

// within puts a place before an error's own.
func within(place string, err error) error {
	inner := new(ParseError)
	if !errors.As(err, &inner) {
		return &ParseError{Path: place, Reason: err.Error()}
	}
	if inner.Path != "" {
		place += ": " + inner.Path
	}
	return &ParseError{Path: place, Reason: inner.Reason}
}

func withinNth(place string, n int, err error) error {
	return within(fmt.Sprintf("%s %d", place, n), err)
}
