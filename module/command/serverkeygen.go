// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/estclient"
)

// A decryption holds the flags that say what the private key is encrypted for.
type decryption struct {
	id, keyFile, asymmetricID, asymmetricKey string
	withCert                                 bool
	passwordFile                             string
}

func (d *decryption) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.id, "decrypt-key-id", "", "identifier of a symmetric key, hex: the private key comes encrypted for it")
	cmd.Flags().StringVar(&d.keyFile, "decrypt-key-file", "", "file with that key: an AES key of 16 or 32 bytes in base64 or hex")
	cmd.Flags().StringVar(&d.asymmetricID, "asymm-decrypt-key-id", "", "identifier of an asymmetric key, hex")
	cmd.Flags().StringVar(&d.asymmetricKey, "asymm-decrypt-key", "", "file with the private half of that key, RSA or ECDSA, PEM")
	cmd.Flags().BoolVar(&d.withCert, "decrypt-with-cert", false, "the private key comes encrypted for the key of --cert")
	cmd.Flags().StringVar(&d.passwordFile, "p12-password-file", "", "file with a password: key and certificate come in one PKCS #12 under it")
}

// key is what is said by the flags; the certificate is that of --cert.
func (d *decryption) key(client *estclient.Client) (estclient.DecryptKey, error) {
	symmetric, asymmetric, pfx := d.id+d.keyFile != "", d.asymmetricID+d.asymmetricKey != "", d.passwordFile != ""
	said := 0
	for _, one := range []bool{symmetric, asymmetric, d.withCert, pfx} {
		if one {
			said++
		}
	}
	switch {
	case said > 1:
		return estclient.DecryptKey{}, errors.New("--decrypt-key-id, --asymm-decrypt-key-id, --decrypt-with-cert and --p12-password-file: only one of them")
	case pfx:
		password, err := firstLine(d.passwordFile)
		if err == nil && password == "" {
			err = fmt.Errorf("%s: there is no password in its first line", d.passwordFile)
		}
		return estclient.PKCS12Password(estclient.Secret(password)), err
	case symmetric:
		return d.symmetric()
	case asymmetric:
		return d.asymmetric()
	case d.withCert:
		return certificateKey(client)
	default:
		return estclient.DecryptKey{}, nil
	}
}

func (d *decryption) symmetric() (key estclient.DecryptKey, err error) {
	if d.id == "" || d.keyFile == "" {
		return key, errors.New("--decrypt-key-id and --decrypt-key-file go together")
	}
	id, err := hexID("--decrypt-key-id", d.id)
	if err != nil {
		return key, err
	}
	text, err := firstLine(d.keyFile)
	if err != nil {
		return key, err
	}
	secret, err := hex.DecodeString(text)
	if err != nil || len(secret) != 16 && len(secret) != 32 {
		if secret, err = base64.StdEncoding.DecodeString(text); err != nil || len(secret) != 16 && len(secret) != 32 {
			return key, fmt.Errorf("%s: the key is no AES key of 16 or 32 bytes in base64 or hexadecimal", d.keyFile)
		}
	}
	return estclient.SymmetricKey(id, secret), nil
}

func (d *decryption) asymmetric() (key estclient.DecryptKey, err error) {
	if d.asymmetricID == "" || d.asymmetricKey == "" {
		return key, errors.New("--asymm-decrypt-key-id and --asymm-decrypt-key go together")
	}
	id, err := hexID("--asymm-decrypt-key-id", d.asymmetricID)
	if err != nil {
		return key, err
	}
	data, err := os.ReadFile(d.asymmetricKey)
	if err != nil {
		return key, err
	}
	private, err := parseKey(d.asymmetricKey, data)
	if err != nil {
		return key, err
	}
	return estclient.AsymmetricKey(id, private)
}

// certificateKey is the key by which the client authenticates.
func certificateKey(client *estclient.Client) (key estclient.DecryptKey, err error) {
	if client.Certificate == nil {
		return key, errors.New("--decrypt-with-cert needs --cert and --cert-key")
	}
	leaf, err := x509.ParseCertificate(client.Certificate.Certificate[0])
	if err != nil {
		return key, err
	}
	private, ok := client.Certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return key, errors.New("--decrypt-with-cert: the key of the certificate isn't here")
	}
	return estclient.AsymmetricKey(cms.KeyIdentifier(leaf), private)
}

func hexID(flag, text string) ([]byte, error) {
	id, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(id) == 0 {
		return nil, fmt.Errorf("%s %q is not hexadecimal", flag, text)
	}
	return id, nil
}

func serverkeygenCommand() *cobra.Command {
	var e enrolment
	var d decryption
	var key, subject, clientCert, clientKey string
	var san []string
	cmd := &cobra.Command{
		Use:   "serverkeygen --url <url> --key <file> --subject <name>",
		Short: "Asks for a certificate and for its private key, which the server makes",
		Long: `Asks /serverkeygen for a private key and a certificate for it (RFC 7030 section 4.4).
The private key is written to a new file that its owner alone can read. It comes in
clear inside TLS, or encrypted for a key of the device's own:
  --decrypt-with-cert        the key of the certificate that authenticates
  --asymm-decrypt-key-id     a private key whose public half the server has
  --decrypt-key-id           an AES key that the server has as well
or, where the server gives out keys so, in one PKCS #12 (RFC 8295 section 8.3):
  --p12-password-file        a password that the server has as well`,
		Example: `  caddy est client serverkeygen --url https://est.example.net --cacert roots.pem \
      --cert idevid.pem --cert-key idevid.key --decrypt-with-cert \
      --subject "CN=sensor-7.devices.example.net" --key sensor-7.key --out sensor-7.pem`,
		Args: cobra.NoArgs,
	}
	e.flags(cmd)
	d.flags(cmd)
	_ = cmd.Flags().MarkHidden("key-type") // the server says which key it makes
	cmd.Flags().StringVar(&key, "key", "", "file for the private key, PEM; there must be none yet")
	cmd.Flags().StringVar(&subject, "subject", "", `subject, such as "O=Example, CN=device"`)
	cmd.Flags().StringArrayVar(&san, "san", nil, "name: dns:NAME, ip:ADDRESS, email:ADDRESS, uri:URI, upn:NAME and so on (repeatable)")
	cmd.Flags().StringVar(&clientCert, "cert", "", "certificate to authenticate with, such as an IDevID, PEM")
	cmd.Flags().StringVar(&clientKey, "cert-key", "", "private key of --cert, PEM")
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		template, err := template(subject, san)
		if err != nil {
			return err
		}
		if err := free(key); err != nil {
			return err
		}
		client, err := e.open(cmd)
		if err != nil {
			return err
		}
		if client.Certificate, err = pair(clientCert, clientKey); err != nil {
			return err
		}
		with, err := d.key(client)
		if err != nil {
			return err
		}
		done, err := client.ServerKeygen(cmd.Context(), template, with)
		if err != nil {
			return outcome(err)
		}
		if err := writeKey(key, done.Key); err != nil {
			return err
		}
		switch {
		case d.passwordFile != "":
			cmd.PrintErrln("key       in a PKCS #12, under the password")
		case done.Encrypted:
			cmd.PrintErrln("key       encrypted, and signed by " + done.Signer.Subject.String())
		default:
			cmd.PrintErrln("key       in clear, inside TLS")
		}
		return e.finish(cmd, &done.Enrolled, nil)
	})
	return cmd
}

// free wants a file that isn't there: a key that was made for nothing would be
// lost.
func free(name string) error {
	if name == "" {
		return errors.New("--key is missing: the file for the private key")
	}
	if _, err := os.Stat(name); err == nil {
		return fmt.Errorf("%s is there already", name)
	}
	return nil
}

func writeKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	defer clear(der)
	return writeNew(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
