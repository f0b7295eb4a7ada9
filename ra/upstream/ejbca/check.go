// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"context"
	"fmt"
	"net/http"

	"github.com/caddy-est/estra/ra"
)

// resource is RestResourceStatusRestResponse.
type resource struct {
	Status   string `json:"status"`
	Revision string `json:"revision"`
}

// Health asks for the status of the part of the API that issues.
func (u *Upstream) Health(ctx context.Context) error {
	_, err := u.resource(ctx, "certificate")
	return err
}

func (u *Upstream) resource(ctx context.Context, name string) (resource, error) {
	var got resource
	err := u.read(ctx, &got, request{method: http.MethodGet, path: []string{name, "status"}})
	if err == nil && got.Status != "OK" {
		err = ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s/status: EJBCA says %q", name, got.Status), nil)
	}
	return got, err
}

// Check looks at the parts of the API that we need, at the CA, at the addresses and at
// the clock.
// The profiles can't be asked about: a probe shows them.
func (u *Upstream) Check(ctx context.Context) []ra.Check {
	entities, err := u.resource(ctx, "endentity")
	checks := []ra.Check{ra.Checked("end entities", err, "%s", entities.Revision)}
	dn, err := u.askDN(ctx)
	checks = append(checks, ra.Checked("CA "+u.cfg.CA, err, "%s", dn))
	return append(checks, u.client.Check(ctx)...)
}
