// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/vault"
)

func init() {
	caddy.RegisterModule(&Vault{})
}

// serviceAccount is where Kubernetes puts the JWT of a pod's service account.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// Vault is the upstream `vault`: the PKI secrets engine of HashiCorp Vault or of
// OpenBao (docs/upstream-vault.md).
type Vault struct {
	// The address of the server, such as https://vault.example.net:8200.
	// Required.
	URL string `json:"url"`
	// A PEM file with the root certificates of the CA behind the mount. Required:
	// they bound what /cacerts may publish.
	Root string `json:"root"`
	// A PEM file with the roots that the server's TLS is verified with. Default:
	// those of root.
	TLSRoot string `json:"tls_root,omitempty"`
	// The namespace. Default: none.
	Namespace string `json:"namespace,omitempty"`
	// Where the secrets engine is mounted. Default: pki.
	Mount string `json:"mount,omitempty"`
	// The issuer in the mount. Default: the role's; its chain is read of default.
	Issuer string `json:"issuer,omitempty"`
	// The role. Required, but for verbatim.
	Role string `json:"role,omitempty"`
	// Sign by sign-verbatim: for policies that rewrite nothing.
	Verbatim bool `json:"verbatim,omitempty"`
	// Sign by cel/sign/ROLE of OpenBao, with the role of `caddy est vault role`.
	CEL bool `json:"cel,omitempty"`

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
	// A PEM file with our TLS client certificate and its chain. It is read again
	// when it changes. Default: with cert, this server's own certificate; else none.
	Certificate string `json:"certificate,omitempty"`
	// A PEM file with its private key.
	Key string `json:"key,omitempty"`

	// Ask the issuer's CRL at reenrolment, failing closed.
	AskCRL bool `json:"crl,omitempty"`
	// How much before the planned time certificates may begin. Default: 1m.
	Backdate caddy.Duration `json:"backdate,omitempty"`
	// How long one call of the API may take. Default: 15s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// The most connections at once. Default: 16.
	MaxConnections int `json:"max_connections,omitempty"`

	*vault.Upstream `json:"-"`

	pins []*x509.Certificate
	pair *changing[clientPair]
	own  ownSource
}

// CaddyModule returns the Caddy module information.
func (*Vault) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.vault", New: func() caddy.Module { return new(Vault) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] vault URL {
//		root FILE
//		tls_root FILE
//		namespace PATH
//		mount PATH
//		issuer NAME
//		role NAME
//		verbatim
//		cel
//		token PLACEHOLDER
//		token_file FILE
//		approle ROLE_ID
//		secret_id PLACEHOLDER
//		secret_id_file FILE
//		kubernetes ROLE
//		jwt_file FILE
//		cert [ROLE]
//		auth_mount PATH
//		certificate FILE
//		key FILE
//		crl
//		backdate DURATION
//		timeout DURATION
//		max_connections N
//	}
func (u *Vault) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	start := *d // what is missing is reported where the upstream begins
	b := upstreamBlock{d, "vault"}
	if err := b.address("https://HOST:8200", &u.URL); err != nil {
		return err
	}
	if err := b.read(u.option); err != nil {
		return err
	}
	if err := u.complete(); err != nil {
		return start.WrapErr(err)
	}
	return nil
}

func (u *Vault) option(b upstreamBlock) error {
	switch name := b.Val(); name {
	case "root":
		return b.value("FILE", &u.Root)
	case "tls_root":
		return b.value("FILE", &u.TLSRoot)
	case "namespace":
		return b.value("PATH", &u.Namespace)
	case "mount":
		return b.value("PATH", &u.Mount)
	case "issuer":
		return b.value("NAME", &u.Issuer)
	case "role":
		return b.value("NAME", &u.Role)
	case "verbatim":
		return b.flag(&u.Verbatim)
	case "cel":
		return b.flag(&u.CEL)
	case "crl":
		return b.flag(&u.AskCRL)
	case "backdate":
		return b.duration("1m", &u.Backdate)
	case "timeout":
		return b.duration("15s", &u.Timeout)
	case "max_connections":
		return b.number("16", &u.MaxConnections)
	default:
		return u.loginOption(b)
	}
}

// loginOption reads how we log in.
func (u *Vault) loginOption(b upstreamBlock) error {
	switch name := b.Val(); name {
	case "token":
		return b.value("PLACEHOLDER", &u.Token)
	case "token_file":
		return b.value("FILE", &u.TokenFile)
	case "approle":
		return b.value("ROLE_ID", &u.AppRole)
	case "secret_id":
		return b.value("PLACEHOLDER", &u.SecretID)
	case "secret_id_file":
		return b.value("FILE", &u.SecretIDFile)
	case "kubernetes":
		return b.value("ROLE", &u.Kubernetes)
	case "jwt_file":
		return b.value("FILE", &u.JWTFile)
	case "cert":
		u.Cert = true
		if b.NextArg() {
			u.CertRole = b.Val()
		}
		if b.NextArg() {
			return b.Errf("vault: cert takes one role at most: `cert [ROLE]`")
		}
		return nil
	case "auth_mount":
		return b.value("PATH", &u.AuthMount)
	case "certificate":
		return b.value("FILE", &u.Certificate)
	case "key":
		return b.value("FILE", &u.Key)
	default:
		return b.Errf("vault has no option %q; there is: approle, auth_mount, backdate, cel, cert, certificate, crl, issuer, jwt_file, key, kubernetes, max_connections, mount, namespace, role, root, secret_id, secret_id_file, timeout, tls_root, token, token_file, verbatim", name)
	}
}

// complete says what is missing, or too much.
func (u *Vault) complete() error {
	ways := 0
	for _, is := range []bool{u.Token != "", u.TokenFile != "", u.AppRole != "", u.Kubernetes != "", u.Cert} {
		if is {
			ways++
		}
	}
	switch {
	case u.URL == "" || u.Root == "":
		return errors.New("vault needs `root FILE`")
	case u.Verbatim && u.CEL:
		return errors.New("vault: `verbatim` and `cel` are two ways to sign: write one of them")
	case u.Role == "" && !u.Verbatim:
		return errors.New("vault needs `role NAME`")
	case ways != 1:
		return errors.New("vault needs one way to log in: `token`, `token_file`, `approle`, `kubernetes` or `cert`")
	case u.AppRole != "" && (u.SecretID == "") == (u.SecretIDFile == ""):
		return errors.New("vault: `approle` needs `secret_id PLACEHOLDER` or `secret_id_file FILE`")
	case u.AppRole == "" && (u.SecretID != "" || u.SecretIDFile != ""):
		return errors.New("vault: a secret_id is for `approle`")
	case u.Kubernetes == "" && u.JWTFile != "":
		return errors.New("vault: `jwt_file` is for `kubernetes`")
	}
	for name, value := range map[string]string{"token": u.Token, "secret_id": u.SecretID} {
		if value != "" && (!strings.HasPrefix(value, "{") || !strings.HasSuffix(value, "}")) {
			return fmt.Errorf("vault: `%s` is a placeholder such as {env.VAULT_SECRET} or {file./run/secrets/vault}: what is written here, Caddy shows at /config/", name)
		}
	}
	return nil
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the role_id and the files' names; those of
// a token and of a secret_id each time when they are needed.
func (u *Vault) Provision(caddy.Context) error {
	if err := u.complete(); err != nil {
		return err
	}
	err := expandAll(expandable{"url", &u.URL}, expandable{"root", &u.Root}, expandable{"tls_root", &u.TLSRoot},
		expandable{"token_file", &u.TokenFile}, expandable{"approle", &u.AppRole}, expandable{"secret_id_file", &u.SecretIDFile},
		expandable{"jwt_file", &u.JWTFile}, expandable{"certificate", &u.Certificate}, expandable{"key", &u.Key})
	if err != nil {
		return err
	}
	cfg := vault.Config{
		URL: u.URL, Namespace: u.Namespace, Mount: u.Mount, Issuer: u.Issuer, Role: u.Role, Mode: u.mode(),
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if u.pins, err = loadRoots(u.Root); err != nil {
		return err
	}
	cfg.Roots = u.pins
	if cfg.TLSRoots, err = loadOptional("tls_root", u.TLSRoot); err != nil {
		return err
	}
	if u.pair, err = loadClientPair(u.Certificate, u.Key); err != nil {
		return err
	}
	cfg.Certificate = shownBy(u.pair)
	if u.WantsOwn() {
		cfg.Certificate = u.ownCertificate
	}
	if cfg.Login, err = u.login(); err != nil {
		return err
	}
	u.Upstream, err = vault.New(cfg)
	if err != nil && !strings.HasPrefix(u.URL, "https://") {
		return fmt.Errorf("%w: write https://HOST:8200; a listener without TLS would show our token to everybody on the way", err)
	}
	return err
}

func (u *Vault) mode() vault.Mode {
	switch {
	case u.Verbatim:
		return vault.Verbatim
	case u.CEL:
		return vault.CEL
	}
	return vault.Sign
}

// login is the way that is written.
func (u *Vault) login() (l vault.Login, err error) {
	l.Mount = u.AuthMount
	switch {
	case u.Token != "":
		l.Method = vault.Token
		l.Secret, err = placeholder("token", u.Token)
	case u.TokenFile != "":
		l.Method = vault.Token
		l.Secret, err = secretFile("token_file", u.TokenFile)
	case u.AppRole != "" && u.SecretID != "":
		l.Method, l.Role = vault.AppRole, u.AppRole
		l.Secret, err = placeholder("secret_id", u.SecretID)
	case u.AppRole != "":
		l.Method, l.Role = vault.AppRole, u.AppRole
		l.Secret, err = secretFile("secret_id_file", u.SecretIDFile)
	case u.Kubernetes != "":
		l.Method, l.Role = vault.Kubernetes, u.Kubernetes
		file := u.JWTFile
		if file == "" {
			file = serviceAccount
		}
		l.Secret, err = secretFile("jwt_file", file)
	default:
		l.Method, l.Role = vault.TLS, u.CertRole
	}
	return l, err
}

// placeholder gives what a placeholder stands for whenever it is asked.
func placeholder(option, value string) (func() (secret.Text, error), error) {
	get := func() (secret.Text, error) {
		text, err := expand(option, value)
		if err != nil {
			return "", err
		}
		parsed, err := vault.ParseSecret([]byte(text))
		if err != nil {
			return "", fmt.Errorf("%s: %w", option, err)
		}
		return parsed, nil
	}
	_, err := get()
	return get, err
}

// secretFile gives what a file says, which is read again when it changes.
func secretFile(option, name string) (func() (secret.Text, error), error) {
	file, err := newChanging(func(texts [][]byte) (secret.Text, error) { return vault.ParseSecret(texts[0]) }, name)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", option, name, err)
	}
	return func() (secret.Text, error) { return file.now(), nil }, nil
}

// Pins are the configured roots.
func (u *Vault) Pins() []*x509.Certificate { return u.pins }

// CarriesAsWritten is what Carries says, without reading a file.
func (u *Vault) CarriesAsWritten() policy.Capabilities { return vault.Carries(u.mode()) }

// Connections is how many requests may be at the server at once.
func (u *Vault) Connections() int { return connections(u.MaxConnections) }

// Identity is the server's address, with the issuer that stands for a CA there.
func (u *Vault) Identity() string {
	return strings.Join([]string{"vault", u.URL, u.Namespace, u.Mount, u.Issuer}, " ")
}

// IssueTimeout is how long issuing may take; 0 is the default.
func (u *Vault) IssueTimeout() time.Duration { return time.Duration(u.Timeout) }

// CRLEnabled says that reenrolment asks the issuer's CRL.
func (u *Vault) CRLEnabled() bool { return u.AskCRL }

// Needs refuses nothing: how long certificates live is the role's business, and
// what comes back is compared.
func (*Vault) Needs(time.Duration) error { return nil }

// Expiries are the first end in our client certificate's chain, where it is a
// file, and that of a token that somebody made for us.
func (u *Vault) Expiries() map[string]time.Time {
	ends := pairEnds(u.pair)
	if end := u.TokenEnd(); !end.IsZero() {
		if ends == nil {
			ends = make(map[string]time.Time)
		}
		ends["token"] = end
	}
	return ends
}

// WantsOwn says that the login is by our own certificate.
func (u *Vault) WantsOwn() bool { return u.Cert && u.Certificate == "" }

// BoundByOwn is false: a role issues for as long as it says.
func (*Vault) BoundByOwn() bool { return false }

// ownCertificate is this server's, where somebody gives it.
func (u *Vault) ownCertificate() (*tls.Certificate, error) {
	if u.own == nil {
		return nil, errors.New("nobody gives our own certificate")
	}
	return u.own()
}

// UseOwn takes what gives our own certificate.
func (u *Vault) UseOwn(give func() (*tls.Certificate, error)) { u.own = give }

var (
	_ Upstream              = (*Vault)(nil)
	_ ownUser               = (*Vault)(nil)
	_ writtenCapabilities   = (*Vault)(nil)
	_ ra.Revoker            = (*Vault)(nil)
	_ ra.CRLSource          = (*Vault)(nil)
	_ ra.Tolerance          = (*Vault)(nil)
	_ ra.Prober             = (*Vault)(nil)
	_ ra.Checker            = (*Vault)(nil)
	_ caddy.Provisioner     = (*Vault)(nil)
	_ caddyfile.Unmarshaler = (*Vault)(nil)
)
