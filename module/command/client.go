// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/estclient"
)

func clientCommand() *cobra.Command {
	cmd := group("client <command>", "Speaks to an EST server as a device does",
		cacertsCommand(), csrattrsCommand(), enrollCommand(), reenrollCommand(), serverkeygenCommand(), fullCMCCommand())
	cmd.Long = `An EST client (RFC 7030) for any EST server. Whom it trusts is said by one of:
  --cacert FILE       the CA certificates, from an earlier 'client cacerts'
  --fingerprint HEX   fetch them, and take the root with this SHA-256 or
                      SHA-512 fingerprint (RFC 7030 section 4.1.1)
  --system-roots      the server is verified under this machine's roots
With none of them, at a terminal, you are shown the fingerprint and asked.
Until then no credential is sent.`
	return cmd
}

// A connection holds the flags that all client commands have.
type connection struct {
	url, label, cacert, fingerprint string
	systemRoots, tls12              bool
	timeout, wait                   time.Duration

	offered []string // the roots that a bootstrap was offered
}

func (c *connection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.url, "url", "", "EST server: https://host[:port]")
	cmd.Flags().StringVar(&c.label, "label", "", "label of the path (RFC 7030 section 3.2.2)")
	cmd.Flags().StringVar(&c.cacert, "cacert", "", "file with the explicit trust anchors, PEM")
	cmd.Flags().StringVar(&c.fingerprint, "fingerprint", "", "SHA-256 or SHA-512 of the root certificate, hex")
	cmd.Flags().BoolVar(&c.systemRoots, "system-roots", false, "verify the server under this machine's roots")
	cmd.Flags().BoolVar(&c.tls12, "tls12", false, "stop at TLS 1.2")
	cmd.Flags().DurationVar(&c.timeout, "timeout", 30*time.Second, "longest time for one exchange")
}

// waitFlag is for what can be pending.
func (c *connection) waitFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&c.wait, "wait", 0, "how long to repeat a request that waits for approval (202), such as 2h; 0: ask once")
}

// open makes the client, with trust anchors.
func (c *connection) open(cmd *cobra.Command) (*estclient.Client, error) {
	if c.url == "" {
		return nil, errors.New("--url is missing: https://host[:port] of the EST server")
	}
	client := &estclient.Client{URL: c.url, Label: c.label, Timeout: c.timeout, UserAgent: "estra-client"}
	client.Wait = c.wait
	client.Waits = func(pending *estclient.StatusError, after time.Duration) {
		cmd.PrintErrf("the request waits for a decision (request %s); it is sent again in %s\n", pending.RequestID, after.Round(time.Second))
	}
	if c.tls12 {
		client.MaxVersion = tls.VersionTLS12
	}
	if err := client.Check(); err != nil {
		return nil, err
	}
	switch {
	case c.cacert != "" && c.fingerprint != "" || c.systemRoots && c.cacert+c.fingerprint != "":
		return nil, errors.New("--cacert, --fingerprint and --system-roots: only one of them")
	case c.cacert != "":
		certs, err := readCertificates(c.cacert)
		if err != nil {
			return nil, err
		}
		client.Explicit = certs
		return client, nil
	case c.systemRoots:
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		client.Implicit = roots
		return client, nil
	}
	accept, err := c.accept(cmd)
	if err != nil {
		return nil, err
	}
	err = client.Bootstrap(cmd.Context(), c.noting(accept))
	if errors.Is(err, estclient.ErrNotAccepted) && c.fingerprint != "" {
		return nil, refusal{c.mismatch()}
	}
	if err != nil {
		return nil, outcome(err)
	}
	return client, nil
}

// outcome sorts the errors of an exchange: without a connection nothing was
// said, anything else is an answer that isn't a yes.
func outcome(err error) error {
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return err
	}
	return refusal{err}
}

func cacertsCommand() *cobra.Command {
	var c connection
	var out string
	cmd := &cobra.Command{
		Use:   "cacerts --url <url>",
		Short: "Fetches the CA certificates",
		Args:  cobra.NoArgs,
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&out, "out", "", "file for the certificates, PEM (default: standard output)")
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		client, err := c.open(cmd)
		if err != nil {
			return err
		}
		certs, err := client.CACerts(cmd.Context())
		if err != nil {
			return outcome(err)
		}
		for _, cert := range certs {
			cmd.PrintErrln(describe(cert))
		}
		return write(cmd, out, certificatesPEM(certs...))
	})
	return cmd
}

func csrattrsCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "csrattrs --url <url>",
		Short: "Shows what the server wants in a request",
		Args:  cobra.NoArgs,
	}
	c.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		client, err := c.open(cmd)
		if err != nil {
			return err
		}
		list, err := client.CSRAttrs(cmd.Context())
		if err != nil {
			return outcome(err)
		}
		wanted, err := csrattrs.Read(list)
		if err != nil {
			return outcome(err)
		}
		if len(list) == 0 {
			cmd.PrintErrln("The server wants nothing special.")
		}
		for _, line := range wanted.Lines() {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
		return nil
	})
	return cmd
}

// write writes to a file, or to standard output where no file is named.
func write(cmd *cobra.Command, name string, data []byte) error {
	if name == "" || name == "-" {
		_, err := cmd.OutOrStdout().Write(data)
		return err
	}
	return os.WriteFile(name, data, 0o644) //nolint:gosec // certificates are public
}
