// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/srp"
	"github.com/caddy-est/estra/ra/store"
)

// mostStored bounds a request that writes to the store, in bytes.
const mostStored = 64 << 20

// local refuses callers over the network: passwords in clear go to this
// machine alone, also where the admin API is remote.
func local(r *http.Request) error {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil { // a Unix socket
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() {
		return nil
	}
	return caddy.APIError{HTTPStatus: http.StatusForbidden, Err: errors.New("the store is reached from this machine alone")}
}

// storeFor is the store of the running configuration, for local callers.
func (a *Admin) storeFor(r *http.Request) (*App, store.Store, error) {
	if err := local(r); err != nil {
		return nil, nil, err
	}
	app, err := a.app()
	if err != nil {
		return nil, nil, err
	}
	s, err := app.Store(r.Context())
	if err != nil {
		return nil, nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	}
	return app, s, nil
}

// stored lets a function work with the store of the running configuration.
func (a *Admin) stored(w http.ResponseWriter, r *http.Request, do func(*App, store.Store) (json.Marshaler, error)) error {
	app, s, err := a.storeFor(r)
	if err != nil {
		return err
	}
	answer, err := do(app, s)
	switch {
	case errors.Is(err, store.ErrUnknown), errors.Is(err, srp.ErrUnknown):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	case err != nil:
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(append(body, '\n'))
	return err
}

func readJSON[T any](r *http.Request) (into T, err error) {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, mostStored))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&into); err != nil {
		return into, fmt.Errorf("the request can't be read: %w", err)
	}
	return into, nil
}

// passwords is /est/otp: GET lists, POST makes.
func (a *Admin) passwords(w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
			list, err := s.Passwords().List(r.Context(), r.URL.Query().Get("label"))
			return store.PasswordsJSON(list), err
		})
	case http.MethodPost:
		return a.stored(w, r, func(app *App, s store.Store) (json.Marshaler, error) {
			templates, err := readJSON[store.TemplatesJSON](r)
			if err != nil {
				return nil, err
			}
			for _, t := range templates {
				if err := app.takesPasswords(t); err != nil {
					return nil, err
				}
			}
			made, err := s.Passwords().Create(r.Context(), templates, time.Now())
			return store.CreatedJSON(made), err
		})
	default:
		return wrongMethod(r)
	}
}

// takesPasswords refuses passwords that would be good for nothing.
func (a *App) takesPasswords(t store.Template) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := false
	for _, h := range a.handlers {
		profile, ok := h.policy.Profile(t.Label)
		if !ok {
			continue
		}
		known = true
		if t.ProofV1 && !profile.TakesPassword(policy.CMCEnroll, policy.ViaProofV1) {
			return fmt.Errorf("the profile of the label %q takes no identity proof of the first version (`one_time_password: {v1: true}` under `fullcmc`): make the password without --cmc-v1", t.Label)
		}
		for _, op := range []policy.Op{policy.SimpleEnroll, policy.SimpleReenroll} {
			if profile.TakesPassword(op, policy.ViaBasic) || profile.TakesPassword(op, policy.ViaChallenge) {
				return nil
			}
		}
		if profile.TakesPassword(policy.CMCEnroll, policy.ViaProof) {
			if t.Proof || t.ProofV1 {
				return nil
			}
			return fmt.Errorf("the profile of the label %q takes a `one_time_password` by CMC alone: make it with --cmc", t.Label)
		}
	}
	if !known {
		return fmt.Errorf("no policy has the label %q", t.Label)
	}
	return fmt.Errorf("the profile of the label %q has no `one_time_password`: the password would be good for nothing", t.Label)
}

// revoke is POST /est/otp/revoke with a list of ids.
func (a *Admin) revoke(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r)
	}
	return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
		ids, err := readJSON[[]string](r)
		if err != nil {
			return nil, err
		}
		return json.RawMessage("{}"), s.Passwords().Revoke(r.Context(), ids, time.Now())
	})
}

// devices is /est/devices: GET lists, POST imports into ?registry=NAME.
func (a *Admin) devices(w http.ResponseWriter, r *http.Request) error {
	registry := r.URL.Query().Get("registry")
	switch r.Method {
	case http.MethodGet:
		return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
			list, err := s.Devices().List(r.Context(), registry)
			return store.DevicesJSON(list), err
		})
	case http.MethodPost:
		return a.stored(w, r, func(app *App, s store.Store) (json.Marshaler, error) {
			list, err := readJSON[store.DevicesJSON](r)
			if err != nil {
				return nil, err
			}
			if err := app.hasRegistry(registry); err != nil {
				return nil, err
			}
			if err := app.sealDevices(registry, list); err != nil {
				return nil, err
			}
			added, known, err := s.Devices().Import(r.Context(), registry, list, time.Now())
			return json.RawMessage(fmt.Sprintf(`{"added":%d,"known":%d}`, added, known)), err
		})
	default:
		return wrongMethod(r)
	}
}

func (a *App) hasRegistry(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for _, h := range a.handlers {
		names = append(names, h.registryNames()...)
	}
	if slices.Contains(names, name) {
		return nil
	}
	return fmt.Errorf("no `registry` of the Caddyfile is named %q; there is: %s", name, strings.Join(names, ", "))
}

// deviceState is POST /est/devices/block and /est/devices/rearm.
func (a *Admin) deviceState(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r)
	}
	return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
		list, err := readJSON[store.DevicesJSON](r)
		if err != nil || len(list) != 1 {
			return nil, errors.Join(err, errors.New("want one device"))
		}
		act := s.Devices().Block
		if strings.HasSuffix(r.URL.Path, "/rearm") {
			act = s.Devices().Rearm
		}
		return json.RawMessage("{}"), act(r.Context(), list[0], time.Now())
	})
}

// checkStore is GET /est/store.
func (a *Admin) checkStore(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return wrongMethod(r)
	}
	return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
		report, err := s.Upkeep().Check(r.Context())
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(report)
		return json.RawMessage(text), err
	})
}

// backupStore is GET /est/store/backup. A backup that fails halfway lacks its
// end, and whoever reads it sees that.
func (a *Admin) backupStore(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return wrongMethod(r)
	}
	_, s, err := a.storeFor(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	_, err = s.Upkeep().Backup(r.Context(), w, time.Now())
	return err
}
