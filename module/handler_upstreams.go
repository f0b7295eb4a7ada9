// SPDX-License-Identifier: Apache-2.0

package module

import "fmt"

func (h *Handler) defaultUpstream() {
	if len(h.Upstreams) == 0 {
		h.Upstreams = []NamedUpstream{{Name: "internal", UpstreamRaw: []byte(`{"module":"internal"}`)}}
	}
}

func (h *Handler) loadUpstreams() error {
	h.defaultUpstream()
	extra, err := loadCertificates(h.CACertsExtra)
	if err != nil {
		return fmt.Errorf("cacerts_extra: %w", err)
	}
	foreign, err := loadForeign(h.CACertsTLS)
	if err != nil {
		return fmt.Errorf("cacerts_tls: %w", err)
	}
	h.upstreams = make(map[string]*authority, len(h.Upstreams))
	for i := range h.Upstreams {
		u := &h.Upstreams[i]
		if _, twice := h.upstreams[u.Name]; twice {
			return fmt.Errorf("upstream %s: the name is used twice", u.Name)
		}
		raw := append([]byte(nil), u.UpstreamRaw...)
		mod, err := h.ctx.LoadModule(u, "UpstreamRaw")
		if err != nil {
			return fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		up, ok := mod.(Upstream)
		if !ok {
			return fmt.Errorf("upstream %s: the module isn't an upstream: %T", u.Name, mod)
		}
		known, err := h.app.share(h.ctx, u.Name, raw, up)
		if err != nil {
			return fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		// Sites may share the CA.
		h.published = append(h.published, publishedBy(known.upstream)...)
		known.ca.Extra = withAll(known.ca.Extra, extra)
		known.ca.Foreign = withAll(known.ca.Foreign, foreign)
		h.upstreams[u.Name] = known
	}
	return nil
}

// prepareUpstreams tells every CA what the policy needs of it.
func (h *Handler) prepareUpstreams() error {
	for _, u := range h.Upstreams {
		if err := h.upstreams[u.Name].upstream.Needs(h.policy.MaxValidity()); err != nil {
			return fmt.Errorf("upstream %s: %w", u.Name, err)
		}
	}
	return nil
}
