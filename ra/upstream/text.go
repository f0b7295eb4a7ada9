// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-est/estra/ra"
)

const (
	// MaxText is how many bytes of a CA's own words are kept.
	MaxText       = 512
	maxRetryAfter = 1 * time.Hour // a device shouldn't stay away for longer
)

// Address accepts an https URL of a host, and nothing else in it: the path of
// an API call is ours, and a user name would end in logs.
func Address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		// The error of url.Parse repeats the text, which may hold a password.
		return nil, errors.New("the address isn't a URL")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("the address has a user name, and no credential stands there")
	case u.Scheme != "https":
		return nil, fmt.Errorf("the address %q isn't an https URL", s)
	case u.Hostname() == "":
		return nil, fmt.Errorf("the address %q names no host", s)
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("the address %q has more than a host and a port", s)
	}
	return &url.URL{Scheme: "https", Host: u.Host}, nil
}

// Others are those of the addresses that come behind the first, verified as that is.
func Others(bases []*url.URL) []Other {
	var others []Other
	for _, base := range bases[1:] {
		others = append(others, Other{Base: base})
	}
	return others
}

// Addresses accepts those of one CA, each once. There is at least one.
func Addresses(first string, others ...string) ([]*url.URL, error) {
	var all []*url.URL
	for _, s := range append([]string{first}, others...) {
		u, err := Address(s)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(known *url.URL) bool { return known.Host == u.Host }) {
			return nil, fmt.Errorf("the address %q is given twice", s)
		}
		all = append(all, u)
	}
	return all, nil
}

// Retry takes over the CA's Retry-After (RFC 9110 section 10.2.3), in seconds or
// as a date, up to an hour.
func Retry(e *ra.Error, header http.Header, now time.Time) *ra.Error {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return RetryIn(e, time.Duration(min(seconds, 1<<20))*time.Second)
	}
	if date, err := http.ParseTime(value); err == nil {
		return RetryIn(e, date.Sub(now))
	}
	return e
}

// RetryIn sets the Retry-After, to an hour at most.
func RetryIn(e *ra.Error, wait time.Duration) *ra.Error {
	if wait <= 0 {
		return e
	}
	return e.After(min(wait, maxRetryAfter))
}

// Line makes a CA's words fit for one line of a log: control characters
// escaped, no longer than MaxText.
func Line(text string) string {
	var line strings.Builder
	for _, r := range strings.TrimSpace(text) {
		piece := string(r)
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			piece = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if line.Len()+len(piece) > MaxText {
			line.WriteString("…")
			break
		}
		line.WriteString(piece)
	}
	if line.Len() == 0 {
		return "nothing more"
	}
	return line.String()
}
