// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// The thousands of CFSSL's error codes (package errors, type Category). What
// isn't here is between the server and its own parts.
const (
	certificateError = 1
	policyError      = 5
	csrError         = 9
	certStoreError   = 11
)

// refused maps an answer that brings no result. CFSSL answers 400 to nearly
// everything, so that the code in it decides: about the certificate, the policy
// and the CSR are refusals. 401, 403 and what it says of the token are about our
// credentials. All else is between the CA and us.
func refused(answer upstream.Answer, r response, signs bool, now time.Time) *ra.Error {
	said, code := upstream.Line(string(answer.Body)), 0
	if len(r.Errors) > 0 {
		code = r.Errors[0].Code
		said = fmt.Sprintf("%s (%d)", upstream.Line(r.Errors[0].Message), code)
	}
	said = fmt.Sprintf("CFSSL answered %d: %s", answer.Status, said)
	again := func(e *ra.Error) *ra.Error { return upstream.Retry(e, answer.Header, now) }
	switch {
	case answer.Status == http.StatusTooManyRequests:
		return again(ra.Fail(ra.Busy, said, nil))
	case answer.Status == http.StatusBadGateway, answer.Status == http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, said, nil)
	case answer.Status == http.StatusUnauthorized, answer.Status == http.StatusForbidden, isAboutTheToken(r):
		return again(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential))
	case code/1000 == certStoreError && signs:
		// The database comes after the signature.
		return ra.Fail(ra.UpstreamTimeout, said+"; it has signed a certificate, and couldn't record it", nil)
	case code/1000 == certificateError, code/1000 == policyError, code/1000 == csrError, code/1000 == certStoreError,
		code == http.StatusBadRequest && answer.Status == http.StatusBadRequest:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	}
	return again(ra.Fail(ra.UpstreamDown, said, nil))
}

// isAboutTheToken knows CFSSL's texts for a key that isn't the profile's, and for
// a profile without one; they have no code of their own.
func isAboutTheToken(r response) bool {
	if len(r.Errors) == 0 {
		return false
	}
	text := r.Errors[0].Message
	return text == "invalid token" || text == "no authentication provider"
}
