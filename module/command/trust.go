// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bufio"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/estclient"
)

type acceptor = func([sha256.Size]byte, []*x509.Certificate) bool

// accept says who answers for the CA certificates of a bootstrap: the
// --fingerprint, or a person at the terminal.
func (c *connection) accept(cmd *cobra.Command) (acceptor, error) {
	if c.fingerprint != "" {
		return estclient.AcceptFingerprint(c.fingerprint)
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, errors.New("nobody vouches for the server: give --cacert, --fingerprint or --system-roots (RFC 7030 section 4.1.1)")
	}
	return ask(in, cmd.ErrOrStderr()), nil
}

// noting keeps what is offered, for the message when it is not accepted.
func (c *connection) noting(accept acceptor) acceptor {
	return func(fingerprint [sha256.Size]byte, certs []*x509.Certificate) bool {
		c.offered = append(c.offered, describe(certs[0]))
		return accept(fingerprint, certs)
	}
}

// mismatch says what came in place of the root with the --fingerprint.
func (c *connection) mismatch() error {
	if len(c.offered) == 0 {
		return fmt.Errorf("%s sent no root certificate, and so none with this fingerprint", c.url)
	}
	return fmt.Errorf("%s sent no root certificate with this fingerprint, but:\n  %s\nNothing of it was accepted: ask the operator which is right (RFC 7030 section 4.1.1)",
		c.url, strings.Join(c.offered, "\n  "))
}

// ask asks a person about each root. Only the whole word is a yes.
func ask(in io.Reader, out io.Writer) acceptor {
	lines := bufio.NewScanner(in)
	return func(fingerprint [sha256.Size]byte, certs []*x509.Certificate) bool {
		fmt.Fprintf(out, "The server is not known yet. It offers this root certificate:\n")
		fmt.Fprintf(out, "  subject  %s\n", subjectOf(certs[0]))
		fmt.Fprintf(out, "  valid    %s to %s\n", day(certs[0].NotBefore), day(certs[0].NotAfter))
		fmt.Fprintf(out, "  SHA-256  %s\n", colons(fingerprint[:]))
		fmt.Fprintf(out, "Compare the fingerprint with the one that the operator gave you. Trust it? Type yes: ")
		return lines.Scan() && strings.TrimSpace(lines.Text()) == "yes"
	}
}

// subjectOf is a certificate's subject, safe for a terminal.
func subjectOf(cert *x509.Certificate) string {
	names, err := csr.NamesOf(cert)
	if err != nil {
		return "(unreadable)"
	}
	if len(names.Subject) == 0 {
		return "(empty)"
	}
	return names.Subject.String()
}
