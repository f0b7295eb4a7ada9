// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
)

func pendingCommand() *cobra.Command {
	return group("pending <command>", "Shows and decides requests that wait for approval",
		pendingList(), pendingShow(), pendingJudge("approve"), pendingJudge("deny"))
}

// An approving holds the flags by which the admin API of the running server is
// reached: on this machine, or Caddy's remote one.
type approving struct {
	address, config, adapter string
	remote, cert, key, root  string
	asJSON                   bool
}

func (a *approving) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.address, "address", "", "address of the admin API, if not the default")
	f.StringVarP(&a.config, "config", "c", "", "configuration file, to find the address of the admin API")
	f.StringVarP(&a.adapter, "adapter", "a", "", "name of its config adapter")
	f.StringVar(&a.remote, "remote", "", "address of Caddy's remote admin API, such as https://ra.example.net:2021")
	f.StringVar(&a.cert, "cert", "", "with --remote: client certificate, PEM; it says who you are")
	f.StringVar(&a.key, "key", "", "with --remote: its private key, PEM")
	f.StringVar(&a.root, "root", "", "with --remote: root certificates of the server, PEM (default: the system's)")
	f.BoolVar(&a.asJSON, "json", false, "print JSON")
}

// call asks the running server.
func (a *approving) call(cmd *cobra.Command, method, path string, said *module.PendingJudgement) ([]byte, error) {
	var text []byte
	if said != nil {
		var err error
		if text, err = json.Marshal(said); err != nil {
			return nil, err
		}
	}
	if a.remote != "" {
		return a.callRemote(cmd, method, path, text)
	}
	if a.cert != "" || a.key != "" || a.root != "" {
		return nil, errors.New("--cert, --key and --root go with --remote")
	}
	admin, err := caddycmd.DetermineAdminAPIAddress(a.address, nil, a.config, a.adapter)
	if err != nil {
		return nil, err
	}
	resp, err := caddycmd.AdminAPIRequest(admin, method, path, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(text))
	if err != nil {
		if err = resumeError(err); !errors.As(err, new(refusal)) {
			err = fmt.Errorf("%w: requests are approved over the admin API of the running server. With `admin off` in the Caddyfile there is none, and nobody can approve: "+
				"switch it on, on a Unix socket if need be (`admin unix//run/caddy/admin.sock`), or use Caddy's remote admin API (--remote)", err)
		}
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func (a *approving) callRemote(cmd *cobra.Command, method, path string, body []byte) ([]byte, error) {
	if a.address != "" || a.config != "" || a.adapter != "" {
		return nil, errors.New("--remote is another server: --address, --config and --adapter are for that of this machine")
	}
	conf, err := a.tls()
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(a.remote)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("--remote %q: want an address such as https://ra.example.net:2021", a.remote)
	}
	req, err := http.NewRequestWithContext(cmd.Context(), method, strings.TrimSuffix(a.remote, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = refusal{fmt.Errorf("caddy responded with error: HTTP %d: %s", resp.StatusCode, bytes.TrimSpace(text))}
	}
	return text, err
}

func (a *approving) tls() (*tls.Config, error) {
	if a.cert == "" || a.key == "" {
		return nil, errors.New("--remote wants --cert and --key: the client certificate is who approves")
	}
	pair, err := tls.LoadX509KeyPair(a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("--cert, --key: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if a.root != "" {
		roots, err := os.ReadFile(a.root)
		if err != nil {
			return nil, fmt.Errorf("--root: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("--root %s: there is no certificate in it", a.root)
		}
	}
	return conf, nil
}

func pendingList() *cobra.Command {
	var a approving
	var all bool
	cmd := &cobra.Command{
		Use:   "list [--all]",
		Short: "Lists requests that wait for approval",
		Long: `Lists the requests that wait for approval, and those that a CA has taken and has
yet to decide (ordered), the oldest first: of all sites, and of all nodes that share
the store. With --all also those that are approved and not fetched yet, those that
were denied, and those that were issued of late.`,
		Example: `  caddy est pending list
  caddy est pending list --all --json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&all, "all", false, "those too that are decided")
	a.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		text, err := a.call(cmd, http.MethodGet, "/est/pending", nil)
		if err != nil {
			return err
		}
		var list []module.PendingRequest
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("the answer of the admin API can't be read: %w", err)
		}
		return printPendingList(cmd.OutOrStdout(), list, all, a.asJSON)
	})
	return cmd
}

func printPendingList(out io.Writer, list []module.PendingRequest, all, asJSON bool) error {
	shown := []module.PendingRequest{}
	for _, p := range list {
		if all || p.State == "waiting" || p.State == "ordered" {
			shown = append(shown, p)
		}
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(shown)
	}
	if len(shown) == 0 {
		_, err := fmt.Fprintln(out, "nothing waits for approval, or for a CA")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tMISSING\tASKED\tEXPIRES\tPROFILE\tOP\tWHO\tNAMES")
	for _, p := range shown {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", p.ID, p.State, p.Missing, instant(p.Asked), instant(p.Expires),
			safe(p.Profile), p.Op, safe(p.Who), safe(p.Names))
	}
	return w.Flush()
}

func pendingShow() *cobra.Command {
	var a approving
	cmd := &cobra.Command{
		Use:   "show <id>",
		Short: "Shows a request that waits: who asks, for what, and what the policy says",
		Long: `Shows one request: who asks, what was asked for, the certificate that would be
issued, the findings of the policy, and what people have said of it. The policy in
force decides it anew: where it says something else than the one by which the
request waits, the difference is shown.`,
		Example: `  caddy est pending show k3q7a2mlfw`,
		Args:    cobra.ExactArgs(1),
	}
	a.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		return a.one(cmd, http.MethodGet, "/est/pending/"+url.PathEscape(args[0]), nil)
	})
	return cmd
}

// one prints the request that an answer has.
func (a *approving) one(cmd *cobra.Command, method, path string, said *module.PendingJudgement) error {
	text, err := a.call(cmd, method, path, said)
	if err != nil {
		return err
	}
	if a.asJSON {
		var out bytes.Buffer
		if err := json.Indent(&out, text, "", "  "); err != nil {
			return fmt.Errorf("the answer of the admin API can't be read: %w", err)
		}
		_, err = cmd.OutOrStdout().Write(out.Bytes())
		return err
	}
	var p module.PendingRequest
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("the answer of the admin API can't be read: %w", err)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), pendingText(p))
	return err
}

func pendingJudge(verb string) *cobra.Command {
	var a approving
	var said module.PendingJudgement
	short, long := "Approves a request that waits", `Approves a request. The device gets its certificate with its next repeat. Who asks
can't approve: the same key, the same certificate, or the same name. Where the
policy has 'approvals: 2', two people approve.

An approval is of the certificate that 'pending show' shows. Where the policy has
changed since the request came, it is decided anew: if another certificate would be
issued now, nothing is approved, and the request waits with the new one.`
	if verb == "deny" {
		short, long = "Denies a request that waits", `Denies a request, also one that is approved and not fetched yet. The device gets 403
with its next repeat, with the note where --disclose says so. The denial holds until
'pending_expiry' has passed.`
	}
	cmd := &cobra.Command{
		Use:   verb + " <id> [--as <name>] [--note <text>]",
		Short: short,
		Long: long + `

On the admin API of this machine nobody knows who you are: state it with --as; the
audit record says that it was stated. Over Caddy's remote admin API (--remote) it is
your client certificate.`,
		Example: "  caddy est pending " + verb + ` k3q7a2mlfw --as anna --note "ticket 4711"
  caddy est pending ` + verb + ` k3q7a2mlfw --remote https://ra.example.net:2021 --cert anna.pem --key anna.key --root ra-root.pem`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&said.As, "as", "", "who you are; it is recorded as stated, not as verified")
	f.StringVar(&said.Note, "note", "", "why; it goes into the audit record")
	if verb == "deny" {
		f.BoolVar(&said.Disclose, "disclose", false, "let the device read the note")
	}
	a.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		switch {
		case a.remote == "" && said.As == "":
			return errors.New("--as is missing: who decides. On the admin API of this machine nobody else says it")
		case a.remote != "" && said.As != "":
			return errors.New("--as is for the admin API of this machine: with --remote it is the client certificate")
		case said.Disclose && said.Note == "":
			return errors.New("--disclose wants a --note that the device may read")
		}
		return a.one(cmd, http.MethodPost, "/est/pending/"+url.PathEscape(args[0])+"/"+verb, &said)
	})
	return cmd
}
