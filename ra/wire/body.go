// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// columns is the width of wrapped base64: PEM's, which every client reads.
const columns = 64

// Errors of DecodeBody. None of them tells what the body holds, which may be
// a one-time password.
var (
	ErrEmpty  = errors.New("the body is empty; base64 expected (RFC 8951 section 3)")
	ErrBinary = errors.New("the body is binary; base64 expected (RFC 8951 section 3)")
	ErrArmour = errors.New("the PEM armour is incomplete, or not that of a certification request")
)

// coding refuses non-zero bits after the last byte (RFC 4648 section 3.5), so
// that a body has one meaning only.
var coding = base64.StdEncoding.Strict()

// armours are the PEM labels of a certification request (RFC 7468 section 7).
var armours = []string{"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"}

// DecodeBody turns the body of an EST message into DER. The base64 may have
// CR, LF, space and TAB anywhere (RFC 8951 section 3.1) and nothing else
// beside the alphabet; padding is required. PEM armour of a certification
// request, which some clients send, is accepted and reported. The size of
// body is for the caller to bound.
func DecodeBody(body []byte) (der []byte, armoured bool, err error) {
	text := bytes.Trim(body, " \t\r\n")
	if len(text) == 0 {
		return nil, false, ErrEmpty
	}
	start := bytes.Index(body, text) // to name places in the body as it was sent
	if bytes.HasPrefix(text, []byte("-----")) {
		inner, err := unarmour(text)
		if err != nil {
			return nil, false, err
		}
		start += bytes.Index(text, inner)
		text, armoured = inner, true
	}
	der, err = decode(text, start)
	if err != nil {
		return nil, armoured, err
	}
	return der, armoured, nil
}

// unarmour gives what stands between the BEGIN and END lines of a request.
func unarmour(text []byte) ([]byte, error) {
	for _, label := range armours {
		inner, ok := bytes.CutPrefix(text, []byte("-----BEGIN "+label+"-----"))
		if !ok {
			continue
		}
		if inner, ok = bytes.CutSuffix(inner, []byte("-----END "+label+"-----")); ok {
			return inner, nil
		}
	}
	return nil, ErrArmour
}

// decode reads base64 after taking the white space out. Start is where text
// begins in the body.
func decode(text []byte, start int) ([]byte, error) {
	dense := make([]byte, 0, len(text))
	for i, c := range text {
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case c < ' ' || c > '~':
			return nil, ErrBinary
		case !inAlphabet(c):
			return nil, fmt.Errorf("the body is not base64: character at byte %d", start+i+1)
		default:
			dense = append(dense, c)
		}
	}
	if len(dense) == 0 {
		return nil, ErrEmpty
	}
	if n := len(dense) % 4; n != 0 {
		return nil, fmt.Errorf("the base64 is incomplete: %d characters over a multiple of four (padding missing, or cut short)", n)
	}
	der := make([]byte, coding.DecodedLen(len(dense)))
	n, err := coding.Decode(der, dense)
	if err != nil {
		return nil, errors.New("the base64 is wrong: padding in the middle, or bits left over at the end")
	}
	return der[:n], nil
}

func inAlphabet(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '='
}

// EncodeBody turns DER into the body of an answer: base64 as one line, or
// wrapped at 64 columns with LF. Both end with a newline, without which
// libest fails.
func EncodeBody(der []byte, wrapped bool) []byte {
	return appendBase64(make([]byte, 0, encodedRoom(len(der))), der, wrapped, "\n")
}

// encodedRoom is enough for n bytes in base64, with all line ends.
func encodedRoom(n int) int { return coding.EncodedLen(n) + 2*(n/(columns/4*3)+1) }

// appendBase64 leaves no copy of what it encodes anywhere but in out, where
// that has the room.
func appendBase64(out, der []byte, wrapped bool, newline string) []byte {
	if wrapped {
		for size := columns / 4 * 3; len(der) > size; der = der[size:] {
			out = append(coding.AppendEncode(out, der[:size]), newline...)
		}
	}
	return append(coding.AppendEncode(out, der), newline...)
}
