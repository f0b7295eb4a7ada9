// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
)

// issue has one request for the own certificate certified, and records it. The
// certificates are its own and those up to the root, which clients have.
func (o *ownCertificate) issue(ctx context.Context, der []byte) ([]*x509.Certificate, error) {
	begin := time.Now()
	h := o.handler
	req := ra.SelfRequest{ID: ra.NewID(begin), Name: o.name, Validity: o.validity(), Now: begin}
	request, err := csr.Parse(der)
	if err != nil {
		return nil, err
	}
	req.CSR = request
	keeper, must := audit.Required(h.server.Sink)
	if must {
		if err := keeper.Ready(ctx); err != nil {
			return nil, err
		}
	}
	out, err := h.server.Authority.EnrollSelf(ctx, o.upstream.ca, req)
	var fail *ra.Error
	errors.As(err, &fail)
	if kept := h.server.Sink.Write(context.WithoutCancel(ctx), builtInRecord(h.server.Node, audit.OpSelf, req.ID, req.CSR, out, fail, begin)); kept != nil {
		h.log.Error("the audit record could not be written", zap.String("request_id", req.ID), zap.Error(kept))
		if must {
			return nil, kept
		}
	}
	o.announce(req, out, fail)
	if err != nil {
		return nil, err
	}
	path, err := o.upstream.ca.Path(ctx, out.Certificate)
	if err != nil {
		return nil, err
	}
	return append([]*x509.Certificate{out.Certificate}, path...), nil
}

// announce emits the event, and measures the CA.
func (o *ownCertificate) announce(req ra.SelfRequest, out ra.Outcome, fail *ra.Error) {
	if out.Serial != nil {
		upstreamSeconds.WithLabelValues(out.Upstream, string(out.Status)).Observe(out.Took.Seconds())
	}
	data := map[string]any{"op": string(audit.OpSelf), "profile": out.Profile, "identity": "", "label": "", "request_id": req.ID, "upstream": out.Upstream}
	app := o.handler.app
	if fail == nil {
		data["serial"], data["replays"] = audit.Serial(out.Certificate.SerialNumber), ""
		app.emit("est_issued", data)
		return
	}
	data["kind"] = fail.Kind.String()
	event := "est_upstream_failed"
	if fail.Kind == ra.Nonconforming {
		event = "est_nonconforming"
	}
	app.emit(event, data)
}

// builtInRecord is the audit record of a certificate for which no client asked.
func builtInRecord(node string, op policy.Op, id string, request *csr.Request, out ra.Outcome, fail *ra.Error, begin time.Time) *audit.Record {
	r := audit.New(id, op, begin)
	r.Node, r.Profile, r.CSR = audit.Text(node), audit.Text(out.Profile), audit.OfCSR(request)
	if out.Decision.Profile != "" {
		r.Decision, r.Plan = audit.OfDecision(out.Decision), audit.OfPlan(out.Decision.Plan)
		r.Plan.NotBefore, r.Plan.NotAfter = out.NotBefore, out.NotAfter
	}
	r.Serial, r.Conforms, r.Outcome = audit.Serial(out.Serial), out.Conforms, audit.Text(out.Status)
	leaf := out.Certificate
	if leaf == nil {
		leaf = out.Withheld
	}
	r.Cert = audit.OfCert(leaf)
	if out.Serial != nil {
		r.Upstream = &audit.Upstream{Name: audit.Text(out.Upstream), Ref: audit.Text(out.Ref), MS: out.Took.Milliseconds()}
	}
	r.MS = time.Since(begin).Milliseconds()
	if fail == nil {
		return r
	}
	r.Kind, r.FailInfo, r.Reason = audit.Text(fail.Kind.String()), audit.Text(fail.Kind.FailInfo()), audit.Text(fail.Text())
	if r.Upstream != nil && leaf == nil {
		r.Upstream.Error = r.Reason
	}
	return r
}
