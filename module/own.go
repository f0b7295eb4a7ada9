// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
)

// renewalShare is the share of an own certificate's life that is left when it
// is renewed.
const renewalShare = certmagic.DefaultRenewalWindowRatio

// Times of an own certificate.
const (
	firstRetry   = 2 * time.Second // doubled up to
	lastRetry    = 5 * time.Minute
	recheckEvery = 30 * time.Second // whether the certificate is still the right one
	firstWait    = 5 * time.Second  // of a handshake, for the first attempt to get one
)

// An ownCertificate is this server's own certificate for one name of a site:
// issued by an upstream under the built-in profile, and renewed. It is safe for
// concurrent use.
type ownCertificate struct {
	name     string
	config   CertificateConfig
	upstream *authority
	handler  *Handler // the first site that wants it: its log, its place

	keeper keeper

	tried chan struct{} // closed after the first attempt, good or bad
	mu    sync.Mutex
	held  *tls.Certificate
	// failure is why the last attempt got none.
	failure error

	second   bool                       // for those who name its CA alone
	asSecond atomic.Pointer[secondPair] // what was served so last
}

// A keeper holds the key of an own certificate, and has it certified.
type keeper interface {
	// current gives the certificate, which it obtains or renews where that is
	// due, or with force. The error leaves what was held as it is; the
	// certificate beside an error is an earlier one that still serves.
	current(ctx context.Context, force bool) (*tls.Certificate, error)
	close()
}

// ownCertificates are those of one configuration, by name.
type ownCertificates struct {
	mu     sync.Mutex
	byName map[string]*ownCertificate
}

func (o *ownCertificates) all() []*ownCertificate {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*ownCertificate, 0, len(o.byName))
	for _, own := range o.byName {
		all = append(all, own)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all
}

// want makes the certificate for a name one that this configuration keeps.
// Sites that say the same of a name share it.
func (o *ownCertificates) want(name string, h *Handler, upstream *authority) error {
	config, _ := h.ownConfig()
	o.mu.Lock()
	defer o.mu.Unlock()
	if known, ok := o.byName[name]; ok {
		known.second = known.second && h.Certificate == nil
		if known.config != *config {
			return fmt.Errorf("%s says of %s something else: two sites of one name have one certificate", known.handler.Source, name)
		}
		return nil
	}
	if o.byName == nil {
		o.byName = make(map[string]*ownCertificate)
	}
	o.byName[name] = &ownCertificate{
		name: name, config: *config, upstream: upstream, handler: h, tried: make(chan struct{}), second: h.Certificate == nil,
	}
	return nil
}

// named finds the certificate that serves a name: its own, or that of a
// wildcard above it.
func (o *ownCertificates) named(name string) *ownCertificate {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	o.mu.Lock()
	defer o.mu.Unlock()
	if own, ok := o.byName[name]; ok {
		return own
	}
	if _, above, ok := strings.Cut(name, "."); ok {
		return o.byName["*."+above]
	}
	return nil
}

var errNoOwn = errors.New("no est takes its certificate from an upstream for this name")

// OwnCertificate gives the certificate with id-kp-cmcRA that an upstream has
// issued to this server for a name of its site. While the first attempt to get
// it is under way it waits, for five seconds at most.
func (a *App) OwnCertificate(ctx context.Context, name string) (*tls.Certificate, error) {
	own := a.own.named(name)
	if own == nil {
		return nil, errNoOwn
	}
	return own.certificate(ctx)
}

func (o *ownCertificate) certificate(ctx context.Context) (*tls.Certificate, error) {
	if held, _ := o.state(); held != nil {
		return held, nil
	}
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	select {
	case <-o.tried:
	case <-timer.C:
	case <-ctx.Done():
	}
	held, failure := o.state()
	switch {
	case held != nil:
		return held, nil
	case failure != nil:
		return nil, fmt.Errorf("there is no certificate of %s for %s yet: %w", o.upstream.ca.Name, o.name, failure)
	}
	return nil, fmt.Errorf("there is no certificate of %s for %s yet: it is being obtained", o.upstream.ca.Name, o.name)
}

func (o *ownCertificate) state() (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held, o.failure
}

// keep obtains the certificate and keeps it fresh, until ctx ends.
func (o *ownCertificate) keep(ctx context.Context, log *zap.Logger) {
	defer o.keeper.close()
	var first sync.Once
	for failures := 0; ; {
		err := o.look(ctx, log)
		first.Do(func() { close(o.tried) })
		if ctx.Err() != nil {
			return
		}
		wait := o.untilNext()
		if err != nil {
			wait = backoff(failures)
			failures++
			o.complain(log, err, wait)
		} else {
			failures = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// look asks the keeper once, and takes what it gives.
func (o *ownCertificate) look(ctx context.Context, log *zap.Logger) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
		o.mu.Lock()
		o.failure = err
		o.mu.Unlock()
	}()
	cert, err := o.keeper.current(ctx, false)
	if err == nil && o.stranger(ctx, cert) {
		log.Warn("our own certificate isn't of the CA that the upstream is now, and is replaced", o.fields(cert)...)
		cert, err = o.keeper.current(ctx, true)
		if err == nil && o.stranger(ctx, cert) {
			return errors.New("the certificate in the storage isn't of this CA, and could not be replaced")
		}
	}
	if cert != nil {
		o.take(cert, log)
	}
	return err
}

// stranger says that another CA has issued a certificate than the one that
// answers now, under the same address. A CA that can't be asked settles
// nothing.
func (o *ownCertificate) stranger(ctx context.Context, cert *tls.Certificate) bool {
	issued, err := o.upstream.ca.Issued(ctx, cert.Leaf)
	return err == nil && !issued
}

func (o *ownCertificate) take(cert *tls.Certificate, log *zap.Logger) {
	o.mu.Lock()
	same := o.held != nil && slices.EqualFunc(o.held.Certificate, cert.Certificate, slices.Equal)
	before := o.held
	if !same {
		o.held = cert
	}
	o.mu.Unlock()
	if same {
		return
	}
	what := "our own certificate is served"
	if before != nil {
		what = "our own certificate is replaced by a new one"
	}
	log.Info(what, o.fields(cert)...)
	o.handler.app.observeExpiry(time.Now())
}

func (o *ownCertificate) fields(cert *tls.Certificate) []zap.Field {
	return []zap.Field{
		zap.String("name", o.name), zap.String("upstream", o.upstream.ca.Name),
		zap.String("serial", fmt.Sprintf("%x", cert.Leaf.SerialNumber.Bytes())), zap.Time("not_after", cert.Leaf.NotAfter),
	}
}

// complain says why there is no certificate, or no new one.
func (o *ownCertificate) complain(log *zap.Logger, err error, wait time.Duration) {
	held, _ := o.state()
	fields := []zap.Field{
		zap.String("name", o.name), zap.String("upstream", o.upstream.ca.Name),
		zap.Duration("again_in", wait.Round(time.Second)), zap.Error(err),
	}
	if held != nil && time.Now().Before(held.Leaf.NotAfter) {
		log.Warn("our own certificate can't be renewed; the one that is there goes on", append(fields, zap.Time("not_after", held.Leaf.NotAfter))...)
		return
	}
	what := "our own certificate can't be obtained: the site can't be reached by TLS"
	if o.second {
		what = "the second certificate can't be obtained: clients who name its CA get the other one"
	}
	log.Error(what, fields...)
}

// untilNext is short for certificates that live shortly.
func (o *ownCertificate) untilNext() time.Duration {
	held, _ := o.state()
	if held == nil {
		return firstRetry
	}
	return min(recheckEvery, max(time.Second, lifetime(held.Leaf)/20))
}

func backoff(failures int) time.Duration {
	wait := min(firstRetry<<min(failures, 10), lastRetry)
	return wait + rand.N(wait/4) //nolint:gosec // so that servers don't come all at once
}

func lifetime(c *x509.Certificate) time.Duration { return c.NotAfter.Sub(c.NotBefore) }

// due says that a certificate is to be renewed.
func due(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < time.Duration(float64(lifetime(c))*renewalShare)
}

// startOwn begins to keep the certificates.
func (a *App) startOwn(ctx context.Context) {
	log := a.log.Named("certificate")
	for _, own := range a.own.all() {
		own.keeper = a.newKeeper(own)
		a.done.Go(func() { own.keep(ctx, log) })
	}
}

func (a *App) newKeeper(own *ownCertificate) keeper {
	if own.config.Key != "" {
		return &kmsKeeper{own: own, app: a, uri: own.config.Key}
	}
	return newStorageKeeper(own, a)
}

// ownFor gives the certificate that an upstream shows to its CA: one of this
// upstream's own, by preference.
func (a *App) ownFor(upstream string) (*tls.Certificate, error) {
	var chosen *ownCertificate
	for _, own := range a.own.all() {
		if chosen == nil || own.upstream.ca.Name == upstream && chosen.upstream.ca.Name != upstream {
			chosen = own
		}
	}
	if chosen == nil {
		return nil, errNoOwn
	}
	held, failure := chosen.state()
	switch {
	case held == nil && failure == nil:
		return nil, fmt.Errorf("the certificate for %s is being obtained", chosen.name)
	case held == nil:
		return nil, fmt.Errorf("there is none for %s yet: %w", chosen.name, failure)
	case !policy.CarriesCMCRA(held.Leaf):
		return nil, fmt.Errorf("the certificate for %s isn't for id-kp-cmcRA", chosen.name)
	}
	return held, nil
}

// expiries are the ends of the own certificates.
func (o *ownCertificates) expiries() map[string]time.Time {
	ends := make(map[string]time.Time)
	for _, own := range o.all() {
		if held, _ := own.state(); held != nil {
			ends[own.name] = held.Leaf.NotAfter
		}
	}
	return ends
}

// defaultValidity of an own certificate. A CA that was set up for a policy
// issues for as long as the policy's certificates live, and not always longer.
const defaultValidity = 90 * 24 * time.Hour

// validity is how long an own certificate lives.
func (o *ownCertificate) validity() time.Duration { return o.handler.ownValidity() }

func (h *Handler) ownValidity() time.Duration {
	if config, _ := h.ownConfig(); config.Validity > 0 {
		return time.Duration(config.Validity)
	}
	return min(defaultValidity, h.policy.MaxValidity())
}

// A CertificateConfig says where the site's own certificate comes from.
type CertificateConfig struct {
	// The name of the upstream that issues it: for serverAuth, clientAuth and
	// id-kp-cmcRA, by the built-in profile estra-self.
	From string `json:"from"`
	// Where its key is: a URI of go.step.sm/crypto/kms, such as
	// pkcs11:token=ra;object=est?pin-source=/etc/caddy/est/pin. Placeholders
	// such as {env.X} are replaced. Default: keys are made anew for each
	// certificate, and kept in Caddy's storage.
	Key string `json:"key,omitempty"`
	// How long it lives; it is renewed when a third is left. Default: 90 days,
	// or the policy's longest validity where that is shorter.
	Validity caddy.Duration `json:"validity,omitempty"`
}
