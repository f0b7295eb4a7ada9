// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/audit/chain"
)

// An AuditConfig is the option `audit`: how records of enrolling operations are
// kept in a chain, beside the log.
type AuditConfig struct {
	// "require", the default where there is no such option: while no record can be
	// kept, nothing is issued. "best_effort": it is issued, and logged that the
	// record isn't kept. "off": there is no chain.
	Mode string `json:"mode"`
	// The folder of the chain's files. Default: est/audit in Caddy's data
	// directory. No other process may write there.
	Folder string `json:"folder,omitempty"`
	// The file of the Ed25519 key that signs checkpoints, PKCS #8 in PEM. Default:
	// checkpoint.key in the folder, which is made.
	CheckpointKey string `json:"checkpoint_key,omitempty"`
	// A checkpoint comes after so many records. Default: 1000.
	CheckpointRecords int `json:"checkpoint_records,omitempty"`
	// It comes so long after a record. Default: 1m.
	CheckpointInterval caddy.Duration `json:"checkpoint_interval,omitempty"`
	// When a new file begins, in bytes. Default: 64 MiB.
	FileSize int64 `json:"file_size,omitempty"`
	// How long a file is kept after its last record. Default: for ever.
	Keep caddy.Duration `json:"keep,omitempty"`
}

// The modes.
const (
	auditRequired   = "require"
	auditBestEffort = "best_effort"
	auditOff        = off
)

// Check says why the option can't be meant, or nil.
func (c *AuditConfig) Check() error {
	switch {
	case c.Mode != auditRequired && c.Mode != auditBestEffort && c.Mode != auditOff:
		return fmt.Errorf("audit %q: want `audit require`, `audit best_effort` or `audit off`", c.Mode)
	case c.Mode == auditOff && *c != (AuditConfig{Mode: auditOff}):
		return errors.New("audit off: there is no chain, so leave out how it is kept")
	case c.CheckpointRecords < 0 || c.CheckpointInterval < 0 || c.FileSize < 0 || c.Keep < 0:
		return errors.New("audit: no bound is below zero")
	default:
		return nil
	}
}

// DefaultAudit is the folder of the audit chain where none is written: in
// Caddy's data directory.
func DefaultAudit() string { return filepath.Join(caddy.AppDataDir(), "est", "audit") }

var auditFailing = prometheus.NewGauge(prometheus.GaugeOpts{
	Namespace: "caddy", Subsystem: "est", Name: "audit_failing",
	Help: "1 while the audit chain can't be written.",
})

var auditLost = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "est", Name: "audit_unwritten_total",
	Help: "Audit records that could not be written.",
})

// chains are the open audit chains by their folders: a configuration shares
// its own with the one before it.
var chains = caddy.NewUsagePool()

// A pooledChain ends with its last configuration.
type pooledChain struct{ *chain.Journal }

// Destruct implements caddy.Destructor.
func (p pooledChain) Destruct() error { return p.Close() }

// A lateChain is the audit chain of a configuration, which opens when the app
// starts: sites may serve before. Requests wait for it.
type lateChain struct {
	config AuditConfig // without placeholders
	source string
	stated bool // some site has the option
	opened chan struct{}
	chain  *chain.Journal // after opened
	failed error
}

func (l *lateChain) wait(ctx context.Context) (*chain.Journal, error) {
	select {
	case <-l.opened:
		return l.chain, l.failed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *lateChain) ready(ctx context.Context) error {
	journal, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return journal.Ready()
}

// needsChain prepares the audit chain, which a configuration has one of: a site
// without the option shares that of the others.
func (h *Handler) needsChain() error {
	want, stated := AuditConfig{Mode: auditRequired}, h.Audit != nil
	if stated {
		if err := h.Audit.Check(); err != nil {
			return err
		}
		want = *h.Audit
	}
	if want.Mode == auditOff {
		return nil
	}
	var err error
	if want.Folder == "" {
		want.Folder = DefaultAudit()
	}
	if want.Folder, err = expand("audit folder", want.Folder); err != nil {
		return err
	}
	if want.Folder, err = filepath.Abs(want.Folder); err != nil {
		return err
	}
	if want.CheckpointKey, err = expand("audit checkpoint_key", want.CheckpointKey); err != nil {
		return err
	}
	a := h.app
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.chain == nil:
		a.chain = &lateChain{config: want, source: h.Source, stated: stated, opened: make(chan struct{})}
	case stated && !a.chain.stated:
		a.chain.config, a.chain.source, a.chain.stated = want, h.Source, true
	case stated && a.chain.config != want:
		return fmt.Errorf("audit: the site at %s has it otherwise, and a configuration has one audit chain: write it the same", a.chain.source)
	}
	h.chain = a.chain
	return nil
}

// openChain opens the audit chain where a site asks for it.
func (a *App) openChain() (err error) {
	late := a.chain
	if late == nil {
		return nil
	}
	defer close(late.opened)
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: est: audit: %w", late.source, err)
			late.failed = err
		}
	}()
	settings, err := a.chainSettings(late.config)
	if err != nil {
		return err
	}
	shared, old, err := chains.LoadOrNew(late.config.Folder, func() (caddy.Destructor, error) {
		made, err := chain.Open(late.config.Folder, settings)
		return pooledChain{made}, err
	})
	if err != nil {
		return err
	}
	late.chain, a.chainName = shared.(pooledChain).Journal, late.config.Folder
	if old {
		late.chain.Set(settings)
	}
	a.log.Info("audit chain opened", zap.String("folder", late.config.Folder), zap.String("mode", late.config.Mode),
		zap.String("key_sha256", chain.Fingerprint(chain.Public(settings.Key))))
	return nil
}

func (a *App) chainSettings(c AuditConfig) (s chain.Settings, err error) {
	if s.Node, err = nodeName(); err != nil {
		return s, err
	}
	if c.CheckpointKey == "" {
		s.Key, err = chain.KeptKey(filepath.Join(c.Folder, "checkpoint.key"))
	} else {
		s.Key, err = chain.ReadKey(c.CheckpointKey)
	}
	s.Records, s.Interval, s.FileSize, s.Keep = c.CheckpointRecords, time.Duration(c.CheckpointInterval), c.FileSize, time.Duration(c.Keep)
	log := a.log.Named("audit_chain")
	s.Changed = func(failed error) {
		if failed == nil {
			auditFailing.Set(0)
			log.Info("the audit chain is written again")
			return
		}
		auditFailing.Set(1)
		what := "the audit chain can't be written, and without it nothing is issued"
		if c.Mode == auditBestEffort {
			what = "the audit chain can't be written, and certificates are issued all the same"
		}
		log.Error(what, zap.Error(failed))
	}
	s.Signed = func(head chain.Head) { log.Info("audit chain signed", zap.String("head", head.String())) }
	s.Pruned = func(files int, err error) {
		log.Info("old files of the audit chain removed", zap.Int("files", files), zap.Error(err))
	}
	return s, err
}

// auditSink writes records through the logger http.handlers.est.audit.
type auditSink struct{ log *zap.Logger }

// Write logs one record. A logger can't say that it failed: docs/audit.md.
func (s auditSink) Write(_ context.Context, r *audit.Record) error {
	s.log.Info("request", zap.Reflect("record", r))
	return nil
}

// mostFlushed bounds the wait for a disk that hangs.
const mostFlushed = 10 * time.Second

// A chainSink keeps records of enrolling operations in the chain as well.
type chainSink struct {
	auditSink
	chain *lateChain
}

// Write implements audit.Sink. The record is encoded once for both.
func (s chainSink) Write(ctx context.Context, r *audit.Record) error {
	if !r.Enrolls() {
		return s.auditSink.Write(ctx, r)
	}
	text, err := r.JSON()
	if err != nil {
		auditLost.Inc()
		return err
	}
	s.log.Info("request", zap.Reflect("record", json.RawMessage(text)))
	ctx, cancel := context.WithTimeout(ctx, mostFlushed)
	defer cancel()
	journal, err := s.chain.wait(ctx)
	if err == nil {
		err = journal.Write(ctx, text)
	}
	if err != nil {
		auditLost.Inc()
	}
	return err
}

// Ready implements audit.Keeper.
func (s chainSink) Ready(ctx context.Context) error { return s.chain.ready(ctx) }

// Required implements audit.Keeper.
func (s chainSink) Required() bool { return s.chain.config.Mode == auditRequired }

// sink is where the site's records go.
func (h *Handler) sink() audit.Sink { return sinkOf(h.auditLog, h.chain) }

// sinkOf is where records go: to a logger, and into the chain where there is one.
func sinkOf(logger *zap.Logger, late *lateChain) audit.Sink {
	log := auditSink{logger}
	if late == nil {
		return log
	}
	return chainSink{log, late}
}

var _ audit.Keeper = chainSink{}
