// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/est"
)

// front is a server whose chain has a further certificate, from when it is published.
func (s *server) front(next *x509.Certificate, published, asked *atomic.Int32) string {
	s.t.Helper()
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/cacerts") {
			asked.Add(1)
			if published.Load() > 0 {
				s.certsOnly(w, s.ca.Root.Certificate, s.ca.Intermediate.Certificate, next)
				return
			}
		}
		s.handle(w, r)
	}))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{s.own}, ClientAuth: tls.RequestClientCert}
	front.StartTLS()
	s.t.Cleanup(front.Close)
	return front.URL
}

func TestACACertificateThatIsNewIsServed(t *testing.T) {
	s := serve(t)
	next := s.ca.Root.Sub(t, "Next Issuing CA").Certificate
	var published, asked atomic.Int32
	url := s.front(next, &published, &asked)
	up := s.open(func(c *est.Config) { c.URL = url })
	ratest.ServesNext(t, up, s.ca.Root.Certificate, next, func() { published.Store(1) })
}

// The answer of a CA that has begun another chain isn't lost: it has issued.
func TestAnAnswerUnderAChainThatIsNewIsTaken(t *testing.T) {
	s := serve(t)
	next := s.ca.Root.Sub(t, "Next Issuing CA")
	signer := next.Device(t, "cmc.example", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{cmcRA} })
	signer.Certificate = signer.Certificate[:1] // who signs leaves the chain to /cacerts
	var published, asked atomic.Int32
	url := s.front(next.Certificate, &published, &asked)
	up := s.open(full, func(c *est.Config) { c.URL = url })
	if _, err := up.Issue(t.Context(), order(t)); err != nil {
		t.Fatal(err)
	}
	s.spoil(func(r *reply) { r.signer = signer })
	_, err := up.Issue(t.Context(), order(t))
	fails(t, err, ra.UpstreamTimeout, "does not verify under the explicit trust anchors")
	published.Store(1)
	if _, err := up.Issue(t.Context(), order(t)); err != nil {
		t.Error(err)
	}
	certs, err := up.CACerts(t.Context())
	if err != nil || !slices.ContainsFunc(certs, next.Certificate.Equal) {
		t.Errorf("%d certificates: %v", len(certs), err)
	}
	before := asked.Load()
	if _, err := up.Issue(t.Context(), order(t)); err != nil || asked.Load() != before {
		t.Errorf("%v, and /cacerts was asked %d times more", err, asked.Load()-before)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.posts != 4 {
		t.Errorf("%d requests were sent for 4 orders", s.posts)
	}
}
