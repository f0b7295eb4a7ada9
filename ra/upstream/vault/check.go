// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
)

func health() request {
	return request{method: http.MethodGet, path: "sys/health", query: "standbyok=true&perfstandbyok=true", outside: true}
}

// Health asks whether the server is unsealed and takes calls; a standby does,
// which hands them on. It is asked outside of any namespace.
func (u *Upstream) Health(ctx context.Context) error {
	client, err := u.connections()
	if err != nil {
		return err
	}
	answer, err := u.send(ctx, client, health(), "")
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("sys/health: Vault answered %d: it is sealed, or has not been set up", answer.Status), nil)
	}
	return nil
}

// Check looks at our token, at what it may do, at the role, at the addresses, and at
// the clock.
func (u *Upstream) Check(ctx context.Context) []ra.Check {
	checks := []ra.Check{u.checkToken(ctx)}
	if checks[0].Result != ra.Bad {
		checks = append(checks, u.checkRights(ctx))
		if u.cfg.Mode != Verbatim {
			checks = append(checks, u.checkRole(ctx))
		}
	}
	return append(checks, u.caller.Check(ctx)...)
}

func (u *Upstream) checkToken(ctx context.Context) ra.Check {
	const what = "token"
	token, err := u.session.token(ctx)
	if err != nil {
		return ra.Checked(what, err, "")
	}
	got, err := u.look(ctx, token)
	if err != nil && !u.session.ours() && u.session.replaceable(token) {
		if token, err = u.session.token(ctx); err == nil {
			got, err = u.look(ctx, token)
		}
	}
	if err != nil {
		return ra.Checked(what, err, "")
	}
	renewed := "can't be renewed"
	if got.Renewable {
		renewed = "is renewed"
	}
	switch life := got.life(); {
	case life == 0:
		return ra.Checked(what, nil, "Vault takes it; it has no end")
	case u.session.ours() && !got.Renewable:
		return ra.Ends(what, u.cfg.Now().Add(life), u.cfg.Now(), "Vault takes it; it "+renewed)
	default: // its end is ours to see to
		return ra.Checked(what, nil, "Vault takes it; it %s, and has %s left", renewed, life.Round(time.Second))
	}
}

type pathsBody struct {
	Paths []string `json:"paths"`
}

// checkRights asks whether our token may sign and revoke.
func (u *Upstream) checkRights(ctx context.Context) ra.Check {
	const what = "rights"
	paths := []string{u.signPath(), u.cfg.Mount + "/revoke"}
	client, answer, err := u.authorized(ctx, request{method: http.MethodPost, path: "sys/capabilities-self", body: pathsBody{paths}, reads: true})
	if err != nil {
		return ra.Checked(what, err, "")
	}
	var got struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if json.Unmarshal(answer.Body, &got) != nil {
		return ra.Checked(what, client.Unreadable(false, "an answer that isn't JSON", nil), "")
	}
	var lacks []string
	for _, path := range paths {
		var can []string
		if json.Unmarshal(got.Data[path], &can) != nil || !slices.Contains(can, "update") && !slices.Contains(can, "root") {
			lacks = append(lacks, path)
		}
	}
	if len(lacks) > 0 {
		return ra.Checked(what, fmt.Errorf("our token may not `update` %s", strings.Join(lacks, " and ")), "")
	}
	return ra.Checked(what, nil, "our token may sign and revoke")
}

// checkRole reads the role, where our token may.
func (u *Upstream) checkRole(ctx context.Context) ra.Check {
	what, path := "role "+u.cfg.Role, u.cfg.Mount+"/roles/"+u.cfg.Role
	if u.cfg.Mode == CEL {
		path = u.cfg.Mount + "/cel/roles/" + u.cfg.Role
	}
	client, err := u.connections()
	if err != nil {
		return ra.Checked(what, err, "")
	}
	token, err := u.session.token(ctx)
	if err != nil {
		return ra.Checked(what, err, "")
	}
	answer, err := u.send(ctx, client, request{method: http.MethodGet, path: path}, token)
	switch {
	case err != nil:
		return ra.Checked(what, err, "")
	case answer.Status == http.StatusForbidden:
		return ra.Check{What: what, Result: ra.Skipped, Detail: "our token may not `read` " + path}
	case answer.Status != http.StatusOK:
		return ra.Checked(what, refused(answer, u.cfg.Now(), token), "")
	}
	if err := rightRole(u.cfg.Mode, answer.Body); err != nil {
		return ra.Checked(what, err, "")
	}
	return ra.Checked(what, nil, "it takes what we tell it")
}

// rightRole says what is wrong with a role that can't do as it is told.
func rightRole(mode Mode, body []byte) error {
	var got struct {
		Data struct {
			CommonName bool `json:"use_csr_common_name"`
			SANs       bool `json:"use_csr_sans"`
			Program    struct {
				Expression string `json:"expression"`
			} `json:"cel_program"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &got) != nil {
		return errors.New("Vault answered with a role that isn't JSON") //nolint:staticcheck // a name
	}
	switch {
	case mode == CEL && !strings.Contains(got.Data.Program.Expression, "request.estra"):
		return errors.New("its program doesn't look at our plan (request.estra): `caddy est vault role` prints one that does")
	case mode == Sign && (got.Data.CommonName || got.Data.SANs):
		return errors.New("it takes names from the request: use_csr_common_name and use_csr_sans must be false")
	}
	return nil
}
