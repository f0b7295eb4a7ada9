// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/anchor"
)

// ours is the anchor that is there without being written: the issuing keys
// of the only upstream.
const ours = "ours"

// anchorConfigs are the written anchors, and `ours`.
func (h *Handler) anchorConfigs() []AnchorConfig {
	all := h.Anchors
	for _, a := range all {
		if a.Name == ours {
			return all
		}
	}
	return append(all[:len(all):len(all)], AnchorConfig{Name: ours, Upstream: h.Upstreams[0].Name})
}

func (h *Handler) loadAnchor(cfg AnchorConfig) (anchor.Anchor, error) {
	// The issuing keys of an upstream make RAs for its own profiles, and Bind
	// sees to it that they do for no others.
	made := anchor.Anchor{Name: cfg.Name, AnyEKU: cfg.AnyEKU, RAIssuer: cfg.RAIssuer || cfg.Upstream != ""}
	if cfg.Upstream != "" {
		if len(cfg.Files) > 0 || cfg.revokes() {
			return made, errors.New("an anchor is either files or an upstream (whose own CRL is asked)")
		}
		known, ok := h.upstreams[cfg.Upstream]
		if !ok {
			return made, fmt.Errorf("no upstream is named %q", cfg.Upstream)
		}
		made.Source, made.Revocation = known.ca.Source(), caRevocation{known.ca}
		return made, nil
	}
	files, err := anchor.NewFiles(cfg.Files)
	if err != nil {
		return made, err
	}
	sources, err := loadSources(cfg, files)
	if err != nil {
		return made, err
	}
	made.Source = files
	if cfg.RAIssuer {
		made.Source = anchor.Issuers(files)
	}
	if sources != nil {
		made.Revocation = sources
	}
	h.files = append(h.files, fileAnchor{name: cfg.Name, files: files, sources: sources})
	return made, nil
}

// caRevocation asks a CA's own list about certificates that it issued. Above
// them stand anchors alone.
type caRevocation struct{ ca *ra.CA }

func (r caRevocation) Revoked(ctx context.Context, chain []*x509.Certificate, _ time.Time) (*x509.Certificate, error) {
	revoked, err := r.ca.Revoked(ctx, chain[0])
	if err != nil || !revoked {
		return nil, err
	}
	return chain[0], nil
}

// loadCertificates reads PEM files. A file that is missing, empty or holds
// anything else is an error: it never means "no anchors".
func loadCertificates(names []string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		certs, err := anchor.ParsePEM(name, src)
		if err != nil {
			return nil, err
		}
		all = append(all, certs...)
	}
	return all, nil
}

// loadForeign reads CA certificates that nothing but the configuration vouches
// for.
func loadForeign(names []string) ([]*x509.Certificate, error) {
	certs, err := loadCertificates(names)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, fmt.Errorf("the certificate %q isn't that of a CA", c.Subject)
		}
	}
	return certs, nil
}

// withAll adds the certificates that a list lacks.
func withAll(list, more []*x509.Certificate) []*x509.Certificate {
	for _, c := range more {
		if !slices.ContainsFunc(list, c.Equal) {
			list = append(list, c)
		}
	}
	return list
}
