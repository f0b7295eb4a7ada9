// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/addresstest"
	"github.com/caddy-est/estra/ra/upstream/est"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func TestAnESTServerAtSeveralAddresses(t *testing.T) {
	s := serve(t)
	ca := &upstreamtest.CA{
		Name: "EST server", URL: s.url, Server: s.own,
		TLS:   upstream.TLS([]*x509.Certificate{s.ca.Root.Certificate}, func() (*tls.Certificate, error) { return &s.ra, nil }, nil),
		Signs: func(r *http.Request) bool { return r.Method == http.MethodPost },
	}
	addresstest.Run(t, ca, func(_ testing.TB, all []string, timeout time.Duration) ra.Upstream {
		return s.open(full, func(c *est.Config) { c.URL, c.Others, c.Timeout = all[0], all[1:], timeout })
	})
}
