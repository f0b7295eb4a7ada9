// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
)

// revocation is module.CertificateRevocation on its way.
type revocation module.CertificateRevocation

func (r revocation) MarshalJSON() ([]byte, error) {
	return json.Marshal(module.CertificateRevocation(r))
}

func certsRevoke() *cobra.Command {
	var k keeper
	var reason, as string
	cmd := &cobra.Command{
		Use:   "revoke --as <name> [--reason <reason>] <serial number, SHA-256 or id>",
		Short: "Has the CA revoke a certificate",
		Long: `Has the upstream that issued a certificate of the inventory revoke it, through the
running server, and marks it: it is never renewed. What the CA may have issued,
without anybody having it, is revoked by its serial number where that was chosen
here. It is recorded with who did it, as stated by --as; over Caddy's remote admin
API it is the client certificate.`,
		Example: `  caddy est certs revoke --as anna --reason keyCompromise 5b0c99`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&reason, "reason", "unspecified", "CRLReason of RFC 5280: "+strings.Join(slices.Sorted(maps.Keys(reasons)), ", "))
	cmd.Flags().StringVar(&as, "as", "", "who revokes")
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		number, ok := reasons[reason]
		switch {
		case !ok:
			return fmt.Errorf("--reason %q: want one of %s", reason, strings.Join(slices.Sorted(maps.Keys(reasons)), ", "))
		case k.direct():
			return errors.New("the running server asks the CA: leave out --store")
		}
		err := k.ask(http.MethodPost, "/est/certs/"+url.PathEscape(args[0])+"/revoke", revocation{Reason: int(number), As: as}, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "revoked: %s\n", args[0])
		return nil
	})
	return cmd
}
