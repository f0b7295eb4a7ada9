// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra"
)

func upstreamCheckCommand() *cobra.Command {
	var address, config, adapter, probe, profile, format string
	cmd := &cobra.Command{
		Use:   "check [<upstream>]",
		Short: "Asks the CAs of a running server how they are",
		Long: `Asks each CA, or the one that is named, through the running server: whether it
answers, its chain, our credential and how long it lives, the template or role
that issues, its CRL, its clock. With --probe it has one certificate issued for
that host name, compares it with what was planned, and has it revoked.

The exit code is 2 where something is bad.`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&probe, "probe", "", "host name to have a certificate issued for, which is then revoked")
	cmd.Flags().StringVar(&profile, "profile", "", "profile whose usages and validity the probe has (default: the first of the upstream)")
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	cmd.Flags().StringVar(&address, "address", "", "address of the admin API, if not the default")
	cmd.Flags().StringVarP(&config, "config", "c", "", "configuration file, to find the address of the admin API")
	cmd.Flags().StringVarP(&adapter, "adapter", "a", "", "name of its config adapter")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if format != "text" && format != "json" {
			return fmt.Errorf("--format %q: want text or json", format)
		}
		if profile != "" && probe == "" {
			return errors.New("--profile is for a probe: add --probe NAME")
		}
		query := url.Values{"probe": {probe}, "profile": {profile}}
		if len(args) > 0 {
			query.Set("upstream", args[0])
		}
		admin, err := caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter)
		if err != nil {
			return err
		}
		resp, err := caddycmd.AdminAPIRequest(admin, http.MethodPost, "/est/check?"+query.Encode(), nil, nil)
		if err != nil {
			return resumeError(err)
		}
		defer resp.Body.Close()
		var all []module.CheckedUpstream
		if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
			return fmt.Errorf("the answer of the admin API can't be read: %w", err)
		}
		if format == "json" {
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetIndent("", "  ")
			err = out.Encode(all)
		} else {
			err = printChecks(cmd.OutOrStdout(), all)
		}
		if err == nil && anyBad(all) {
			return errTold
		}
		return err
	})
	return cmd
}

func printChecks(to io.Writer, all []module.CheckedUpstream) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "UPSTREAM\tWHAT\tRESULT\tDETAIL")
	for _, u := range all {
		for _, c := range u.Checks {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", u.Upstream, c.What, c.Result, c.Detail)
		}
	}
	return table.Flush()
}

func anyBad(all []module.CheckedUpstream) bool {
	for _, u := range all {
		for _, c := range u.Checks {
			if c.Result == ra.Bad {
				return true
			}
		}
	}
	return false
}
