// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// refused maps an answer that isn't a success. 400 and 403 are about the
// request: policy or CSR. All else is between the CA and us: 401 is a token
// not accepted (a wrong key, clock or provisioner name), 404 another kind of
// server, a redirect a proxy. 502 and 504 are of a gateway, which may have lost the
// answer of a CA that has issued.
func refused(answer upstream.Answer, token string, now time.Time) *ra.Error {
	said := fmt.Sprintf("step-ca answered %d: %s", answer.Status, words(answer.Body, token))
	switch answer.Status {
	case http.StatusBadRequest, http.StatusForbidden:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	case http.StatusUnauthorized:
		return upstream.Retry(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential), answer.Header, now)
	case http.StatusTooManyRequests:
		return upstream.Retry(ra.Fail(ra.Busy, said, nil), answer.Header, now)
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, said, nil)
	default:
		return upstream.Retry(ra.Fail(ra.UpstreamDown, said, nil), answer.Header, now)
	}
}

// words makes the CA's message fit for one line of a log, without the token.
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
	return upstream.Line(text)
}
