// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/policy"
)

// environment is what the configuration offers to the policy. upstreams are
// what the CAs can express; asksCRL tells whether the CRL of one is asked.
func (h *Handler) environment(upstreams map[string]policy.Capabilities, asksCRL func(upstream string) bool) (policy.Environment, error) {
	env := policy.Environment{Upstreams: upstreams, Webhook: h.Webhook != nil, Store: true /* where a policy wants one, there is one */, Issuing: make(map[string]string)}
	for _, a := range h.anchorConfigs() {
		env.Anchors = append(env.Anchors, a.Name)
		if a.AnyEKU {
			env.AnyEKU = append(env.AnyEKU, a.Name)
		}
		if a.Upstream != "" {
			env.Issuing[a.Name] = a.Upstream
		}
		if a.RAIssuer {
			env.RAIssuers = append(env.RAIssuers, a.Name)
		}
		if !a.asks() && (a.Upstream == "" || !asksCRL(a.Upstream)) {
			env.Unrevoked = append(env.Unrevoked, a.Name)
		}
	}
	for _, a := range h.Basic {
		env.Users = append(env.Users, a.Username)
	}
	for _, b := range h.Bearers {
		env.Bearers = append(env.Bearers, b.Name)
	}
	for _, p := range h.Providers {
		env.Providers = append(env.Providers, p.Name)
	}
	env.Registries = h.registryNames()
	if h.Digest == nil {
		return env, nil
	}
	var err error
	if env.Digest, err = h.Digest.users(); err != nil {
		return env, fmt.Errorf("digest: %w", err)
	}
	return env, nil
}

// Environments gives what a configuration offers to a policy file, once for
// each `est` that uses it. Nothing is set up, so what only a CA or a key file
// could tell isn't known: of the upstreams, that they can express everything.
func Environments(config []byte, policyFile string) ([]policy.Environment, error) {
	var tree any
	if err := json.Unmarshal(config, &tree); err != nil {
		return nil, fmt.Errorf("the configuration: %w", err)
	}
	wanted, err := filepath.Abs(policyFile)
	if err != nil {
		return nil, err
	}
	var found []policy.Environment
	for _, raw := range handlersIn(tree) {
		var h Handler
		if err := json.Unmarshal(raw, &h); err != nil {
			return nil, fmt.Errorf("the configuration of est: %w", err)
		}
		name, err := expand("policy", h.Policy)
		if err != nil {
			return nil, err
		}
		if name, err = filepath.Abs(name); err != nil {
			return nil, err
		}
		if name != wanted {
			continue
		}
		env, err := h.written()
		if err != nil {
			return nil, err
		}
		found = append(found, env)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no est of the configuration has `policy %s`", policyFile)
	}
	return found, nil
}

// handlersIn finds the configurations of our handler, wherever they stand.
func handlersIn(tree any) []json.RawMessage {
	var found []json.RawMessage
	switch tree := tree.(type) {
	case []any:
		for _, child := range tree {
			found = append(found, handlersIn(child)...)
		}
	case map[string]any:
		if tree["handler"] == "est" {
			if raw, err := json.Marshal(tree); err == nil {
				return append(found, raw)
			}
		}
		for _, child := range tree {
			found = append(found, handlersIn(child)...)
		}
	}
	return found
}

// writtenCapabilities are those of an upstream whose configuration says what it
// carries, before any of it was read.
type writtenCapabilities interface{ CarriesAsWritten() policy.Capabilities }

// written is the environment as far as the configuration itself has it.
func (h *Handler) written() (policy.Environment, error) {
	h.defaultUpstream()
	if h.Digest != nil {
		file, err := expand("digest", h.Digest.File)
		if err != nil {
			return policy.Environment{}, err
		}
		h.Digest.File = file
	}
	everything := policy.Capabilities{Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true, Extensions: true, Serial: true}
	upstreams, asks := make(map[string]policy.Capabilities), make(map[string]bool)
	for _, u := range h.Upstreams {
		upstreams[u.Name] = everything
		var kind struct {
			Module string `json:"module"`
		}
		if err := json.Unmarshal(u.UpstreamRaw, &kind); err != nil {
			return policy.Environment{}, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		info, err := caddy.GetModule("est.upstreams." + kind.Module)
		if err != nil {
			return policy.Environment{}, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		mod := info.New()
		if err := json.Unmarshal(u.UpstreamRaw, mod); err != nil {
			return policy.Environment{}, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		if up, ok := mod.(Upstream); ok {
			asks[u.Name] = up.CRLEnabled() // by the configuration alone
		}
		if written, ok := mod.(writtenCapabilities); ok {
			upstreams[u.Name] = written.CarriesAsWritten()
		}
	}
	return h.environment(upstreams, func(name string) bool { return asks[name] })
}
