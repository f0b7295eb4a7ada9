// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/certless"
)

var srpTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "est", Name: "srp_handshakes_total",
	Help: "TLS connections that offered SRP, by realm and outcome.",
}, []string{"realm", "outcome"})

// mostPending bounds the option: each takes some 30 KiB.
const mostPending = 1 << 16

// leastPending: below it one device after the other would wait.
const leastPending = 4

// observe counts, logs and records what became of a handshake. The client has its
// alert by then.
func (l *SRPListener) observe(rep certless.Report) {
	srpTotal.WithLabelValues(l.Realm, string(rep.Outcome)).Inc()
	fields := []zap.Field{
		zap.String("realm", rep.Realm), zap.String("outcome", string(rep.Outcome)), zap.String("remote", rep.Remote.String()), zap.Duration("took", rep.Took),
	}
	if rep.User != "" {
		fields = append(fields, zap.String("user", rep.User))
	}
	switch rep.Outcome {
	case certless.Accepted:
		l.log.Debug("TLS handshake with SRP", fields...)
		return
	case certless.Gone:
		l.log.Debug("TLS handshake with SRP wasn't brought to its end", append(fields, zap.String("reason", rep.Reason))...)
		return
	case certless.Failed:
		l.log.Error("TLS handshake with SRP failed", append(fields, zap.String("reason", rep.Reason))...)
	default:
		l.log.Info("TLS handshake with SRP refused", append(fields, zap.String("reason", rep.Reason))...)
	}
	// A sink takes what time it wants: nobody waits for it but this connection,
	// which keeps its place among those that are pending.
	if err := sinkOf(l.auditLog, l.app.auditChain()).Write(context.Background(), l.record(rep)); err != nil {
		l.log.Error("the record of a refused TLS handshake isn't kept", zap.Error(err))
	}
}

// refusalKinds are what a refused handshake is called in records.
var refusalKinds = map[certless.Outcome]ra.Kind{
	certless.Wrong: ra.Unauthenticated, certless.Unknown: ra.Unauthenticated, certless.Throttled: ra.Throttled,
	certless.Unfit: ra.Malformed, certless.Broken: ra.Malformed, certless.Failed: ra.Fault,
}

// record is that of a refusal. Who only says that he is somebody isn't in `who`.
func (l *SRPListener) record(rep certless.Report) *audit.Record {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	r := audit.New(hex.EncodeToString(id[:]), audit.OpHandshake, rep.At)
	r.Node, r.Remote, r.MS = audit.Text(l.node), rep.Remote, rep.Took.Milliseconds()
	r.Outcome, r.Kind = audit.Text(ra.StatusRefused), audit.Text(refusalKinds[rep.Outcome].String())
	if rep.Outcome == certless.Failed {
		r.Outcome = audit.Text(ra.StatusFailed)
	}
	r.Reason = audit.Text("SRP, realm " + rep.Realm + ": " + rep.Reason)
	if rep.User != "" {
		r.Reason = audit.Text(fmt.Sprintf("SRP, user %s of realm %s: %s", rep.User, rep.Realm, rep.Reason))
	}
	return r
}

// moments bound how often something is said.
type moments struct{ last atomic.Int64 }

// passed says that it is so long ago, and that it is said now.
func (m *moments) passed(since time.Duration) bool {
	now, last := time.Now().UnixNano(), m.last.Load()
	return now-last >= int64(since) && m.last.CompareAndSwap(last, now)
}

// sayCrowded tells of connections that aren't looked at, every ten seconds at most.
func (l *SRPListener) sayCrowded() {
	srpTotal.WithLabelValues(l.Realm, "crowded").Inc()
	if l.crowded.passed(10 * time.Second) {
		l.log.Warn("more connections begin at once than are looked at for SRP (est_srp, pending), or too many of one address: clients with SRP among them are refused",
			zap.Int("pending", l.Pending))
	}
}

// auditChain is the chain that a site of this configuration asks for; nil: none.
func (a *App) auditChain() *lateChain {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.chain
}
