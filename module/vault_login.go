// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"fmt"

	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/vault"
)

// serviceAccount is where Kubernetes puts the JWT of a pod's service account.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// vaultLogin is how we get a token of a Vault.
type vaultLogin struct {
	// A token, as a placeholder such as {env.X} or {file.X}. One way to log in is
	// required.
	Token string `json:"token,omitempty"`
	// A file with a token, which is read again when it changes.
	TokenFile string `json:"token_file,omitempty"`
	// Log in by AppRole: the role_id.
	AppRole string `json:"approle,omitempty"`
	// The secret_id, as a placeholder.
	SecretID string `json:"secret_id,omitempty"`
	// A file with the secret_id, which is read again when it changes.
	SecretIDFile string `json:"secret_id_file,omitempty"`
	// Log in by Kubernetes: the role.
	Kubernetes string `json:"kubernetes,omitempty"`
	// A file with the JWT of a service account. Default: where Kubernetes puts it.
	JWTFile string `json:"jwt_file,omitempty"`
	// Log in by our TLS client certificate.
	Cert bool `json:"cert,omitempty"`
	// The role of the auth method for certificates. Default: any that fits.
	CertRole string `json:"cert_role,omitempty"`
	// Where the auth method is mounted. Default: approle, kubernetes or cert.
	AuthMount string `json:"auth_mount,omitempty"`
}

func (o *vaultLogin) options() options {
	return options{
		"token": valueOf("PLACEHOLDER", &o.Token), "token_file": valueOf("FILE", &o.TokenFile),
		"approle": valueOf("ROLE_ID", &o.AppRole), "secret_id": valueOf("PLACEHOLDER", &o.SecretID), "secret_id_file": valueOf("FILE", &o.SecretIDFile),
		"kubernetes": valueOf("ROLE", &o.Kubernetes), "jwt_file": valueOf("FILE", &o.JWTFile),
		"cert": certOption(o), "auth_mount": valueOf("PATH", &o.AuthMount),
	}
}

func certOption(o *vaultLogin) option {
	return func(b upstreamBlock) error {
		o.Cert = true
		if b.NextArg() {
			o.CertRole = b.Val()
		}
		if b.NextArg() {
			return b.Errf("vault: cert takes one role at most: `cert [ROLE]`")
		}
		return nil
	}
}

// oneLogin says what of a login is missing, or too much.
func oneLogin(o *vaultLogin) error {
	ways := 0
	for _, is := range []bool{o.Token != "", o.TokenFile != "", o.AppRole != "", o.Kubernetes != "", o.Cert} {
		if is {
			ways++
		}
	}
	switch {
	case ways != 1:
		return errors.New("vault needs one way to log in: `token`, `token_file`, `approle`, `kubernetes` or `cert`")
	case o.AppRole != "" && (o.SecretID == "") == (o.SecretIDFile == ""):
		return errors.New("vault: `approle` needs `secret_id PLACEHOLDER` or `secret_id_file FILE`")
	case o.AppRole == "" && (o.SecretID != "" || o.SecretIDFile != ""):
		return errors.New("vault: a secret_id is for `approle`")
	case o.Kubernetes == "" && o.JWTFile != "":
		return errors.New("vault: `jwt_file` is for `kubernetes`")
	}
	for name, value := range map[string]string{"token": o.Token, "secret_id": o.SecretID} {
		if value == "" {
			continue
		}
		if err := onlyPlaceholder("vault", name, value, "VAULT_SECRET", "vault"); err != nil {
			return err
		}
	}
	return nil
}

// login is the way that is written.
func (o *vaultLogin) login() (l vault.Login, err error) {
	err = expandAll(expandable{"token_file", &o.TokenFile}, expandable{"approle", &o.AppRole},
		expandable{"secret_id_file", &o.SecretIDFile}, expandable{"jwt_file", &o.JWTFile})
	if err != nil {
		return l, err
	}
	l.Mount = o.AuthMount
	switch {
	case o.Token != "":
		l.Method = vault.Token
		l.Secret, err = placeholder("token", o.Token, vault.ParseSecret)
	case o.TokenFile != "":
		l.Method = vault.Token
		l.Secret, err = secretFile("token_file", o.TokenFile)
	case o.AppRole != "" && o.SecretID != "":
		l.Method, l.Role = vault.AppRole, o.AppRole
		l.Secret, err = placeholder("secret_id", o.SecretID, vault.ParseSecret)
	case o.AppRole != "":
		l.Method, l.Role = vault.AppRole, o.AppRole
		l.Secret, err = secretFile("secret_id_file", o.SecretIDFile)
	case o.Kubernetes != "":
		l.Method, l.Role = vault.Kubernetes, o.Kubernetes
		file := o.JWTFile
		if file == "" {
			file = serviceAccount
		}
		l.Secret, err = secretFile("jwt_file", file)
	default:
		l.Method, l.Role = vault.TLS, o.CertRole
	}
	return l, err
}

// secretFile gives what a file says, which is read again when it changes.
func secretFile(option, name string) (func() (secret.Text, error), error) {
	file, err := newChanging(func(texts [][]byte) (secret.Text, error) { return vault.ParseSecret(texts[0]) }, name)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", option, name, err)
	}
	return func() (secret.Text, error) { return file.now(), nil }, nil
}
