// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
)

const (
	// idle is below what servers, and balancers before them, keep an unused
	// connection for: a minute or more.
	idle = 30 * time.Second
	// The largest answers that are read.
	maxAnswer = 1 << 20
	maxCRL    = 32 << 20
)

func newClient(bases []*url.URL, cfg Config, certificate func() (*tls.Certificate, error)) *upstream.Client {
	return upstream.NewClient(upstream.Config{
		Name: "Vault", Base: bases[0], Others: upstream.Others(bases), Timeout: cfg.Timeout, MaxConns: cfg.MaxConns, Idle: idle,
		TLS: upstream.TLS(cfg.TLSRoots, nil, cfg.Now), Certificate: certificate,
		// A standby is well: it hands calls on. Health is outside of any namespace.
		Probe: upstream.Call{Method: http.MethodGet, Path: "/v1/" + health().path, Query: health().query, Header: agentHeader()},
		Ill:   inactive, Observe: cfg.Observe,
	})
}

// agentHeader is what a Vault Agent between us may demand.
func agentHeader() http.Header { return http.Header{"X-Vault-Request": {"true"}} }

// inactive says that a server takes no calls: one in standby that can't hand them on
// sends us elsewhere, or knows of no active one; 472 and 473 are a replica that has
// no part in it.
func inactive(answer upstream.Answer) bool {
	switch {
	case answer.Status == 472, answer.Status == 473, answer.Status >= 300 && answer.Status < 400:
		return true
	}
	return answer.Status == http.StatusInternalServerError && slices.Contains(reasons(answer.Body), "local node not active but active cluster node not found")
}

// connections gives those that show our certificate. A token that was got with
// another is forgotten: an auth role for certificates renews it for the one that
// logged in.
func (u *Upstream) connections() (*upstream.Client, error) {
	if u.cfg.Certificate == nil {
		return u.caller, nil
	}
	cert, err := u.cfg.Certificate()
	if err == nil && len(cert.Certificate) == 0 {
		err = errEmpty
	}
	if err != nil {
		return nil, ra.Fail(ra.UpstreamDown, "Vault wants our RA certificate", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !bytes.Equal(u.shown, cert.Certificate[0]) {
		if u.shown != nil {
			u.session.forget()
		}
		u.shown = cert.Certificate[0]
	}
	return u.caller, nil
}

// Retire closes the connections that are idle.
func (u *Upstream) Retire() {
	u.caller.Retire()
	u.reader.Retire()
}

// A request is a call to the API, which isn't sent yet.
type request struct {
	method, path string
	query        string
	outside      bool // of any namespace
	body         any  // as JSON; nil: none
	id           string
	limit        int64 // 0: maxAnswer
	signs        bool
	reads        bool // whatever the method is
}

// send makes the call once. Answers of any status are no error.
func (u *Upstream) send(ctx context.Context, client *upstream.Client, r request, token secret.Text) (upstream.Answer, error) {
	header := agentHeader()
	if u.cfg.Namespace != "" && !r.outside {
		header.Set("X-Vault-Namespace", u.cfg.Namespace)
	}
	if token != "" {
		header.Set("X-Vault-Token", string(token))
	}
	call := upstream.Call{Method: r.method, Path: "/v1/" + r.path, Query: r.query, Header: header, RequestID: r.id, Limit: max(r.limit, maxAnswer), Signs: r.signs, Reads: r.reads}
	if r.body != nil {
		var err error
		if call.Body, err = json.Marshal(r.body); err != nil {
			return upstream.Answer{}, ra.Fail(ra.UpstreamDown, "the request can't be made", nil)
		}
		call.Type = "application/json"
	}
	return client.Do(ctx, call)
}

// authorized makes a call with our token. Where the token isn't accepted, the
// call is made once more with a new one, if there is one: nothing has happened.
func (u *Upstream) authorized(ctx context.Context, r request) (*upstream.Client, upstream.Answer, error) {
	for again := false; ; again = true {
		client, err := u.connections()
		if err != nil {
			return nil, upstream.Answer{}, err
		}
		token, err := u.session.token(ctx)
		if err != nil {
			return nil, upstream.Answer{}, err
		}
		answer, err := u.send(ctx, client, r, token)
		if err != nil {
			return nil, upstream.Answer{}, err
		}
		if answer.OK() {
			return client, answer, nil
		}
		if !again && refusesToken(answer) && u.session.replaceable(token) {
			continue
		}
		return nil, upstream.Answer{}, refused(answer, u.cfg.Now(), token)
	}
}

// read makes a call for what everybody may read. A refusal isn't about a
// device's request, so the CA counts as down.
func (u *Upstream) read(ctx context.Context, r request) (*upstream.Client, upstream.Answer, error) {
	client, err := u.connections()
	if err != nil {
		// Most servers don't ask for a certificate here, and ours may not be there
		// yet.
		client = u.reader
	}
	answer, err := u.send(ctx, client, r, "")
	if err != nil {
		return nil, upstream.Answer{}, err
	}
	if answer.Status != http.StatusOK {
		reason := r.path + ": " + refused(answer, u.cfg.Now()).Reason
		if answer.Status == http.StatusForbidden || answer.Status == http.StatusNotFound {
			// Where nothing is, Vault wants a token of who asks.
			reason += " (is there such a mount and issuer?)"
		}
		return nil, upstream.Answer{}, ra.Fail(ra.UpstreamDown, reason, nil)
	}
	return client, answer, nil
}
