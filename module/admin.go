// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(&Admin{})
}

// Admin adds to Caddy's admin API:
//
//	GET  /est/ready                                   200 or 503, with the reasons
//	POST /est/upstreams/<name>/resume?profile=<name>  issue again after nonconforming certificates
//	POST /est/check?upstream=&probe=&profile=         ask the CAs how they are
//	GET, POST /est/otp, POST /est/otp/revoke          one-time passwords
//	GET  /est/pending, /est/pending/<id>              requests that wait for approval
//	POST /est/pending/<id>/approve, /est/pending/<id>/deny
//	GET, POST /est/srp, POST /est/srp/revoke          users of certificate-less TLS
//	GET, POST /est/devices?registry=<name>            device registries
//	GET  /est/certs, /est/certs/<which>               the inventory
//	POST /est/certs/<which>/revoke, block, unblock, /est/certs/import?upstream=&profile=
//	POST /est/devices/block, /est/devices/rearm       the state of one device
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.est", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the admin routes.
func (a *Admin) Routes() []caddy.AdminRoute {
	return append(a.certRoutes(), []caddy.AdminRoute{
		{Pattern: "/est/ready", Handler: caddy.AdminHandlerFunc(a.ready)},
		{Pattern: "/est/upstreams/", Handler: caddy.AdminHandlerFunc(a.resume)},
		{Pattern: "/est/check", Handler: caddy.AdminHandlerFunc(a.check)},
		{Pattern: "/est/otp", Handler: caddy.AdminHandlerFunc(a.passwords)},
		{Pattern: "/est/otp/revoke", Handler: caddy.AdminHandlerFunc(a.revoke)},
		{Pattern: "/est/pending", Handler: caddy.AdminHandlerFunc(a.pending)},
		{Pattern: "/est/pending/", Handler: caddy.AdminHandlerFunc(a.pending)},
		{Pattern: "/est/srp", Handler: caddy.AdminHandlerFunc(a.srpUsers)},
		{Pattern: "/est/srp/revoke", Handler: caddy.AdminHandlerFunc(a.revokeSRP)},
		{Pattern: "/est/store", Handler: caddy.AdminHandlerFunc(a.checkStore)},
		{Pattern: "/est/store/backup", Handler: caddy.AdminHandlerFunc(a.backupStore)},
		{Pattern: "/est/devices", Handler: caddy.AdminHandlerFunc(a.devices)},
		{Pattern: "/est/devices/block", Handler: caddy.AdminHandlerFunc(a.deviceState)},
		{Pattern: "/est/devices/rearm", Handler: caddy.AdminHandlerFunc(a.deviceState)},
	}...)
}

// app is that of the configuration which serves. The admin API's own context
// may be of one that was refused since: Caddy replaces the admin server before
// the apps are provisioned, and leaves it so when they fail.
func (a *Admin) app() (*App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("est")
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no est in this configuration")}
	}
	return app.(*App), nil
}

// A Readiness is the answer of /est/ready.
type Readiness struct {
	Ready bool `json:"ready"`
	// Policies are the SHA-256 sums of the policies in force.
	Policies []string `json:"policies"`
	// Upstreams has an empty text for each CA that can issue, else the
	// reason why not.
	Upstreams map[string]string `json:"upstreams"`
	// Anchors has an empty text for each anchor of files that can be asked,
	// else the reason why not.
	Anchors map[string]string `json:"anchors"`
	// Audit is why nothing can be written into the audit chain; left out where
	// it can be, or there is none. It makes the server not ready where the
	// chain is required.
	Audit string `json:"audit,omitempty"`
}

func (a *Admin) ready(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return wrongMethod(r)
	}
	app, err := a.app()
	if err != nil {
		return err
	}
	state := app.Readiness(r.Context())
	body, err := json.Marshal(state)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if !state.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, err = w.Write(append(body, '\n'))
	return err
}

// Readiness asks every CA whether it can issue, and looks whether an anchor of
// files shuts its clients out.
func (a *App) Readiness(ctx context.Context) Readiness {
	state := Readiness{Policies: []string{}, Upstreams: make(map[string]string)}
	for _, h := range a.handlers {
		if sum := h.policy.SHA256(); !slices.Contains(state.Policies, sum) {
			state.Policies = append(state.Policies, sum)
		}
	}
	known := a.authorities()
	reasons, shut := a.anchorFailures(time.Now())
	state.Anchors, state.Ready = reasons, len(known) > 0 && !shut
	for _, known := range known {
		reason := known.unready(ctx, time.Now())
		state.Upstreams[known.ca.Name] = reason
		state.Ready = state.Ready && reason == ""
	}
	if a.chain == nil {
		return state
	}
	if err := a.chain.ready(ctx); err != nil {
		state.Audit = err.Error()
		state.Ready = state.Ready && a.chain.config.Mode != auditRequired
	}
	return state
}

// unready says why this CA can't issue, or nothing.
func (k *authority) unready(ctx context.Context, now time.Time) string {
	if err := k.ca.Ready(ctx); err != nil {
		return err.Error()
	}
	for what, end := range k.upstream.Expiries() {
		if now.After(end) {
			return fmt.Sprintf("the credential %s has ended at %s", what, end.Format(time.RFC3339))
		}
	}
	if stops := k.ca.Stops(); len(stops) > 0 {
		return "stopped after certificates that were not as decided, for the profiles: " + strings.Join(stops, ", ") + " (caddy est upstream resume)"
	}
	return ""
}

func (a *Admin) resume(_ http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r)
	}
	name, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/est/upstreams/"), "/resume")
	profile := r.URL.Query().Get("profile")
	if !ok || name == "" || profile == "" {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("want POST /est/upstreams/NAME/resume?profile=PROFILE")}
	}
	app, err := a.app()
	if err != nil {
		return err
	}
	if err := app.Resume(name, profile); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	}
	return nil
}

func wrongMethod(r *http.Request) error {
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s is not allowed here", r.Method)}
}

var _ caddy.AdminRouter = (*Admin)(nil)
