// SPDX-License-Identifier: Apache-2.0

package est

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// refused maps an answer that brings no certificate. 400 to 422 but for those
// named are about the request: its policy, or the CSR. All else is between the
// server and us: 401 is a certificate that isn't accepted, 404 a label or an
// operation that isn't there, a redirect another server, which RFC 7030 section
// 3.2.1 would have us ask a person about.
func refused(answer upstream.Answer, now time.Time) *ra.Error {
	said := fmt.Sprintf("the EST server answered %d: %s", answer.Status, upstream.Line(words(answer)))
	again := func(e *ra.Error) *ra.Error { return upstream.Retry(e, answer.Header, now) }
	switch answer.Status {
	case http.StatusAccepted:
		// RFC 7030 section 4.2.3: the same request, sent again, gets what was
		// decided.
		return again(ra.Later(upstream.Line(answer.Header.Get("X-Request-Id")), 0, "the EST server has taken the request, and decides later (202)"))
	case http.StatusBadRequest, http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	case http.StatusUnauthorized:
		return again(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential))
	case http.StatusTooManyRequests:
		return again(ra.Fail(ra.Busy, said, nil))
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, said, nil)
	default:
		return again(ra.Fail(ra.UpstreamDown, said, nil))
	}
}

// words are the server's own, where it gives a text (RFC 7030 section 4.2.3).
func words(answer upstream.Answer) string {
	if location := answer.Header.Get("Location"); answer.Status >= 300 && answer.Status < 400 {
		return "it sends us to " + location + ", and requests are not carried elsewhere"
	}
	const most = 2 * upstream.MaxText
	return string(answer.Body[:min(len(answer.Body), most)])
}
