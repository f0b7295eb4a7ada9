// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"time"

	"github.com/caddy-est/estra/ra/upstream"
)

const (
	// idleTimeout is below the 15 seconds after which step-ca closes an idle
	// connection.
	idleTimeout = 10 * time.Second
	// The largest answers that are read.
	maxAnswer = 1 << 20
	maxCRL    = 32 << 20
)

// client makes calls to step-ca, verified by its own roots.
type client struct {
	*upstream.Client
	now func() time.Time
}

func newClient(base *url.URL, cfg Config) client {
	pool := x509.NewCertPool()
	for _, c := range cfg.Roots {
		pool.AddCert(c)
	}
	return client{now: cfg.Now, Client: upstream.NewClient(upstream.Config{
		Name: "step-ca", Base: base, Timeout: cfg.Timeout, MaxConns: cfg.MaxConns, Idle: idleTimeout,
		TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, Time: cfg.Now},
	})}
}

// do makes a call once: a token is good for one use. The token is never in an
// error, whatever the CA answers. The error is *ra.Error.
func (c client) do(ctx context.Context, r upstream.Call, token string) ([]byte, error) {
	if r.Body != nil {
		r.Type = "application/json"
	}
	answer, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	if !answer.OK() {
		return nil, refused(answer, token, c.now())
	}
	return answer.Body, nil
}
