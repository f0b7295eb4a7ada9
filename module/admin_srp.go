// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddy-est/estra/ra/srp"
	"github.com/caddy-est/estra/ra/store"
)

// srpUsers is /est/srp: GET lists, POST adds; with ?replace=true also those that
// are there.
func (a *Admin) srpUsers(w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
			list, err := s.SRP().List(r.Context(), r.URL.Query().Get("realm"))
			return srp.UsersJSON(list), err
		})
	case http.MethodPost:
		return a.stored(w, r, func(app *App, s store.Store) (json.Marshaler, error) {
			users, err := readJSON[srp.UsersJSON](r)
			if err != nil {
				return nil, err
			}
			for _, u := range users {
				if err := app.takesSRP(u.Realm); err != nil {
					return nil, err
				}
			}
			replace := r.URL.Query().Get("replace") == "true"
			return json.RawMessage("{}"), s.SRP().Add(r.Context(), users, replace, time.Now())
		})
	default:
		return wrongMethod(r)
	}
}

// SRPNames are users of a realm, as the admin API has them.
type SRPNames struct {
	Realm string   `json:"realm"`
	Users []string `json:"users"`
}

// revokeSRP is POST /est/srp/revoke.
func (a *Admin) revokeSRP(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r)
	}
	return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
		names, err := readJSON[SRPNames](r)
		if err != nil {
			return nil, err
		}
		return json.RawMessage("{}"), s.SRP().Revoke(r.Context(), names.Realm, names.Users, time.Now())
	})
}
