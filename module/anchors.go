// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/crl"
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
	made := anchor.Anchor{Name: cfg.Name, AnyEKU: cfg.AnyEKU}
	if cfg.Upstream != "" {
		if len(cfg.Files) > 0 || cfg.CRL != "" {
			return made, errors.New("an anchor is either files or an upstream (whose own CRL is asked)")
		}
		known, ok := h.upstreams[cfg.Upstream]
		if !ok {
			return made, fmt.Errorf("no upstream is named %q", cfg.Upstream)
		}
		made.Source = known.ca.Source()
		made.Revoked = func(ctx context.Context, leaf *x509.Certificate, _ time.Time) (bool, error) {
			return known.ca.Revoked(ctx, leaf)
		}
		return made, nil
	}
	certs, err := loadCertificates(cfg.Files)
	if err != nil {
		return made, err
	}
	made.Source = anchor.File(certs)
	dated := datedAnchor{name: cfg.Name, certs: certs}
	if cfg.CRL != "" {
		dated.crl = &crlFile{name: cfg.CRL, issuers: certs}
		if err := dated.crl.read(time.Now()); err != nil {
			return made, err
		}
		made.Revoked = dated.crl.revoked
	}
	h.dated = append(h.dated, dated)
	return made, nil
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

// A datedAnchor is an anchor of files, which end one day.
type datedAnchor struct {
	name  string
	certs []*x509.Certificate
	crl   *crlFile // nil: none
}

// expiries are the first end of the certificates, and that of the CRL.
func (a datedAnchor) expiries(now time.Time) map[string]time.Time {
	ends := make(map[string]time.Time)
	for _, c := range a.certs {
		if end, ok := ends["anchor/"+a.name]; !ok || c.NotAfter.Before(end) {
			ends["anchor/"+a.name] = c.NotAfter
		}
	}
	if a.crl != nil {
		ends["anchor/"+a.name+"/crl"] = a.crl.nextUpdate(now)
	}
	return ends
}

// A crlFile is a CRL that somebody else keeps current.
type crlFile struct {
	name    string
	issuers []*x509.Certificate
	held    crl.Latest

	mu      sync.Mutex
	changed time.Time // the file's modification time when it was read
	asked   time.Time // when the modification time was looked at
	failure error     // of the last look
}

// lookEvery is how long a CRL file, or the failure to read it, is taken as
// known.
const lookEvery = time.Second

// read takes the file in when it has changed. A list that is stale, or older
// than the one held, is an error and changes nothing.
func (f *crlFile) read(now time.Time) error {
	info, err := os.Stat(f.name)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(f.changed) {
		return nil
	}
	src, err := os.ReadFile(f.name)
	if err != nil {
		return err
	}
	der, err := crl.DER(src)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if err := f.held.Replace(der, f.issuers, now); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	f.changed = info.ModTime()
	return nil
}

// look reads the file when it has changed, and not too often.
func (f *crlFile) look(now time.Time) {
	if now.Sub(f.asked) > lookEvery {
		f.asked, f.failure = now, f.read(now)
	}
}

// nextUpdate is the end of the list that is held.
func (f *crlFile) nextUpdate(now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look(now)
	return f.held.NextUpdate()
}

func (f *crlFile) revoked(_ context.Context, leaf *x509.Certificate, now time.Time) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look(now)
	if f.failure != nil {
		return false, f.failure
	}
	return f.held.Revoked(leaf, now)
}
