// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/est"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/wire"
)

// subject is a mode of the upstream, for the suite.
func subject(t testing.TB, mode func(*est.Config)) upstreamtest.Subject {
	s := serve(t)
	at := func(s *server, place upstreamtest.Place) ra.Upstream {
		up := s.open(func(c *est.Config) {
			if c.Timeout = place.Timeout; place.URL != "" {
				c.URL = place.URL
			}
		}, mode)
		if up.CanRevoke() { // what travels needn't be known before
			return up
		}
		return known{up, s}
	}
	sub := upstreamtest.Subject{
		Open: func(_ testing.TB, place upstreamtest.Place) ra.Upstream { return at(s, place) },
		Pins: []*x509.Certificate{s.ca.Root.Certificate},
		CA: &upstreamtest.CA{
			Name: "EST server", URL: s.url, Server: s.own, Issuer: s.ca.Intermediate, Reissue: s.reissue,
			TLS:   upstream.TLS([]*x509.Certificate{s.ca.Root.Certificate}, func() (*tls.Certificate, error) { return &s.ra, nil }, nil),
			Signs: func(r *http.Request) bool { return r.Method == http.MethodPost },
		},
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			strict := serve(t) // without a profile for it, and with a policy
			strict.spoil(func(r *reply) {
				r.status, r.certificates, r.response.Controls = http.StatusForbidden, nil, r.response.Controls[:3]
				r.tell(cmc.FailedWith(cmc.BadRequest, "refused by\npolicy (7)", 1))
			})
			return upstreamtest.Refusal{Upstream: strict.open(mode), Order: order(t), Says: "answered 403"}
		},
		Defer: func(t testing.TB) (ra.Upstream, func(bool)) {
			s := serve(t)
			var decided, grant atomic.Bool
			s.set(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case !decided.Load():
					w.Header().Set("Retry-After", "60")
					w.WriteHeader(http.StatusAccepted)
				case !grant.Load():
					w.WriteHeader(http.StatusForbidden)
				default:
					s.serve(w, r)
				}
			})
			return at(s, upstreamtest.Place{}), func(yes bool) { grant.Store(yes); decided.Store(true) }
		},
	}
	if s.open(mode).CanRevoke() {
		sub.Revoked = s.revoked
	}
	return sub
}

// revoked says what was asked for.
func (s *server) revoked(t testing.TB, c *x509.Certificate) (bool, int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, data := range s.requests {
		for _, control := range data.Controls.All(cmc.OIDRevokeRequest) {
			value, err := control.Value()
			if err != nil {
				t.Fatal(err)
			}
			asked, err := cmc.ParseRevocation(value)
			if err != nil {
				t.Fatal(err)
			}
			if asked.Serial.Cmp(c.SerialNumber) == 0 && bytes.Equal(asked.Issuer, c.RawIssuer) {
				return true, int(asked.Reason)
			}
		}
	}
	return false, 0
}

// reissue changes the certificate in what the server answers: in certificates alone,
// or in a PKIResponse, which it signs again.
func (s *server) reissue(answer []byte, another upstreamtest.Another) ([]byte, error) {
	der, _, err := wire.DecodeBody(answer)
	if err != nil {
		return nil, err
	}
	if certs, err := cms.ParseCertsOnly(der); err == nil {
		der, err = cms.CertsOnly(another(certs[0]))
		return wire.EncodeBody(der, true), err
	}
	signed, err := cms.ReadSigned(der)
	if err != nil {
		return nil, err
	}
	verified, err := signed.Verify(cms.FindCertificate())
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, c := range verified.Certificates() {
		if c.IsCA || strings.Contains(c.Subject.CommonName, "est.example") {
			certs = append(certs, c)
			continue
		}
		certs = append(certs, another(c))
	}
	if der, err = s.sign(verified.Content(), s.own, certs); err != nil {
		return nil, err
	}
	return wire.EncodeBody(der, false), nil
}

func BenchmarkOverhead(b *testing.B) {
	// A tape has answers to the same nonces.
	same := func(c *est.Config) { c.Rand = counting{} }
	b.Run("simpleenroll", func(b *testing.B) { upstreamtest.Overhead(b, subject(b, same)) })
	b.Run("fullcmc", func(b *testing.B) {
		upstreamtest.Overhead(b, subject(b, func(c *est.Config) { full(c); same(c) }), signAndVerify(b))
	})
}

// signAndVerify gives what nobody who speaks CMC can do without: one signature over a
// message, and the check of one.
func signAndVerify(b *testing.B) func(sent, answer []byte) {
	key := ratest.NewKey(b)
	return func(sent, answer []byte) {
		content := cms.Content{Type: cms.IDPKIData, Bytes: sent}
		if _, err := cms.Sign(content, nil, cms.Signer{Key: key, ID: cms.SubjectKeyID([]byte{1})}); err != nil {
			b.Fatal(err)
		}
		der, _, err := wire.DecodeBody(answer)
		if err != nil {
			b.Fatal(err)
		}
		signed, err := cms.ReadSigned(der)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := signed.Verify(cms.FindCertificate()); err != nil {
			b.Fatal(err)
		}
	}
}

type counting struct{}

func (counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i + 1)
	}
	return len(p), nil
}
