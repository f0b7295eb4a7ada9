// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
)

const (
	issuePath   = "/issue"
	revokePath  = "/revoke"
	cacertsPath = "/cacerts"
	healthPath  = "/health"

	// SignatureHeader has the HMAC with SHA-256 of the body, in hexadecimal.
	SignatureHeader = "X-Estra-Signature"

	// maxAnswer bounds what is read of an answer.
	maxAnswer = 1 << 20
)

// call makes one call, and reads the answer. The error is *ra.Error.
func (u *Upstream) call(ctx context.Context, c upstream.Call, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return ra.Fail(ra.UpstreamDown, "the request can't be made", err)
	}
	c.Method, c.Type, c.Body, c.Limit = http.MethodPost, "application/json", body, maxAnswer
	c.Header = http.Header{SignatureHeader: {hex.EncodeToString(secret.MAC([]byte(u.cfg.Secret()), body))}}
	got, err := u.client.Do(ctx, c)
	if err != nil {
		return err
	}
	if !got.OK() {
		return denied(got, u.cfg.Now())
	}
	if len(got.Body) == 0 && !c.Signs {
		return nil
	}
	if err := json.Unmarshal(got.Body, answer); err != nil {
		return u.client.Unreadable(c.Signs, "an answer that isn't the JSON of "+Schema, nil)
	}
	return nil
}

// ask is call for what isn't about a device's request: a refusal there makes the
// CA count as down.
func (u *Upstream) ask(ctx context.Context, path string, request, answer any) error {
	return upstream.Reading(u.call(ctx, upstream.Call{Path: path, Reads: true}, request, answer))
}

// denied maps a status that isn't one of success. 400 to 422 but for those named
// are about the request. 401 and 403 are about the signature or our certificate.
// All else is between the service and us.
func denied(answer upstream.Answer, now time.Time) *ra.Error {
	said := fmt.Sprintf("%s answered %d: %s", name, answer.Status, upstream.Line(string(answer.Body[:min(len(answer.Body), 2*upstream.MaxText)])))
	again := func(e *ra.Error) *ra.Error { return upstream.Retry(e, answer.Header, now) }
	switch answer.Status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	case http.StatusUnauthorized, http.StatusForbidden:
		return again(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential))
	case http.StatusTooManyRequests:
		return again(ra.Fail(ra.Busy, said, nil))
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, said, nil)
	default:
		return again(ra.Fail(ra.UpstreamDown, said, nil))
	}
}

// mostLater bounds how long a device may be told to stay away.
const mostLater = 24 * time.Hour

// later is a service that has taken the order and decides later: the device comes
// again, and the same order is asked for with what the service calls it.
func later(p pending) *ra.Error {
	wait := time.Duration(max(0, min(p.RetryAfter, int64(mostLater/time.Second)))) * time.Second
	return ra.Later(p.Ref, wait, name+" has taken the request, and decides later")
}

// no is a refusal of the service.
func no(r refused) *ra.Error {
	return ra.Fail(ra.UpstreamRefused, fmt.Sprintf("%s refuses: %s", name, upstream.Line(r.Reason)), nil)
}
