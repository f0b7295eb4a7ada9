// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"net/http"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream"
)

// maxDemand bounds what is read of /csrattrs, all of which devices could be told.
const maxDemand = 64 << 10

// Demand asks /csrattrs (RFC 7030 section 4.5), with our certificate where we have one:
// a server may want to know who asks. Who offers no such operation demands nothing.
func (u *Upstream) Demand(ctx context.Context) (policy.Demand, error) {
	client, _, err := u.asking()
	if err != nil {
		client = u.reader // the certificate isn't there yet
	}
	answer, err := client.Do(ctx, upstream.Call{Method: http.MethodGet, Path: u.path(policy.CSRAttrs), Limit: maxDemand})
	if err != nil {
		return policy.Demand{}, err
	}
	switch answer.Status {
	case http.StatusOK:
	case http.StatusNoContent, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return policy.Demand{}, nil
	default:
		return policy.Demand{}, upstream.Reading(refused(answer, u.cfg.Now()))
	}
	demand, err := readDemand(answer)
	if err != nil {
		return policy.Demand{}, client.Unreadable(false, "what can't be read", err)
	}
	return demand, nil
}

func readDemand(answer upstream.Answer) (policy.Demand, error) {
	list, err := estclient.ReadCSRAttrs(answer.Header.Get("Content-Type"), answer.Body)
	if err != nil {
		return policy.Demand{}, err
	}
	wanted, err := csrattrs.Read(list)
	if err != nil {
		return policy.Demand{}, err
	}
	return wanted.Demand()
}
