// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
)

// A CheckedUpstream is what was found of one CA.
type CheckedUpstream struct {
	Upstream string     `json:"upstream"`
	Checks   []ra.Check `json:"checks"`
}

// CheckRequest says what App.Check looks at.
type CheckRequest struct {
	// Upstream is the name of one; "" is for all.
	Upstream string
	// Probe is a host name for which a certificate is issued and revoked at each; ""
	// for none.
	Probe string
	// Profile is whose usages and validity the probe has; "" is the first that
	// issues from the upstream.
	Profile string
}

// Check asks CAs how they are. The error says that the request makes no sense.
func (a *App) Check(ctx context.Context, req CheckRequest) ([]CheckedUpstream, error) {
	known := a.authorities()
	if req.Upstream != "" {
		named := make(map[string]*authority)
		for _, k := range known {
			named[k.ca.Name] = k
		}
		one, ok := named[req.Upstream]
		if !ok {
			return nil, fmt.Errorf("no upstream is named %q; there is: %s", req.Upstream, strings.Join(slices.Sorted(maps.Keys(named)), ", "))
		}
		known = []*authority{one}
	}
	if req.Profile != "" && !slices.ContainsFunc(known, func(k *authority) bool { _, p := a.profileFor(k, req.Profile); return p != nil }) {
		return nil, fmt.Errorf("no profile %q issues from these upstreams", req.Profile)
	}
	var all []CheckedUpstream
	for _, k := range known {
		all = append(all, CheckedUpstream{k.ca.Name, a.checkOne(ctx, k, req)})
	}
	return all, nil
}

func (a *App) checkOne(ctx context.Context, k *authority, req CheckRequest) []ra.Check {
	checks := k.ca.Check(ctx)
	ends := k.upstream.Expiries()
	for _, what := range slices.Sorted(maps.Keys(ends)) {
		if what == "ra_certificate" && slices.ContainsFunc(checks, func(c ra.Check) bool { return c.What == "RA certificate" }) {
			continue // the upstream has said it
		}
		checks = append(checks, ra.Ends(what, ends[what], time.Now(), "our credential"))
	}
	for _, c := range a.conflicts(ctx, k.ca) {
		checks = append(checks, ra.Check{What: "csrattrs " + c.profile, Result: ra.Warning, Detail: c.String()})
	}
	return append(checks, a.probe(ctx, k, req)...)
}

// profileFor finds a profile that issues from a CA, and the handler that has it.
func (a *App) profileFor(k *authority, name string) (*Handler, *policy.Profile) {
	for _, h := range a.handlers {
		for _, p := range h.policy.Profiles() {
			if p.Upstream() == k.ca.Name && h.server.Authority.CAs[k.ca.Name] == k.ca && (name == "" || p.Name() == name) {
				return h, p
			}
		}
	}
	return nil, nil
}

// probe has one certificate issued and revoked.
func (a *App) probe(ctx context.Context, k *authority, req CheckRequest) []ra.Check {
	skipped := func(detail string) []ra.Check {
		return []ra.Check{{What: "probe", Result: ra.Skipped, Detail: detail}}
	}
	if req.Probe == "" {
		return skipped("no name is given to issue for (--probe NAME)")
	}
	if err := k.ca.CanProbe(); err != nil {
		return skipped(err.Error())
	}
	h, profile := a.profileFor(k, req.Profile)
	if profile == nil {
		return skipped("no profile issues from this upstream")
	}
	begin := time.Now()
	ask := ra.ProbeRequest{ID: ra.NewID(begin), Profile: profile, Name: req.Probe, Now: begin}
	keeper, must := h.server.Sink.(audit.Keeper)
	if must {
		if err := keeper.Ready(ctx); err != nil {
			return []ra.Check{ra.Checked("audit", err, "")}
		}
	}
	done, err := h.server.Authority.Probe(ctx, k.ca, ask)
	var fail *ra.Error
	errors.As(err, &fail)
	record := builtInRecord(h.server.Node, audit.OpProbe, ask.ID, done.CSR, done.Outcome, fail, begin)
	if err == nil && done.Revoked == nil {
		record.RevokesSerial = audit.Serial(done.Certificate.SerialNumber)
	}
	if kept := h.server.Sink.Write(context.WithoutCancel(ctx), record); kept != nil {
		h.log.Error("the audit record could not be written", zap.String("request_id", ask.ID), zap.Error(kept))
	}
	if err != nil {
		return []ra.Check{ra.Checked("probe", err, "")}
	}
	serial := audit.Serial(done.Certificate.SerialNumber)
	return []ra.Check{
		ra.Checked("probe", nil, "a certificate for %s by the usages and validity of %s came as planned, in %d ms", req.Probe, profile.Name(), done.Took.Milliseconds()),
		ra.Checked("revoke", done.Revoked, "the certificate with the serial number %s is revoked again", serial),
	}
}

// check is POST /est/check: it asks CAs, and may have one issue.
func (a *Admin) check(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r)
	}
	app, err := a.app()
	if err != nil {
		return err
	}
	query := r.URL.Query()
	all, err := app.Check(r.Context(), CheckRequest{Upstream: query.Get("upstream"), Probe: query.Get("probe"), Profile: query.Get("profile")})
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(all)
}
