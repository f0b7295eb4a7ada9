// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-est/estra/ra"
)

// send makes a call that has an effect, at the first address that takes it.
func (c *Client) send(ctx context.Context, r Call) (Answer, error) {
	var failures []error
	for _, a := range c.addresses {
		t := c.sendTo(ctx, a, r)
		if t.err == nil {
			return t.answer, nil
		}
		failures = append(failures, t.err)
		if !t.unsent || ctx.Err() != nil {
			break
		}
	}
	return Answer{}, c.oneOf(failures)
}

// sendTo makes such a call at one address, if it is well.
func (c *Client) sendTo(ctx context.Context, a *address, r Call) try {
	done, trial, err := a.admit()
	if err != nil {
		return try{err: ra.Fail(ra.UpstreamDown, c.name+" isn't asked", err), unsent: true}
	}
	o := outcome{void: true} // a panic leaves no trial open
	defer func() { done(o) }()
	if trial && c.probe.Path != "" {
		if failed := c.probeAt(ctx, a); failed != nil {
			o = outcome{failure: failed}
			return try{err: failed, unsent: true}
		}
	}
	t := c.try(ctx, a, r)
	o = t.outcome
	o.signs = r.Signs
	o.lasting = o.lasting || r.Signs && !t.unsent
	return t
}

// probeAt asks an address how it is.
func (c *Client) probeAt(ctx context.Context, a *address) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	call := c.probe
	call.Limit = max(call.Limit, probeLimit)
	t := c.try(ctx, a, call)
	if t.err == nil && !c.well(t.answer) {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s at %s answered %d to %s", c.name, a.base.Host, t.answer.Status, call.Path), nil)
	}
	return t.err
}

// read makes a call without an effect, at one address after the other: first at
// those that are well. Each has its share of the time.
func (c *Client) read(ctx context.Context, r Call) (Answer, error) {
	all := slices.Clone(c.addresses)
	slices.SortStableFunc(all, func(a, b *address) int {
		switch resting := a.resting(); {
		case resting == b.resting():
			return 0
		case resting:
			return 1
		}
		return -1
	})
	var failures []error
	var last try
	for _, a := range all {
		last = c.readFrom(ctx, a, r, c.timeout/time.Duration(len(all)))
		a.answered(last.outcome)
		if last.err == nil && last.outcome.failure == nil {
			return last.answer, nil
		}
		if last.err != nil {
			failures = append(failures, last.err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if last.err == nil { // a status that says that the CA is in trouble
		return last.answer, nil
	}
	return Answer{}, c.oneOf(failures)
}

func (c *Client) readFrom(ctx context.Context, a *address, r Call, limit time.Duration) try {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.try(ctx, a, r)
}

// oneOf is the error of a call that failed at each of these addresses. None but
// the last may leave doubt.
func (c *Client) oneOf(failures []error) error {
	if len(failures) == 1 {
		return failures[0]
	}
	last, ok := errors.AsType[*ra.Error](failures[len(failures)-1])
	if !ok {
		return failures[len(failures)-1]
	}
	var others []string
	for _, f := range failures[:len(failures)-1] {
		if e, ok := errors.AsType[*ra.Error](f); ok {
			others = append(others, e.Text())
		}
	}
	all := ra.Fail(last.Kind, fmt.Sprintf("%s (at another address before: %s)", last.Reason, strings.Join(others, "; ")), last.Err)
	return RetryIn(all, last.RetryAfter)
}

// A try is a call at one address, with what came of it.
type try struct {
	answer Answer
	err    error
	// unsent says that surely nothing of the call was sent.
	unsent  bool
	outcome outcome
}

func (c *Client) try(ctx context.Context, a *address, r Call) try {
	var connected, begun, sent atomic.Bool
	request, err := c.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
		// Before a byte of the body is taken: without it nobody has the request.
		WroteHeaders: func() { begun.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				sent.Store(true)
			}
		},
	}), a, r)
	if err != nil {
		return try{err: err, outcome: outcome{void: true}}
	}
	response, err := a.http.Load().Do(request)
	if err != nil {
		// After the deadline the writing may still go on, so a connection is
		// reason enough to doubt.
		doubt := sent.Load() || (connected.Load() && ctx.Err() != nil)
		return try{
			err:     c.failed(a.base.Host, err, r.Signs && doubt),
			unsent:  !doubt && !begun.Load(),
			outcome: lost(ctx, err, doubt),
		}
	}
	defer response.Body.Close()
	a.see(response.Header, time.Now())
	body, err := io.ReadAll(io.LimitReader(response.Body, r.Limit+1))
	answer := Answer{Status: response.StatusCode, Header: response.Header, Body: body}
	if response.TLS != nil && len(response.TLS.PeerCertificates) > 0 {
		answer.Peer = response.TLS.PeerCertificates[0]
	}
	long := int64(len(body)) > r.Limit
	switch {
	case !answer.OK():
		if long {
			answer.Body = body[:r.Limit]
		}
		return try{answer: answer, outcome: c.judge(a, answer)}
	case err != nil:
		return try{err: c.failed(a.base.Host, err, r.Signs), outcome: lost(ctx, err, true)}
	case long:
		return try{err: c.Unreadable(r.Signs, fmt.Sprintf("an answer of more than %d bytes", r.Limit), nil)}
	}
	return try{answer: answer}
}

// lost is what no answer tells. A caller that hung up tells nothing.
func lost(ctx context.Context, err error, sent bool) outcome {
	if errors.Is(ctx.Err(), context.Canceled) {
		return outcome{void: true}
	}
	return outcome{failure: err, lasting: sent}
}

// judge says which statuses are the address's own trouble: that of a gateway
// before a CA that isn't there, and of one that says itself that it can't. A 500
// may be about one device's request, and stops nobody else's.
func (c *Client) judge(a *address, answer Answer) outcome {
	switch answer.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return outcome{
			failure: fmt.Errorf("%s at %s answered %d", c.name, a.base.Host, answer.Status),
			lasting: answer.Status == http.StatusGatewayTimeout,
		}
	}
	if c.ill(answer) {
		return outcome{failure: fmt.Errorf("%s at %s answered %d", c.name, a.base.Host, answer.Status)}
	}
	return outcome{}
}

func (c *Client) request(ctx context.Context, a *address, r Call) (*http.Request, error) {
	body := r.Body
	if r.Make != nil {
		var err error
		if body, err = r.Make(a.base); err != nil {
			return nil, err
		}
	}
	to := a.base.JoinPath(r.Path)
	to.RawQuery = r.Query
	request, err := http.NewRequestWithContext(ctx, r.Method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, ra.Fail(ra.UpstreamDown, "the request can't be made", err)
	}
	request.GetBody = nil // nothing is sent twice
	maps.Copy(request.Header, r.Header)
	if body != nil {
		request.Header.Set("Content-Type", r.Type)
	}
	if isToken(r.RequestID) {
		request.Header.Set("X-Request-Id", r.RequestID)
	}
	return request, nil
}
