// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/wire"
)

// Check looks at our RA certificate, at whether the server takes it, at the
// addresses and at the clock. It asks with a request that is none, which no server grants: what a
// server says to it before it reads it is about who asks.
func (u *Upstream) Check(ctx context.Context) []ra.Check {
	checks := []ra.Check{u.checkCertificate()}
	if checks[0].Result != ra.Bad {
		checks = append(checks, u.checkAccess(ctx))
	}
	return append(checks, u.reader.Check(ctx)...)
}

func (u *Upstream) checkCertificate() ra.Check {
	const what = "RA certificate"
	own, err := u.cfg.Certificate()
	if err == nil && len(own.Certificate) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return ra.Checked(what, err, "")
	}
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		return ra.Checked(what, err, "")
	}
	if !policy.CarriesCMCRA(leaf) {
		return ra.Check{What: what, Result: ra.Bad, Detail: fmt.Sprintf("%s isn't for id-kp-cmcRA (RFC 7030 section 3.7)", leaf.Subject)}
	}
	return ra.Ends(what, leaf.NotAfter, u.cfg.Now(), leaf.Subject.String())
}

func (u *Upstream) checkAccess(ctx context.Context) ra.Check {
	op, kind := policy.SimpleEnroll, wire.TypePKCS10
	if u.cfg.FullCMC {
		op, kind = policy.FullCMC, wire.TypeCMCRequest
	}
	what := "/" + string(op)
	client, _, err := u.asking()
	if err != nil {
		return ra.Checked(what, err, "")
	}
	answer, err := client.Do(ctx, upstream.Call{Method: http.MethodPost, Path: u.path(op), Type: kind, Body: []byte("MAA="), Limit: maxAnswer})
	if err != nil {
		return ra.Checked(what, err, "")
	}
	switch answer.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return ra.Check{What: what, Result: ra.Good, Detail: "the server takes our RA certificate: it reads what we send"}
	case http.StatusUnauthorized, http.StatusForbidden:
		return ra.Check{What: what, Result: ra.Bad, Detail: fmt.Sprintf("the server answered %d: no line of its policy may be for our RA certificate", answer.Status)}
	case http.StatusNotFound:
		return ra.Check{What: what, Result: ra.Bad, Detail: "the server answered 404: it has no such label, or doesn't offer the operation"}
	default:
		return ra.Check{What: what, Result: ra.Warning, Detail: fmt.Sprintf("the server answered %d to a request that is none", answer.Status)}
	}
}
