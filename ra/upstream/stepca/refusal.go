// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-est/estra/ra"
)

const (
	maxReason     = 512           // bytes of the CA's own words
	maxRetryAfter = 1 * time.Hour // a device shouldn't stay away for longer
)

// refused maps an answer that isn't a success. 400 and 403 are about the
// request: policy or CSR. All else is between the CA and us: 401 is a token
// not accepted (a wrong key, clock or provisioner name), 404 another kind of
// server, a redirect a proxy.
func refused(response *http.Response, body []byte, token string) *ra.Error {
	said := fmt.Sprintf("step-ca answered %d: %s", response.StatusCode, words(body, token))
	switch response.StatusCode {
	case http.StatusBadRequest, http.StatusForbidden:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	case http.StatusUnauthorized:
		return retry(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential), response)
	case http.StatusTooManyRequests:
		return retry(ra.Fail(ra.Busy, said, nil), response)
	case http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, said, nil)
	default:
		return retry(ra.Fail(ra.UpstreamDown, said, nil), response)
	}
}

// retry takes over the CA's Retry-After in seconds (RFC 9110 section
// 10.2.3).
func retry(e *ra.Error, response *http.Response) *ra.Error {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds <= 0 {
		return e
	}
	return e.After(min(time.Duration(min(seconds, 1<<20))*time.Second, maxRetryAfter))
}

// words makes the CA's message fit for one line of a log: without the token,
// control characters escaped, no longer than maxReason.
func words(body []byte, token string) string {
	var message struct {
		Message string `json:"message"`
	}
	text := string(body)
	if json.Unmarshal(body, &message) == nil && message.Message != "" {
		text = message.Message
	}
	// The answer may repeat the token, or a part of it.
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= 16 { // as all three parts of a real one are
			text = strings.ReplaceAll(text, part, "[…]")
		}
	}
	var line strings.Builder
	for _, r := range strings.TrimSpace(text) {
		piece := string(r)
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			piece = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if line.Len()+len(piece) > maxReason {
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
