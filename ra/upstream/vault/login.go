// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
)

// A Method is how we get a token.
type Method uint8

// The methods.
const (
	NoMethod Method = iota
	// Token is one that somebody made; Secret gives it.
	Token
	// AppRole logs in with Role as the role_id, and a secret_id from Secret.
	AppRole
	// Kubernetes logs in with Role, and the JWT of a service account from Secret.
	Kubernetes
	// TLS logs in with Config.Certificate, for Role where it is set.
	TLS
)

// mounts are where the auth methods are by default.
var mounts = map[Method]string{AppRole: "approle", Kubernetes: "kubernetes", TLS: "cert"}

// A Login says how we get a token. Method has no default.
type Login struct {
	Method Method
	// Mount is where the auth method is mounted; "" is Vault's own default.
	Mount string
	Role  string
	// Secret gives what the method wants. It is asked again for each login, and
	// a token for each call.
	Secret func() (secret.Text, error)
}

func (l Login) check(certificate bool) error {
	switch {
	case l.Method == NoMethod || l.Method > TLS:
		return errors.New("no way to log in is given: a token, AppRole, Kubernetes, or our certificate")
	case l.Method != TLS && l.Secret == nil:
		return errors.New("the login lacks its secret")
	case (l.Method == AppRole || l.Method == Kubernetes) && l.Role == "":
		return errors.New("the login names no role")
	case l.Method == TLS && !certificate:
		return errors.New("the login by TLS lacks a certificate")
	}
	return nil
}

// path is that of the login.
func (l Login) path() string {
	mount := l.Mount
	if mount == "" {
		mount = mounts[l.Method]
	}
	return "auth/" + mount + "/login"
}

// body is what a login sends; the fields of the API that the method has.
type loginBody struct {
	RoleID   string `json:"role_id,omitempty"`
	SecretID string `json:"secret_id,omitempty"`
	Role     string `json:"role,omitempty"`
	JWT      string `json:"jwt,omitempty"`
	Name     string `json:"name,omitempty"`
}

func (l Login) body() (loginBody, secret.Text, error) {
	var given secret.Text
	if l.Secret != nil {
		var err error
		if given, err = l.Secret(); err != nil {
			return loginBody{}, "", err
		}
	}
	switch l.Method {
	case AppRole:
		return loginBody{RoleID: l.Role, SecretID: string(given)}, given, nil
	case Kubernetes:
		return loginBody{Role: l.Role, JWT: string(given)}, given, nil
	default:
		return loginBody{Name: l.Role}, given, nil
	}
}

// auth is what we read of an answer that brings a token or renews one.
type auth struct {
	ClientToken   string `json:"client_token"`
	LeaseDuration int64  `json:"lease_duration"`
	Renewable     bool   `json:"renewable"`
}

func (a auth) life() time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return time.Duration(min(max(a.LeaseDuration, 0), int64(most/time.Second))) * time.Second
}

// login gets a new token. A refusal is about our credential, whatever its
// status is.
func (u *Upstream) login(ctx context.Context) (auth, error) {
	body, given, err := u.cfg.Login.body()
	if err != nil {
		return auth{}, ra.Fail(ra.UpstreamDown, "what we log in to Vault with can't be read", errors.Join(ra.ErrCredential, err))
	}
	path := u.cfg.Login.path()
	got, err := u.ask(ctx, request{method: http.MethodPost, path: path, body: body}, "", given)
	if err != nil {
		return auth{}, err
	}
	if got.ClientToken == "" {
		return auth{}, ra.Fail(ra.UpstreamDown, path+": Vault gives no token, such as where a second factor is wanted", ra.ErrCredential)
	}
	return got, nil
}

// renew asks for a longer life of a token.
func (u *Upstream) renew(ctx context.Context, token secret.Text) (auth, error) {
	return u.ask(ctx, request{method: http.MethodPost, path: "auth/token/renew-self", body: struct{}{}}, token, token)
}

// ask is for the answers with `auth`.
func (u *Upstream) ask(ctx context.Context, r request, token secret.Text, hide secret.Text) (auth, error) {
	var got struct {
		Auth auth `json:"auth"`
	}
	err := u.credential(ctx, r, token, hide, &got)
	return got.Auth, err
}

// look asks what a token is. Its own answer has other names for the same.
func (u *Upstream) look(ctx context.Context, token secret.Text) (auth, error) {
	var got struct {
		Data struct {
			TTL       int64 `json:"ttl"`
			Renewable bool  `json:"renewable"`
		} `json:"data"`
	}
	err := u.credential(ctx, request{method: http.MethodGet, path: "auth/token/lookup-self"}, token, token, &got)
	return auth{ClientToken: string(token), LeaseDuration: got.Data.TTL, Renewable: got.Data.Renewable}, err
}

// credential makes a call about our credential. 400 and 403 are refusals of it.
func (u *Upstream) credential(ctx context.Context, r request, token, hide secret.Text, into any) error {
	client, err := u.connections()
	if err != nil {
		return err
	}
	answer, err := u.send(ctx, client, r, token)
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		fail := refused(answer, u.cfg.Now(), hide)
		if fail.Kind == ra.UpstreamRefused {
			fail = ra.Fail(ra.UpstreamDown, fail.Reason, ra.ErrCredential)
		}
		return ra.Fail(fail.Kind, fmt.Sprintf("%s: %s", r.path, fail.Reason), fail.Err).After(fail.RetryAfter)
	}
	if err := json.Unmarshal(answer.Body, into); err != nil {
		return client.Unreadable(false, "an answer that isn't JSON to "+r.path, nil)
	}
	return nil
}

// maxSecret bounds a token, a secret_id or a JWT.
const maxSecret = 64 << 10

// ParseSecret reads what a file says, such as a token: one line. Errors show
// nothing of it.
func ParseSecret(data []byte) (secret.Text, error) {
	text := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxSecret:
		return "", fmt.Errorf("there are more than %d bytes", maxSecret)
	case text == "":
		return "", errors.New("it is empty")
	case strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' }):
		return "", errors.New("there is more than one word of ASCII")
	}
	return secret.Text(text), nil
}
