// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/estclient"
)

// An enrolment holds the flags that enroll and reenroll have in common.
type enrolment struct {
	connection
	account
	keyType string
	linking bool
	output
}

// An account holds the flags of HTTP Basic.
type account struct{ user, passwordFile, passwordEnv string }

// An output holds the flags of where a certificate goes.
type output struct {
	out   string
	chain bool
}

func (e *enrolment) flags(cmd *cobra.Command) {
	e.connection.flags(cmd)
	e.waitFlag(cmd)
	e.account.flags(cmd)
	e.keyFlags(cmd)
	e.output.flags(cmd)
}

func (a *account) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.user, "user", "", "account of HTTP Basic")
	cmd.Flags().StringVar(&a.passwordFile, "password-file", "", "file whose first line is the password")
	cmd.Flags().StringVar(&a.passwordEnv, "password-env", "", "environment variable that holds the password")
}

func (e *enrolment) keyFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.keyType, "key-type", "", "key to make where there is none: "+keyTypes+" (default: what /csrattrs says, else P-256)")
	cmd.Flags().BoolVar(&e.linking, "linking", false, "bind the request to its TLS channel, also unasked (RFC 7030 section 3.5)")
}

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.out, "out", "", "file for the certificate, PEM (default: standard output)")
	cmd.Flags().BoolVar(&o.chain, "chain", false, "write the issuing certificates too, without the root")
}

// open makes the client with credentials. They are read before anything is
// sent, so that a slip in the flags costs no exchange.
func (e *enrolment) open(cmd *cobra.Command) (*estclient.Client, error) {
	credentials, err := e.credentials()
	if err != nil {
		return nil, err
	}
	client, err := e.connection.open(cmd)
	if err != nil {
		return nil, err
	}
	client.Basic, client.Link = credentials, e.linking
	return client, nil
}

func (a *account) credentials() (*estclient.Credentials, error) {
	password, given, err := readSecret("password", a.passwordFile, a.passwordEnv)
	switch {
	case err != nil:
		return nil, err
	case given:
		return &estclient.Credentials{User: a.user, Password: password}, nil
	case a.user != "":
		return nil, errors.New("--user needs --password-file or --password-env")
	default:
		return nil, nil
	}
}

// readSecret reads what --NAME-file or --NAME-env say. A secret comes from a file
// or the environment: arguments can be seen by every user of the machine.
func readSecret(name, file, env string) (text estclient.Secret, given bool, err error) {
	var secret string
	switch {
	case file != "" && env != "":
		return "", false, fmt.Errorf("--%s-file and --%[1]s-env: only one of them", name)
	case file != "":
		if secret, err = firstLine(file); err != nil {
			return "", false, err
		}
	case env != "":
		secret = os.Getenv(env)
	default:
		return "", false, nil
	}
	if secret == "" {
		return "", false, fmt.Errorf("the %s is empty", name)
	}
	return estclient.Secret(secret), true, nil
}

// firstLine reads a secret from a file.
func firstLine(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// key reads the private key in a file, or makes one there of the wanted kind:
// that of --key-type, else what the server asks for.
func (e *enrolment) key(ctx context.Context, client *estclient.Client, name string) (crypto.Signer, error) {
	kind := e.keyType
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) && kind == "" {
		wanted, err := client.Wanted(ctx)
		if err != nil {
			return nil, outcome(err)
		}
		kind = keyKind(wanted.Keys)
	}
	return keyFile(name, kind)
}

// keyKind is the kind of the server's first key, in the words of --key-type.
func keyKind(keys []policy.KeyHint) string {
	if len(keys) == 0 {
		return "P-256"
	}
	switch first := keys[0]; {
	case first.Algorithm == csr.Ed25519:
		return "ed25519"
	case first.Algorithm == csr.RSA && first.Bits == 0:
		return "rsa3072"
	case first.Algorithm == csr.RSA:
		return fmt.Sprintf("rsa%d", first.Bits)
	case first.Curve != "":
		return first.Curve
	default:
		return "P-256"
	}
}

// finish shows and writes what was issued.
func (e *enrolment) finish(cmd *cobra.Command, done *estclient.Enrolled, err error) error {
	if err != nil {
		return outcome(err)
	}
	for _, line := range details(done.Certificate) {
		cmd.PrintErrln(line)
	}
	if done.Linked != "" {
		cmd.PrintErrln("linked    by " + done.Linked)
	}
	return write(cmd, e.out, e.pem(done))
}

// pem is a certificate as it is written.
func (o *output) pem(done *estclient.Enrolled) []byte {
	certs := done.Chain[:1]
	if o.chain {
		certs = done.Chain[:max(1, len(done.Chain)-1)]
	}
	return certificatesPEM(certs...)
}

func enrollCommand() *cobra.Command {
	var e enrolment
	var h holder
	var clientCert, clientKey string
	cmd := &cobra.Command{
		Use:   "enroll --url <url> --key <file> --subject <name>",
		Short: "Asks for a first certificate",
		Example: `  caddy est client enroll --url https://est.example.net --cacert roots.pem \
      --user onboarding --password-file password --key device.key \
      --subject "CN=dev-7.devices.example.net" --san dev-7.devices.example.net --out device.pem`,
		Args: cobra.NoArgs,
	}
	e.flags(cmd)
	h.flags(cmd)
	cmd.Flags().StringVar(&clientCert, "cert", "", "certificate to authenticate with, such as an IDevID, PEM")
	cmd.Flags().StringVar(&clientKey, "cert-key", "", "private key of --cert, PEM")
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		template, err := h.template()
		if err != nil {
			return err
		}
		client, err := e.open(cmd)
		if err != nil {
			return err
		}
		if client.Certificate, err = pair(clientCert, clientKey); err != nil {
			return err
		}
		signer, err := e.key(cmd.Context(), client, h.key)
		if err != nil {
			return err
		}
		done, err := client.Enroll(cmd.Context(), signer, template)
		return e.finish(cmd, done, err)
	})
	return cmd
}

// A holder holds the flags of whom a first certificate is for.
type holder struct {
	key, subject string
	san          []string
}

func (h *holder) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&h.key, "key", "", "private key, PEM; made where there is no such file")
	cmd.Flags().StringVar(&h.subject, "subject", "", `subject, such as "O=Example, CN=device"`)
	cmd.Flags().StringArrayVar(&h.san, "san", nil, "name: dns:NAME, ip:ADDRESS, email:ADDRESS, uri:URI, upn:NAME and so on (repeatable)")
}

func (h *holder) template() (estclient.Template, error) {
	t, err := template(h.subject, h.san)
	if err == nil && h.key == "" {
		err = errors.New("--key is missing: the file of the private key")
	}
	return t, err
}

func template(subject string, san []string) (estclient.Template, error) {
	name, err := parseSubject(subject)
	if err != nil {
		return estclient.Template{}, err
	}
	names, err := parseSAN(san)
	if err != nil {
		return estclient.Template{}, err
	}
	if len(name) == 0 && len(names) == 0 {
		return estclient.Template{}, errors.New("--subject or --san is missing: who the certificate is for")
	}
	return estclient.Template{Names: csr.Names{Subject: name, SAN: names, HasSAN: len(names) > 0}}, nil
}

// pair loads a certificate with its key, or nil where neither is named.
func pair(cert, key string) (*tls.Certificate, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New("a certificate to authenticate with needs its key, and the key its certificate")
	}
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", cert, key, err)
	}
	return &loaded, nil
}

func reenrollCommand() *cobra.Command {
	var e enrolment
	var cert, key, newKey string
	cmd := &cobra.Command{
		Use:   "reenroll --url <url> --cert <file> --key <file> --new-key <file>",
		Short: "Renews a certificate, with the same names",
		Example: `  caddy est client reenroll --url https://est.example.net --cacert roots.pem \
      --cert device.pem --key device.key --new-key device-2.key --out device-2.pem`,
		Args: cobra.NoArgs,
	}
	e.flags(cmd)
	cmd.Flags().StringVar(&cert, "cert", "", "current certificate, PEM")
	cmd.Flags().StringVar(&key, "key", "", "its private key, PEM")
	cmd.Flags().StringVar(&newKey, "new-key", "", "private key of the new certificate, PEM; made where there is no such file (default: the same key)")
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		current, err := pair(cert, key)
		if err != nil {
			return err
		}
		if current == nil {
			return errors.New("--cert and --key are missing: the certificate to renew, and its key")
		}
		client, err := e.open(cmd)
		if err != nil {
			return err
		}
		if newKey == "" {
			newKey = key
		}
		signer, err := e.key(cmd.Context(), client, newKey)
		if err != nil {
			return err
		}
		done, err := client.Reenroll(cmd.Context(), *current, signer)
		return e.finish(cmd, done, err)
	})
	return cmd
}
