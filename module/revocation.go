// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra/anchor"
)

// The values of `revocation`.
const (
	requireRevocation = "require"
	preferRevocation  = "prefer"
	noRevocation      = "off"
)

// revokes tells whether something is written about revocation.
func (a AnchorConfig) revokes() bool { return len(a.CRL) > 0 || a.OCSP != "" || a.Revocation != "" }

// asks tells whether somebody is asked about revocation.
func (a AnchorConfig) asks() bool {
	return (len(a.CRL) > 0 || a.OCSP != "") && a.Revocation != noRevocation
}

// loadSources makes what is asked about the certificates of an anchor; nil
// where nobody is. It reads files, and opens no connection.
func loadSources(cfg AnchorConfig, files *anchor.Files) (*anchor.Sources, error) {
	switch cfg.Revocation {
	case "", noRevocation:
	case requireRevocation, preferRevocation:
		if len(cfg.CRL) == 0 && cfg.OCSP == "" {
			return nil, fmt.Errorf("revocation %s: there is nobody to ask; write `crl FILE|URL…` or `ocsp URL`", cfg.Revocation)
		}
	default:
		return nil, fmt.Errorf("revocation %q is none of `require`, `prefer` and `off`", cfg.Revocation)
	}
	sources := &anchor.Sources{Prefer: cfg.Revocation == preferRevocation}
	for _, place := range cfg.CRL {
		list, err := loadList(place, files)
		if err != nil {
			return nil, fmt.Errorf("crl %s: %w", place, err)
		}
		sources.Lists = append(sources.Lists, list)
	}
	if cfg.OCSP != "" {
		if err := checkAddress(cfg.OCSP); err != nil {
			return nil, fmt.Errorf("ocsp %s: %w", cfg.OCSP, err)
		}
		sources.Responder = &anchor.Responder{URL: cfg.OCSP, Client: revocationClient, Now: time.Now}
	}
	if !cfg.asks() {
		return nil, nil
	}
	return sources, nil
}

// loadList reads a CRL file; one at an address is fetched when the app starts.
func loadList(place string, files *anchor.Files) (*anchor.List, error) {
	list := &anchor.List{Name: place, Issuers: func(ctx context.Context) []*x509.Certificate {
		certs, _, err := files.Certificates(ctx)
		if err != nil {
			return nil
		}
		return certs
	}}
	if strings.Contains(place, "://") {
		list.Place = anchor.At(place, revocationClient)
		return list, checkAddress(place)
	}
	list.Place = anchor.OnDisk(place)
	return list, list.Load(context.Background(), time.Now())
}

// checkAddress wants http or https. Answers are signed, so http serves.
func checkAddress(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return errors.New("this is no address such as http://pki.example.net/ca.crl")
	}
	return nil
}

// revocationClient follows no redirect: the address that is written is the one
// that is asked. Who asks bounds each question.
var revocationClient = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	},
}

// A fileAnchor is an anchor of files, with what changes while it serves.
type fileAnchor struct {
	name    string
	files   *anchor.Files
	sources *anchor.Sources // nil: nobody is asked
}

// expiries are the first end of the certificates, and what is held of
// revocation.
func (a fileAnchor) expiries() map[string]time.Time {
	ends := make(map[string]time.Time)
	certs, _, _ := a.files.Certificates(context.Background()) // none while a file is wrong
	for _, c := range certs {
		if end, ok := ends["anchor/"+a.name]; !ok || c.NotAfter.Before(end) {
			ends["anchor/"+a.name] = c.NotAfter
		}
	}
	if a.sources != nil {
		for what, end := range a.sources.Expiries() {
			ends["anchor/"+a.name+"/"+what] = end
		}
	}
	return ends
}

// failures say what of the anchor can't be asked, and whether that shuts
// clients out.
func (a fileAnchor) failures(now time.Time) (all []string, shut bool) {
	if _, _, err := a.files.Certificates(context.Background()); err != nil {
		all, shut = append(all, err.Error()), true
	}
	if a.sources != nil {
		silent := a.sources.Failures(now)
		all, shut = append(all, silent...), shut || len(silent) > 0 && !a.sources.Prefer
	}
	return all, shut
}

// refreshRevocation asks what is due for all anchors at once, and logs what an
// operator has not been told.
func (a *App) refreshRevocation(ctx context.Context, said map[string]string) {
	var asking sync.WaitGroup
	now := time.Now()
	for _, h := range a.handlers {
		for _, f := range h.files {
			if f.sources != nil {
				asking.Go(func() { f.sources.Refresh(ctx, now) })
			}
		}
	}
	asking.Wait()
	if ctx.Err() != nil {
		return
	}
	reasons, _ := a.anchorFailures(time.Now())
	for name, reason := range reasons {
		if said[name] == reason {
			continue
		}
		said[name] = reason
		if reason == "" {
			a.log.Info("the anchor can be asked again", zap.String("anchor", name))
			continue
		}
		a.log.Error("an anchor can't be asked as it should", zap.String("anchor", name), zap.String("reason", reason))
	}
}

// anchorFailures has each anchor of files by name, with an empty text for one
// that can be asked, and whether one shuts its clients out.
func (a *App) anchorFailures(now time.Time) (reasons map[string]string, shut bool) {
	all := make(map[string]map[string]bool)
	for _, h := range a.handlers {
		for _, f := range h.files {
			if all[f.name] == nil {
				all[f.name] = make(map[string]bool)
			}
			failures, closed := f.failures(now)
			shut = shut || closed
			for _, failure := range failures {
				all[f.name][failure] = true
			}
		}
	}
	reasons = make(map[string]string, len(all))
	for name, failures := range all {
		reasons[name] = strings.Join(slices.Sorted(maps.Keys(failures)), "; ")
	}
	return reasons, shut
}
