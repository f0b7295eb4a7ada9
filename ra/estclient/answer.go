// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/binding"
)

// maxAnswer bounds what is read of an answer's body, in bytes.
const maxAnswer = 1 << 20

// A StatusError is an answer with another status than 200. Errors of
// Enroll and Reenroll that are pending are one too, with status 202.
type StatusError struct {
	Op     policy.Op
	Status int
	// Text is the server's explanation, without control characters; it may
	// be empty.
	Text string
	// RequestID is the server's name for the exchange, where it gives one.
	RequestID string
	// RetryAfter is how long to wait before the same request is sent again;
	// 0 where the server doesn't say.
	RetryAfter time.Duration
	// LinkBy is the type of binding that a request must be linked by, where
	// the server refuses for want of it: binding.TLSUnique or TLSExporter.
	LinkBy string
}

// Pending says that the request was taken and waits for a decision (RFC 7030
// section 4.2.3): repeat it, with the same key, after RetryAfter.
func (e *StatusError) Pending() bool { return e.Status == http.StatusAccepted }

// Error names the operation, the status and what the server said.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s: the server answered %d %s", e.Op, e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.RequestID != "" && !strings.Contains(e.Text, e.RequestID) {
		s += " (request " + e.RequestID + ")" // the way to the server's records
	}
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(" (try again in %s)", e.RetryAfter)
	}
	return s
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func readAnswer(resp *http.Response) (*answer, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// refusal is the answer as an error.
func (a *answer) refusal(op policy.Op, now time.Time) *StatusError {
	return &StatusError{
		Op:         op,
		Status:     a.status,
		Text:       printable(string(a.body), 1024),
		RequestID:  a.id(),
		RetryAfter: retryAfter(a.header.Get("Retry-After"), now),
		LinkBy:     linkBy(a),
	}
}

// id is the server's name for the exchange, where it gives one.
func (a *answer) id() string { return printable(a.header.Get("X-Request-Id"), 128) }

// linkBy reads the header that says how to do it right at once. Any other
// value, and the header with another status, say nothing.
func linkBy(a *answer) string {
	if a.status != http.StatusForbidden {
		return ""
	}
	switch value := a.header.Get(binding.HeaderRequired); value {
	case binding.TLSUnique, binding.TLSExporter:
		return value
	default:
		return ""
	}
}

// retryAfter reads both forms of the header (RFC 9110 section 10.2.3). What
// can't be read, is negative or is past counts as absent.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, date.Sub(now))
}

// printable makes a stranger's text safe for a terminal and a log: one line,
// no control characters, at most limit bytes.
func printable(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(text, ""))
	return strings.TrimSpace(text)
}
