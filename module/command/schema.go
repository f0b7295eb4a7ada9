// SPDX-License-Identifier: Apache-2.0

package command

import (
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Prints the JSON Schema of a policy file, for editors",
		Long: `Prints the JSON Schema (draft 2020-12) of a policy file, made from the table of
the language. Editors complete and check a policy with it while it is written;
what makes sense, 'caddy est policy check' alone says.

With the YAML language server, a first line in the policy names it:
  # yaml-language-server: $schema=policy.schema.json`,
		Example: `  caddy est policy schema > policy.schema.json`,
		Args:    cobra.NoArgs,
		RunE: exits(func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(policy.Schema())
			return err
		}),
	}
}
