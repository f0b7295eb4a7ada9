// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-est/estra/ra"
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

// healthPath is what step-ca says of its health.
const healthPath = "/1.0/health"

func newClient(bases []*url.URL, cfg Config) client {
	pool := x509.NewCertPool()
	for _, c := range cfg.Roots {
		pool.AddCert(c)
	}
	return client{now: cfg.Now, Client: upstream.NewClient(upstream.Config{
		Name: "step-ca", Base: bases[0], Others: upstream.Others(bases), Timeout: cfg.Timeout, MaxConns: cfg.MaxConns, Idle: idleTimeout,
		TLS:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, Time: cfg.Now},
		Probe: upstream.Call{Method: http.MethodGet, Path: healthPath}, Observe: cfg.Observe,
	})}
}

// signed makes a call with a token, which names the address that it goes to:
// step-ca takes no other. It is good for one use.
func (c client) signed(ctx context.Context, r upstream.Call, t *tokens, cl claims, body func(token string) any) ([]byte, error) {
	var token string
	r.Make = func(base *url.URL) ([]byte, error) {
		var err error
		if token, err = t.sign(base, r.Path, cl); err != nil {
			return nil, ra.Fail(ra.UpstreamDown, "the token can't be signed", err)
		}
		src, err := json.Marshal(body(token))
		if err != nil {
			return nil, ra.Fail(ra.UpstreamDown, "the request can't be made", nil) // the error may repeat the token
		}
		return src, nil
	}
	r.Type = "application/json"
	return c.do(ctx, r, &token)
}

// do makes a call. The token is never in an error, whatever the CA answers. The
// error is *ra.Error.
func (c client) do(ctx context.Context, r upstream.Call, token *string) ([]byte, error) {
	answer, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	if !answer.OK() {
		return nil, refused(answer, *token, c.now())
	}
	return answer.Body, nil
}
