// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/estclient"
)

func fullCMCCommand() *cobra.Command {
	cmd := group("fullcmc <command>", "Asks by Full CMC (RFC 5272), which also revokes",
		cmcEnroll(), cmcRenew(), cmcBatch(), cmcRevoke(), cmcQuery())
	cmd.Long = `Sends Full PKI Requests to /fullcmc (RFC 7030 section 4.3). Who asks is what the
message itself proves:
  --cert FILE, --cert-key FILE   a certificate signs: an IDevID, or that of a
                                 registration authority for others
  --secret-file FILE             a shared secret, such as a one-time password;
                                 its id is the --identification
Without a certificate, the key of the first request signs. The answer must be
signed by the server, by the CA, or by who has id-kp-cmcCA or id-kp-cmcRA under
the trust anchors.`
	return cmd
}

// A cmcAsker holds the flags that all commands of Full CMC have.
type cmcAsker struct {
	enrolment
	cert, certKey, tlsCert, tlsKey        string
	identification, secretFile, secretEnv string
	mac, macHash                          bool
	anchorsOut                            string
}

// flags adds those of who asks. certs is false where the command has its own of
// the certificate that signs.
func (a *cmcAsker) flags(cmd *cobra.Command, certs bool) {
	a.connection.flags(cmd)
	a.account.flags(cmd)
	if certs {
		cmd.Flags().StringVar(&a.cert, "cert", "", "certificate that signs the message, PEM; those that lead to its CA may follow it")
		cmd.Flags().StringVar(&a.certKey, "cert-key", "", "private key of --cert, PEM")
	}
	cmd.Flags().StringVar(&a.tlsCert, "tls-cert", "", "TLS client certificate, PEM (default: the one that signs)")
	cmd.Flags().StringVar(&a.tlsKey, "tls-key", "", "private key of --tls-cert, PEM")
}

// secretFlags adds those of a shared secret.
func (a *cmcAsker) secretFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.identification, "identification", "", "whose the shared secret is, or which one, such as the id of a one-time password")
	cmd.Flags().StringVar(&a.secretFile, "secret-file", "", "file whose first line is the shared secret")
	cmd.Flags().StringVar(&a.secretEnv, "secret-env", "", "environment variable that holds the shared secret")
}

func (a *cmcAsker) macFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.mac, "mac", false, "authenticate the message by the shared secret in the place of a signature (AuthenticatedData)")
	cmd.Flags().BoolVar(&a.macHash, "mac-hash", false, "as --mac, by the SHA-256 of the secret in hex: what Estra wants of a one-time password")
}

// request begins with who asks. All files are read before anything is sent.
func (a *cmcAsker) request() (ask estclient.FullRequest, err error) {
	if ask.Signer, err = pair(a.cert, a.certKey); err != nil {
		return ask, err
	}
	a.mac = a.mac || a.macHash
	secret, given, err := readSecret("secret", a.secretFile, a.secretEnv)
	switch {
	case err != nil:
		return ask, err
	case given:
		ask.Secret = &estclient.SharedSecret{Identification: a.identification, Secret: secret}
	case a.identification != "" || a.mac:
		return ask, errors.New("--identification, --mac and --mac-hash need --secret-file or --secret-env")
	}
	if ask.MAC, ask.HashedMAC = a.mac, a.macHash; a.mac && ask.Signer != nil {
		return ask, errors.New("--mac and a certificate: a message has a MAC or a signature, and not both")
	}
	return ask, nil
}

// open makes the client, with its TLS certificate.
func (a *cmcAsker) open(cmd *cobra.Command) (*estclient.Client, error) {
	certificate, err := pair(a.tlsCert, a.tlsKey)
	if err != nil {
		return nil, err
	}
	client, err := a.enrolment.open(cmd)
	if err != nil {
		return nil, err
	}
	client.Certificate = certificate
	return client, nil
}

// tell shows what became of each part, and gives the certificates that were
// issued. The error is what the command ends with.
func (a *cmcAsker) tell(cmd *cobra.Command, done *estclient.FullAnswer, err error) ([]*estclient.Enrolled, error) {
	if done == nil {
		return nil, err
	}
	var issued []*estclient.Enrolled
	for _, part := range done.Parts {
		if part.Enrolled != nil {
			issued = append(issued, part.Enrolled)
		}
		if err == nil || part.Enrolled != nil { // else the error says it
			cmd.PrintErrln(part.What + ": " + part.Words())
		}
		if part.Enrolled != nil {
			a.show(cmd, part.Enrolled.Certificate, part.Enrolled.Linked)
		}
		if part.Query != nil {
			cmd.PrintErrln("Ask later what became of " + part.What + ", with the flags of the server and of who asks as they are here, and --key or the CSR:")
			cmd.PrintErrln("  caddy est client fullcmc query " + queryFlags(part.Query))
		}
	}
	if done.Unverified != nil {
		cmd.PrintErrln("It is not certain that the CA says so: " + done.Unverified.Error())
	}
	tellAnchors(cmd, done)
	return issued, err
}

func (a *cmcAsker) show(cmd *cobra.Command, cert *x509.Certificate, linked string) {
	for _, line := range details(cert) {
		cmd.PrintErrln(line)
	}
	if linked != "" {
		cmd.PrintErrln("linked    by " + linked)
	}
}

// finish writes what was issued to one place.
func (a *cmcAsker) finish(cmd *cobra.Command, done *estclient.FullAnswer, err error) error {
	issued, err := a.tell(cmd, done, err)
	if len(issued) == 0 {
		return err
	}
	var text []byte
	for _, one := range issued {
		text = append(text, a.pem(one)...)
	}
	return worse(err, write(cmd, a.out, text))
}

// worse keeps the refusal as it is where the files could be written: it is the
// outermost error that decides the exit code.
func worse(refused, unwritten error) error {
	if unwritten == nil {
		return refused
	}
	return errors.Join(unwritten, refused)
}

// queryFlags are those by which something pending is asked for.
func queryFlags(q *estclient.Query) string {
	flags := []string{"--token", hex.EncodeToString(q.Token)}
	if q.Transaction != nil {
		flags = append(flags, "--transaction", q.Transaction.Text(16))
	}
	if q.Nonce != nil {
		flags = append(flags, "--nonce", hex.EncodeToString(q.Nonce))
	}
	return strings.Join(flags, " ")
}

// leafOf is the certificate of a pair.
func leafOf(c *tls.Certificate) (*x509.Certificate, error) {
	if c.Leaf != nil {
		return c.Leaf, nil
	}
	return x509.ParseCertificate(c.Certificate[0])
}
