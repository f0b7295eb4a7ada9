// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra/store"
)

func certsCommand() *cobra.Command {
	return group("certs <command>", "Works with the inventory of certificates", certsList(), certsShow(), certsRevoke(),
		certsBlock("block", "Has a certificate never renewed", "A renewal of it is refused from now on, and the CA isn't told. To have the CA\nrevoke it, use `certs revoke`."),
		certsBlock("unblock", "Lets a certificate be renewed again", "Takes back `certs block`."),
		certsImport())
}

// mostPage is how many entries are asked for at once.
const mostPage = 1000

func certsList() *cobra.Command {
	var k keeper
	var q store.CertificateQuery
	var state, format, endsFrom, endsBefore string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists certificates that were asked for, or imported",
		Long: `Lists the inventory, newest first: what was asked for and what became of it.
States are asked (the CA is being asked), pending (the CA has not decided yet),
issued, withheld (the CA has issued something else than was ordered) and unknown
(the CA may have issued it). All that is given must apply.`,
		Example: `  caddy est certs list --name rtr-7
  caddy est certs list --doubtful
  caddy est certs list --ends-before 30d --format csv`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&state, "state", "", "asked, pending, issued, withheld or unknown")
	cmd.Flags().StringVar(&q.Upstream, "upstream", "", "of this upstream")
	cmd.Flags().StringVar(&q.Profile, "profile", "", "of this profile")
	cmd.Flags().StringVar(&q.Name, "name", "", "a part of subject or alternative names")
	cmd.Flags().StringVar(&q.Serial, "serial", "", "with this serial number, hexadecimal")
	cmd.Flags().StringVar(&endsFrom, "ends-from", "", "that end at this time or later: RFC 3339, or from now, such as 30d")
	cmd.Flags().StringVar(&endsBefore, "ends-before", "", "that end before this time")
	cmd.Flags().BoolVar(&q.Doubtful, "doubtful", false, "what the CA may have issued, without anybody knowing")
	cmd.Flags().BoolVar(&q.Revoked, "revoked", false, "what is revoked")
	cmd.Flags().BoolVar(&q.Blocked, "blocked", false, "what is blocked")
	cmd.Flags().StringVar(&format, "format", "text", "text, csv or json")
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) (err error) {
		q.State, q.Now = store.CertificateState(state), time.Now()
		if q.EndsFrom, err = moment("--ends-from", endsFrom, q.Now); err != nil {
			return err
		}
		if q.EndsBefore, err = moment("--ends-before", endsBefore, q.Now); err != nil {
			return err
		}
		print, err := certPrinter(cmd.OutOrStdout(), format)
		if err != nil {
			return err
		}
		return k.eachPage(cmd.Context(), q, print)
	})
	return cmd
}

// moment reads a time, or how long from now that is.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if count, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.Atoi(count); err == nil {
			return now.AddDate(0, 0, days), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d), nil
	}
	return time.Time{}, fmt.Errorf("%s %q: want a time such as 2026-12-31T00:00:00Z, or how long from now, such as 30d or 12h", flag, text)
}

// eachPage gives all entries, page by page; the last call has none.
func (k *keeper) eachPage(ctx context.Context, q store.CertificateQuery, print func([]store.Certificate) error) error {
	q.Most = mostPage
	next := func(q store.CertificateQuery) (page store.CertificatesJSON, err error) {
		err = k.ask(http.MethodGet, "/est/certs?"+module.CertificateValues(q).Encode(), nil, &page)
		return page, err
	}
	if k.direct() {
		s, err := k.open(ctx)
		if err != nil {
			return err
		}
		defer s.Close() //nolint:errcheck // it was only read
		next = func(q store.CertificateQuery) (store.CertificatesJSON, error) { return s.Certificates().List(ctx, q) }
	}
	for {
		page, err := next(q)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			if err := print(page); err != nil {
				return err
			}
		}
		if len(page) < q.Most {
			return print(nil)
		}
		q.Before = page[len(page)-1].ID
	}
}

// certPrinter prints pages in a format, until it gets none.
func certPrinter(to io.Writer, format string) (func([]store.Certificate) error, error) {
	switch format {
	case "text":
		w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SERIAL\tSTATE\tENDS\tUPSTREAM\tPROFILE\tNAMES")
		return func(page []store.Certificate) error {
			for _, c := range page {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Serial, standing(c), instant(c.NotAfter), c.Upstream, c.Profile, c.Names)
			}
			return w.Flush() // a long list has a table for each page
		}, nil
	case "csv":
		w := csv.NewWriter(to)
		if err := w.Write([]string{"id", "serial", "state", "not_before", "not_after", "upstream", "profile", "label", "identity", "names", "revoked", "reason", "blocked", "sha256"}); err != nil {
			return nil, err
		}
		return func(page []store.Certificate) error {
			for _, c := range page {
				reason := ""
				if !c.Revoked.IsZero() {
					reason = strconv.Itoa(c.Reason)
				}
				_ = w.Write([]string{
					c.ID, c.Serial, standing(c), instant(c.NotBefore), instant(c.NotAfter), c.Upstream, c.Profile, c.Label, c.Identity, c.Names,
					instant(c.Revoked), reason, instant(c.Blocked), sumOf(c.SHA256),
				}) // Flush has the error
			}
			w.Flush()
			return w.Error()
		}, nil
	case "json":
		return func(page []store.Certificate) error { return printJSONLines(to, page) }, nil
	default:
		return nil, fmt.Errorf("--format %q: want text, csv or json", format)
	}
}

// printJSONLines prints one entry a line.
func printJSONLines(to io.Writer, page []store.Certificate) error {
	for i := range page {
		text, err := json.Marshal(store.CertificatesJSON(page[i : i+1]))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(to, "%s\n", text[1:len(text)-1]); err != nil {
			return err
		}
	}
	return nil
}

func sumOf(sum [32]byte) string {
	if sum == [32]byte{} {
		return ""
	}
	return fmt.Sprintf("%x", sum)
}

// standing is the state of a certificate, and what was done to it since.
func standing(c store.Certificate) string {
	switch {
	case !c.Revoked.IsZero():
		return "revoked"
	case !c.Blocked.IsZero():
		return "blocked"
	case c.Doubtful(time.Now()):
		return "unknown"
	default:
		return string(c.State)
	}
}

func certsShow() *cobra.Command {
	var k keeper
	cmd := &cobra.Command{
		Use:   "show <serial number, SHA-256 or id>",
		Short: "Shows what is known of a certificate, and the certificate",
		Long:  `Shows an entry of the inventory, with the certificate in PEM where there is one.`,
		Args:  cobra.ExactArgs(1),
	}
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		found, err := k.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		for _, c := range found {
			if err := showCertificate(cmd.OutOrStdout(), c); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

// find gives the entries that are meant.
func (k *keeper) find(ctx context.Context, which string) (found store.CertificatesJSON, err error) {
	if which == "" {
		return nil, errors.New("want a serial number, a SHA-256 or an id")
	}
	err = k.use(ctx, func(s store.Store) (err error) {
		found, err = module.FindCertificates(ctx, s.Certificates(), which)
		return err
	}, http.MethodGet, "/est/certs/"+url.PathEscape(which), nil, &found)
	return found, err
}

func showCertificate(to io.Writer, c store.Certificate) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("id", c.ID)
	row("state", standing(c))
	row("names", c.Names)
	row("serial", c.Serial)
	row("valid", instant(c.NotBefore)+" to "+instant(c.NotAfter))
	row("upstream", c.Upstream)
	row("profile", c.Profile)
	row("label", c.Label)
	row("operation", c.Op)
	row("asked by", c.Identity)
	row("asked", instant(c.Asked))
	row("changed", instant(c.Changed))
	row("imported", instant(c.Imported))
	if !c.Revoked.IsZero() {
		row("revoked", fmt.Sprintf("%s, CRLReason %d, by %s", instant(c.Revoked), c.Reason, c.By))
	}
	if !c.Blocked.IsZero() {
		row("blocked", instant(c.Blocked)+", by "+c.By)
	}
	row("CA's reference", c.Ref)
	row("node", c.Node)
	row("SHA-256", sumOf(c.SHA256))
	row("key, SHA-256", sumOf(c.SPKI))
	row("replaces, SHA-256", sumOf(c.Replaces))
	if err := w.Flush(); err != nil || len(c.DER) == 0 {
		return err
	}
	if cert, err := x509.ParseCertificate(c.DER); err == nil {
		fmt.Fprintf(to, "issuer %s\n", issuerOf(cert))
	}
	return pem.Encode(to, &pem.Block{Type: "CERTIFICATE", Bytes: c.DER})
}

func certsBlock(verb, short, long string) *cobra.Command {
	var k keeper
	var as string
	cmd := &cobra.Command{
		Use:   verb + " <serial number, SHA-256 or id>",
		Short: short,
		Long:  long,
		Args:  cobra.ExactArgs(1),
	}
	if verb == "block" {
		cmd.Flags().StringVar(&as, "as", "", "who does it, for the inventory")
	}
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		err := k.use(cmd.Context(), func(s store.Store) error {
			return module.BlockCertificate(cmd.Context(), s.Certificates(), args[0], verb == "block", as)
		}, http.MethodPost, query("/est/certs/"+url.PathEscape(args[0])+"/"+verb, "as", as), nil, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%sed: %s\n", verb, args[0])
		return nil
	})
	return cmd
}
