// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/est"
	"github.com/caddy-est/estra/ra/wire"
)

// assemble makes the EST server.
func (h *Handler) assemble() error {
	anchors, err := h.loadAnchors()
	if err != nil {
		return err
	}
	hook, err := h.loadWebhook()
	if err != nil {
		return err
	}
	if err := h.loadNotifier(); err != nil {
		return err
	}
	cas := make(map[string]*ra.CA, len(h.upstreams))
	for name, known := range h.upstreams {
		cas[name] = known.ca
	}
	limits, err := h.Limits.defaults()
	if err != nil {
		return err
	}
	node, err := nodeName()
	if err != nil {
		return err
	}
	h.server = &est.Server{
		Policy:    h.policy,
		Shadow:    h.shadow,
		Authority: &ra.Authority{Policy: h.policy, CAs: cas, Keys: h.app.keys, Hook: hook},
		Anchors:   anchors,
		Limits:    est.Limits{Body: limits.Body, Concurrency: h.concurrency(limits)},
		Quirks:    wire.Quirks(h.Quirks),
		Attempts:  est.NewAttempts(limits.Attempts, time.Duration(limits.AttemptsPer)),
		Challenge: h.challenge,
		Sink:      h.sink(),
		Node:      node,
		Observe:   h.observe,
		Leaving:   h.app.leaving.Load,
		Certificate: func(r *http.Request) (*tls.Certificate, error) {
			return h.app.OwnCertificate(r.Context(), nameOf(r))
		},
	}
	h.server.Authority.DecryptKeys, h.server.Authority.KeySigner = h.decryptKeys, h.keySigner
	h.server.Authority.Passwords = h.decryptKeys
	h.server.Authority.Repeat, h.server.Authority.PendingFor = time.Duration(limits.RetryWindow), time.Duration(limits.PendingExpiry)
	if h.store != nil { // not in tools
		h.server.Authority.Ledger, h.server.Authority.Node = h.store, ledgerNode(node)
		// A look-up that no line of a policy wants would cost every request.
		if h.asksFor((*policy.Policy).UsesPasswords) {
			h.server.Passwords = h.store
		}
		if len(h.Registries) > 0 || h.asksFor((*policy.Policy).UsesRegistries) {
			h.server.Devices = h.store
		}
		h.server.Inventory = h.store // asked where a line wants it
		h.server.Authority.Claims, h.server.Authority.Made = h.store, h.store
		h.server.Authority.Renewals, h.server.Authority.Pending = h.store, latePending{h.store}
		h.server.Authority.Orders, h.server.Authority.PollEvery = lateOrders{h.store}, time.Duration(limits.PendingPoll)
	}
	return nil
}

// asksFor says whether the policy or its shadow wants something.
func (h *Handler) asksFor(something func(*policy.Policy) bool) bool {
	return something(h.policy) || h.shadow != nil && something(h.shadow)
}

// concurrency is how many requests are worked on at once: by default enough to
// have all connections to the CAs in use while others are read and answered.
func (h *Handler) concurrency(limits Limits) int {
	if limits.Concurrency > 0 {
		return limits.Concurrency
	}
	all := 0
	for _, known := range h.upstreams {
		if u, ok := known.upstream.(interface{ Connections() int }); ok {
			all += u.Connections()
		}
	}
	return max(est.DefaultConcurrency, 2*all)
}

// nodeName is this server's name in audit records.
func nodeName() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the node's name for the audit record: %w", err)
	}
	return name, nil
}

// ledgerNode names this server among those that share a store, of which several may
// run on one host: by the id that Caddy keeps in its data directory.
func ledgerNode(name string) string {
	id, err := caddy.InstanceID()
	if err != nil {
		return name
	}
	return name + "/" + id.String()[:8]
}
