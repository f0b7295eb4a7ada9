// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// CACerts gives step-ca's roots, then its intermediates, each once.
func (u *Upstream) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, path := range []string{"/1.0/roots", "/1.0/intermediates"} {
		body, err := u.get(ctx, path, maxAnswer)
		if err != nil {
			return nil, err
		}
		var list struct {
			Certificates []string `json:"crts"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, u.client.Unreadable(false, "an answer that isn't JSON to "+path, nil)
		}
		certs, err := certificates(list.Certificates)
		if err != nil {
			return nil, u.client.Unreadable(false, "certificates that can't be read to "+path, err)
		}
		for _, c := range certs {
			if !slices.ContainsFunc(all, c.Equal) {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

// CRL gives step-ca's CRL in DER. Ask only where Config.CRL is set: without,
// it is an error, and nothing is called.
func (u *Upstream) CRL(ctx context.Context) ([]byte, error) {
	if !u.publish {
		return nil, ra.Fail(ra.UpstreamDown, "the CRL of step-ca isn't switched on", nil)
	}
	body, err := u.get(ctx, "/1.0/crl", maxCRL)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, u.client.Unreadable(false, "an empty CRL", nil)
	}
	return body, nil
}

// ListsEveryKey implements ra.WholeLister: step-ca's list has what its database says
// is revoked, whichever intermediate signed it.
func (u *Upstream) ListsEveryKey() bool { return true }

// Health asks whether the CA is up and its TLS certificate verifies.
func (u *Upstream) Health(ctx context.Context) error {
	body, err := u.get(ctx, healthPath, maxAnswer)
	if err != nil {
		return err
	}
	var health struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(body, &health) != nil || health.Status != "ok" {
		return u.client.Unreadable(false, "no `ok` to "+healthPath, nil)
	}
	return nil
}

// get reads what everybody may read: a refusal isn't about a device's
// request, so the CA counts as down.
func (u *Upstream) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	return u.query(ctx, path, "", limit)
}

func (u *Upstream) query(ctx context.Context, path, query string, limit int64) ([]byte, error) {
	body, err := u.client.do(ctx, upstream.Call{Method: http.MethodGet, Path: path, Query: query, Limit: limit}, new(string))
	return body, upstream.Reading(err)
}
