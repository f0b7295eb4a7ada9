// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func upstreamCommand() *cobra.Command {
	return group("upstream <command>", "Acts on the CAs of a running server", upstreamCheckCommand(), resumeCommand())
}

func resumeCommand() *cobra.Command {
	var address, config, adapter string
	cmd := &cobra.Command{
		Use:   "resume <upstream> <profile>",
		Short: "Lets a CA issue again for a profile",
		Long: `After several nonconforming certificates in a row a CA issues no more for that
profile. When the cause is found, this lets it issue again. It speaks to the
admin API of the running server.`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().StringVar(&address, "address", "", "address of the admin API, if not the default")
	cmd.Flags().StringVarP(&config, "config", "c", "", "configuration file, to find the address of the admin API")
	cmd.Flags().StringVarP(&adapter, "adapter", "a", "", "name of its config adapter")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if args[0] == "" || args[1] == "" || strings.Contains(args[0], "/") {
			return errors.New("want the names of an upstream and of a profile")
		}
		admin, err := caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter)
		if err != nil {
			return err
		}
		path := "/est/upstreams/" + url.PathEscape(args[0]) + "/resume?profile=" + url.QueryEscape(args[1])
		resp, err := caddycmd.AdminAPIRequest(admin, http.MethodPost, path, nil, nil)
		if err != nil {
			return resumeError(err)
		}
		defer resp.Body.Close()
		fmt.Fprintf(cmd.OutOrStdout(), "%s issues again for %s\n", args[0], args[1])
		return nil
	})
	return cmd
}

// resumeError tells an answer that says no from no answer. Caddy gives a text
// alone, with what the admin API says as JSON at its end.
func resumeError(err error) error {
	text, answered := strings.CutPrefix(err.Error(), "caddy responded with error")
	if !answered {
		return err
	}
	var said struct {
		Error string `json:"error"`
	}
	if at := strings.IndexByte(text, '{'); at >= 0 && json.NewDecoder(strings.NewReader(text[at:])).Decode(&said) == nil && said.Error != "" {
		return refusal{errors.New(said.Error)}
	}
	return refusal{err}
}
