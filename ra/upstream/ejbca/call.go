// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// prefix is where EJBCA has version 1 of its REST API.
const prefix = "/ejbca/ejbca-rest-api/v1/"

// The largest answers that are read.
const (
	maxAnswer = 1 << 20
	maxCRL    = 64 << 20 // base64 in JSON, of base64 by some versions
)

// A request is a call to the API, which isn't sent yet.
type request struct {
	method string
	path   []string // the parts below prefix, unescaped
	query  string
	body   any // as JSON; nil: none
	id     string
	limit  int64 // 0: maxAnswer
	signs  bool
	reads  bool // whatever the method is
}

// send makes the call once. Answers of any status are no error.
func (u *Upstream) send(ctx context.Context, r request) (upstream.Answer, error) {
	if _, err := u.cfg.Certificate(); err != nil {
		return upstream.Answer{}, ra.Fail(ra.UpstreamDown, "EJBCA wants our RA certificate", err)
	}
	parts := make([]string, len(r.path))
	for i, part := range r.path {
		parts[i] = url.PathEscape(part)
	}
	call := upstream.Call{
		Method: r.method, Path: prefix + strings.Join(parts, "/"), Query: r.query, RequestID: r.id,
		Limit: max(r.limit, maxAnswer), Signs: r.signs, Reads: r.reads, Header: http.Header{"Accept": {"application/json, */*"}},
	}
	if r.body != nil {
		var err error
		if call.Body, err = json.Marshal(r.body); err != nil {
			return upstream.Answer{}, ra.Fail(ra.UpstreamDown, "the request can't be made", nil)
		}
		call.Type = "application/json"
	}
	return u.client.Do(ctx, call)
}

// call makes a call that is to succeed at once.
func (u *Upstream) call(ctx context.Context, r request) (upstream.Answer, error) {
	answer, err := u.send(ctx, r)
	if err != nil {
		return answer, err
	}
	if !answer.OK() || answer.Status == http.StatusAccepted {
		return answer, refused(answer, u.cfg.Now())
	}
	return answer, nil
}

// read is call for what isn't about a device's request: whatever fails there makes
// the CA count as down. The answer is JSON.
func (u *Upstream) read(ctx context.Context, into any, r request) error {
	answer, err := u.send(ctx, r)
	if err != nil {
		return err
	}
	what := strings.Join(r.path, "/")
	if answer.Status != http.StatusOK {
		e := refused(answer, u.cfg.Now())
		return upstream.RetryIn(ra.Fail(ra.UpstreamDown, what+": "+e.Reason, e.Err), e.RetryAfter)
	}
	if json.Unmarshal(answer.Body, into) != nil {
		return u.client.Unreadable(false, "an answer to "+what+" that isn't JSON", nil)
	}
	return nil
}

// message is ExceptionErrorRestResponse and ExceptionInfoRestResponse.
type message struct {
	Error string `json:"error_message"`
	Info  string `json:"info_message"`
	ID    int64  `json:"request_id"`
}

func messageOf(answer upstream.Answer) message {
	var m message
	if json.Unmarshal(answer.Body, &m) != nil {
		return message{}
	}
	return m
}

// said is EJBCA's answer in one line.
func said(answer upstream.Answer) string {
	m := messageOf(answer)
	text := m.Error
	if text == "" {
		text = m.Info
	}
	if text == "" {
		text = string(answer.Body[:min(len(answer.Body), 2*upstream.MaxText)])
	}
	return fmt.Sprintf("EJBCA answered %d: %s", answer.Status, upstream.Line(text))
}

// refused maps an answer that brings nothing. 400, 409, 413 and 422 are about the
// request: a profile, or a certificate that there is already. 401 and 403 are about
// our certificate and its role. All else is between EJBCA and us: a CA or a profile
// that isn't there (404), a token that is offline (503).
func refused(answer upstream.Answer, now time.Time) *ra.Error {
	text := said(answer)
	again := func(e *ra.Error) *ra.Error { return upstream.Retry(e, answer.Header, now) }
	switch answer.Status {
	case http.StatusAccepted:
		return ra.Fail(ra.UpstreamRefused, fmt.Sprintf("%s (request %d): this waits for an approval there, and only adding an end entity can", text, messageOf(answer).ID), nil)
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return ra.Fail(ra.UpstreamRefused, text, nil)
	case http.StatusUnauthorized, http.StatusForbidden:
		return again(ra.Fail(ra.UpstreamDown, text, ra.ErrCredential))
	case http.StatusTooManyRequests:
		return again(ra.Fail(ra.Busy, text, nil))
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, text, nil)
	}
	return again(ra.Fail(ra.UpstreamDown, text, nil))
}
