// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"errors"
	"fmt"
)

// An Error says what is wrong in a message, where, and what CMC calls it. It
// never holds a secret or a witness.
type Error struct {
	// Body is the element that is wrong; 0 is the message as a whole.
	Body BodyPartID
	// Fail is what a response says.
	Fail FailInfo
	// Path is the place, from the outside in; empty for the whole.
	Path string
	// Reason is what is wrong there.
	Reason string
}

// Error gives "path: reason".
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

func bad(format string, args ...any) error { return failing(BadRequest, format, args...) }

func failing(fail FailInfo, format string, args ...any) error {
	return &Error{Fail: fail, Reason: fmt.Sprintf(format, args...)}
}

// within puts a place before an error's own.
func within(place string, err error) error {
	inner := new(Error)
	if !errors.As(err, &inner) {
		return &Error{Fail: BadRequest, Path: place, Reason: err.Error()}
	}
	out := *inner
	out.Path = place
	if inner.Path != "" {
		out.Path += ": " + inner.Path
	}
	return &out
}

// of says which element is wrong.
func of(body BodyPartID, err error) error {
	inner := new(Error)
	if !errors.As(err, &inner) {
		inner = &Error{Fail: BadRequest, Reason: err.Error()}
	}
	out := *inner
	out.Body = body
	return &out
}
