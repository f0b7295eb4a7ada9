// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/room"
)

// The defaults of Limits, and what follows from it.
const (
	// DefaultConcurrency is enough to keep the cores and the connections to one
	// CA busy, and few enough for those inside to be quick.
	DefaultConcurrency = 32
	waitingForEach     = 8 // requests that wait, for each place
	defaultPatience    = 5 * time.Second
	// busyWait is how long one who finds no place stays away.
	busyWait = 10 * time.Second
	// urgent is how near its end a certificate must be for its renewal to go
	// before what came earlier.
	urgent = 24 * time.Hour
)

// open makes the rooms.
func (s *Server) open() {
	patience := s.Limits.Patience
	if patience <= 0 {
		patience = defaultPatience
	}
	n := s.places()
	s.enrolling, s.other = room.New(n, n*waitingForEach, patience), room.New(n, n*waitingForEach, patience)
}

func (s *Server) places() int {
	if s.Limits.Concurrency > 0 {
		return s.Limits.Concurrency
	}
	return DefaultConcurrency
}

// placed waits for one of the places of Limits.Concurrency, and has it for a
// step.
func (x *exchange) placed(r *room.Room, step func() (answer, *ra.Error)) (answer, *ra.Error) {
	leave, err := r.Enter(x.r.Context(), x.due(x.who.Cert))
	if err != nil {
		return answer{}, x.s.busy(err)
	}
	defer leave()
	return step()
}

// due orders those who wait: a renewal by the end of the certificate that it
// renews, where that is near, and all else as it came.
func (x *exchange) due(renews *x509.Certificate) time.Time {
	due := x.now.Add(urgent)
	if x.target.op == policy.SimpleReenroll && renews != nil && renews.NotAfter.Before(due) {
		return renews.NotAfter
	}
	return due
}

// hopeless refuses an enrolment that would find no place even to wait: who asks
// needn't be found out then. The certificate may be anybody's yet, which gains
// nobody more than to be asked who he is.
func (x *exchange) hopeless() *ra.Error {
	if !x.target.enrolls() {
		return nil
	}
	var shown *x509.Certificate
	if x.r.TLS != nil && len(x.r.TLS.PeerCertificates) > 0 {
		shown = x.r.TLS.PeerCertificates[0]
	}
	if x.s.enrolling.Full(x.due(shown)) {
		return x.s.busy(room.ErrFull)
	}
	return nil
}

func (s *Server) busy(err error) *ra.Error {
	reason := fmt.Sprintf("%d requests are being worked on", s.places())
	if errors.Is(err, room.ErrFull) {
		reason += fmt.Sprintf(", and %d wait", s.places()*waitingForEach)
	}
	return ra.Fail(ra.Busy, reason, err).After(busyWait)
}
