// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/est"
)

// The metrics that go on over a reload. Labels come from the configuration alone: a client can't make
// new ones.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "est", Name: "requests_total",
		Help: "EST requests by operation, label, HTTP status and kind of outcome.",
	}, []string{"op", "label", "status", "kind"})
	armouredTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "est", Name: "pem_armoured_requests_total",
		Help: "Requests whose body came in PEM armour, which RFC 8951 doesn't allow.",
	})
	shadowTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "est", Name: "shadow_differences_total",
		Help: "Requests that the shadow policy decides otherwise, by the profile of the policy in force.",
	}, []string{"profile"})
	unansweredTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "est", Name: "revocation_unknown_total",
		Help: "Enrolment requests whose client certificate counted although nobody could say whether it is revoked, by anchor.",
	}, []string{"anchor"})
	upstreamSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "est", Name: "upstream_seconds",
		Help:    "How long the CA took to answer.",
		Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 15},
	}, []string{"upstream", "result"})
)

// These are made anew for each configuration.

func newExpirySeconds() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "est", Name: "expiry_seconds",
		Help: "Time left of each certificate and CRL that enrolment depends on.",
	}, []string{"what"})
}

func newPolicyInfo() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "est", Name: "policy_info",
		Help: "The policies in force, by the SHA-256 of their file.",
	}, []string{"sha256"})
}

// registerMetrics puts the collectors into the registry of a new
// configuration.
func registerMetrics(registry *prometheus.Registry, own ...prometheus.Collector) error {
	for _, c := range append([]prometheus.Collector{requestsTotal, armouredTotal, shadowTotal, unansweredTotal, upstreamSeconds, auditFailing, auditLost, srpTotal}, own...) {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// observeExpiry measures what every CA and every anchor depends on. Where
// sites have anchors of one name, the earliest end counts.
func (a *App) observeExpiry(now time.Time) {
	first := make(map[string]time.Time)
	add := func(prefix string, ends map[string]time.Time) {
		for what, end := range ends {
			if known, ok := first[prefix+what]; !ok || end.Before(known) {
				first[prefix+what] = end
			}
		}
	}
	for _, known := range a.authorities() {
		add(known.ca.Name+"/", known.upstream.Expiries())
		add(known.ca.Name+"/", known.ca.Expiries())
	}
	add("certificate/", a.own.expiries())
	for _, h := range a.handlers {
		for _, f := range h.files {
			add("", f.expiries())
		}
		if h.SecondCertificate.inFiles() {
			add("", map[string]time.Time{"second_certificate": h.SecondCertificate.now.Load().served.Leaf.NotAfter})
		}
	}
	for what, end := range first {
		a.expiry.WithLabelValues(what).Set(end.Sub(now).Seconds())
	}
}

// observe is told of every request after its answer.
func (h *Handler) observe(ctx context.Context, rep est.Report) {
	requestsTotal.WithLabelValues(string(rep.Op), rep.Label, strconv.Itoa(rep.Status), rep.Kind).Inc()
	if rep.PEMArmoured {
		armouredTotal.Inc()
	}
	for _, name := range rep.RevocationUnknown {
		unansweredTotal.WithLabelValues(name).Inc()
	}
	if rep.ShadowDiffers {
		shadowTotal.WithLabelValues(rep.Profile).Inc()
	}
	if rep.Outcome.Serial != nil {
		upstreamSeconds.WithLabelValues(rep.Upstream, string(rep.Outcome.Status)).Observe(rep.UpstreamTook.Seconds())
	}
	if err := rep.Outcome.Unsettled; err != nil {
		h.log.Error("the store could not be told what became of a request", zap.String("request_id", rep.RequestID), zap.Error(err))
	}
	if rep.Audit != nil {
		fields := []zap.Field{zap.String("request_id", rep.RequestID), zap.Error(rep.Audit)}
		if c := rep.Outcome.Certificate; c != nil {
			fields = append(fields, zap.String("upstream", rep.Upstream), zap.String("issued_serial", audit.Serial(c.SerialNumber)))
		}
		h.log.Error("the audit record could not be written", fields...)
	}
	setPlaceholders(ctx, rep)
	h.announce(rep)
}

// setPlaceholders fills {http.est.*}, for access logs.
func setPlaceholders(ctx context.Context, rep est.Report) {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set("http.est.op", string(rep.Op))
	repl.Set("http.est.label", rep.Label)
	repl.Set("http.est.profile", rep.Profile)
	repl.Set("http.est.identity", rep.Identity)
	repl.Set("http.est.verdict", rep.Verdict)
	repl.Set("http.est.request_id", rep.RequestID)
}

// announce emits the event of an enrolment and logs what an operator must
// act on.
func (h *Handler) announce(rep est.Report) {
	data := map[string]any{
		"op": string(rep.Op), "label": rep.Label, "profile": rep.Profile,
		"identity": rep.Identity, "request_id": rep.RequestID, "upstream": rep.Upstream,
	}
	if rep.Err == nil {
		if c := rep.Outcome.Certificate; c != nil {
			data["serial"], data["replays"] = audit.Serial(c.SerialNumber), rep.Outcome.Replays
			h.app.emit("est_issued", data)
		}
		return
	}
	data["kind"] = rep.Kind
	if rep.Err.Kind == ra.Pending {
		h.announcePending(rep, data)
		return
	}
	switch rep.Err.Kind {
	case ra.Nonconforming:
		h.alarm(rep)
		h.app.emit("est_nonconforming", data)
	case ra.UpstreamDown, ra.UpstreamRefused, ra.UpstreamTimeout:
		h.alarm(rep)
		h.app.emit("est_upstream_failed", data)
	case ra.Fault:
		h.alarm(rep)
		h.app.emit("est_refused", data)
	default:
		h.app.emit("est_refused", data)
	}
}

func (h *Handler) alarm(rep est.Report) {
	what := "the CA could not be used"
	if rep.Outcome.Serial != nil { // it was asked
		what = "the CA did not issue as decided"
	}
	h.log.Error(what, zap.String("kind", rep.Kind),
		zap.String("upstream", rep.Upstream), zap.String("request_id", rep.RequestID),
		zap.String("reason", audit.Text(rep.Err.Error()).String())) // it may repeat the client's words
}
