// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/ocsp"
)

const (
	// answerAge is how long an answer counts without asking again, where it
	// lasts as long.
	answerAge = 5 * time.Minute
	// answersKept bounds the answers that are remembered: below a kilobyte each.
	answersKept = 1 << 14
	// askedAtOnce bounds the questions under way.
	askedAtOnce = 16
)

// A Client sends HTTP requests; *http.Client is one.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// A Responder answers for an anchor by OCSP (RFC 6960). It must not be copied
// after its first use, and is safe for concurrent use.
type Responder struct {
	URL    string
	Client Client
	Now    func() time.Time // when an answer came; nil: time.Now

	mu      sync.Mutex
	known   memory[*said]
	flights map[key]chan struct{}
	places  chan struct{}
	last    question // that was asked last
	until   time.Time
	failure error // of the last question
}

// said is what came of the last question about a certificate, and the answer
// that is held. It doesn't change once made.
type said struct {
	answer  *ocsp.Answer // nil: none
	asked   time.Time    // when answer came
	tried   time.Time
	failure error // of the last try
}

// settled tells whether there is no need to ask.
func (s *said) settled(now time.Time) bool {
	if s == nil || now.Before(s.tried) {
		return false
	}
	if s.failure != nil {
		return now.Sub(s.tried) < retryAfter
	}
	return now.Sub(s.asked) < answerAge && s.answer.Fresh(now) == nil
}

// verdict is what the certificate is to be held for: what was revoked once
// stays so until a newer answer is there.
func (s *said) verdict(now time.Time) (*ocsp.Answer, error) {
	switch {
	case s == nil:
		return nil, errEmpty
	case s.answer == nil:
		return nil, s.failure
	case s.answer.Revoked:
		return s.answer, nil
	case s.failure != nil && ForGood(s.failure):
		return nil, s.failure
	}
	if err := s.answer.Fresh(now); err != nil {
		return nil, errors.Join(s.failure, err)
	}
	return s.answer, nil
}

// ask gives the answer about a certificate, from memory where it is new enough.
func (r *Responder) ask(ctx context.Context, q question) (*ocsp.Answer, error) {
	k := keyOfSignature(q.cert, q.issuer)
	r.mu.Lock()
	held := r.known.get(k)
	if held.settled(q.now) {
		r.mu.Unlock()
		return held.verdict(q.now)
	}
	flight := r.flights[k]
	if flight == nil {
		flight = r.start(context.WithoutCancel(ctx), k, q, held)
	}
	r.mu.Unlock()
	slow := await(ctx, flight)
	r.mu.Lock()
	held = r.known.get(k)
	r.mu.Unlock()
	answer, err := held.verdict(q.now)
	if err != nil && slow != nil {
		return nil, slow
	}
	return answer, err
}

// start asks in the background: who waits may leave.
func (r *Responder) start(ctx context.Context, k key, q question, held *said) chan struct{} {
	if r.flights == nil {
		r.flights = make(map[key]chan struct{})
		r.places = make(chan struct{}, askedAtOnce)
		r.known.size = answersKept
	}
	flight := make(chan struct{})
	r.flights[k] = flight
	r.last = q
	go func() {
		ctx, cancel := context.WithTimeout(ctx, fetchAtMost)
		defer cancel()
		answer, err := r.fetch(ctx, q)
		next := &said{answer: answer, asked: q.now, tried: q.now, failure: err}
		if err != nil && held != nil {
			next.answer, next.asked = held.answer, held.asked
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		defer close(flight)
		delete(r.flights, k)
		r.known.put(k, next)
		if r.failure = err; ForGood(err) {
			r.failure = nil // it did answer
		}
		if err == nil {
			r.until = answer.NextUpdate
		}
	}()
	return flight
}

// fetch asks once.
func (r *Responder) fetch(ctx context.Context, q question) (*ocsp.Answer, error) {
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	der, err := ocsp.Request(q.cert, q.issuer)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(der))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", ocsp.RequestType)
	request.Header.Set("Accept", ocsp.AnswerType)
	body, _, err := receive(r.Client, request, ocsp.MaxAnswer, []string{ocsp.AnswerType})
	if err != nil {
		return nil, err
	}
	return ocsp.Parse(body, q.cert, q.issuer, r.now(q.now))
}

// now is the time at which an answer is judged: it may have been signed after
// the question was put.
func (r *Responder) now(asked time.Time) time.Time {
	if r.Now == nil {
		return asked
	}
	return r.Now()
}

// refresh asks about the certificate that was asked about last, so that the
// state of the responder is known between requests.
func (r *Responder) refresh(ctx context.Context, now time.Time) {
	r.mu.Lock()
	q := r.last
	r.mu.Unlock()
	if q.cert == nil || now.After(q.cert.NotAfter) {
		return
	}
	q.now = now
	_, _ = r.ask(ctx, q) // kept for failed
}

func (r *Responder) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// end is when the last answer ends to count; zero while nothing was asked.
func (r *Responder) end() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until
}
