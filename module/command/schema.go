// SPDX-License-Identifier: Apache-2.0

package command

import (
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
)

func schemaCommand() *cobra.Command {
	var tests bool
	cmd := &cobra.Command{
		Use:   "schema [--tests]",
		Short: "Prints the JSON Schema of a policy file, for editors",
		Long: `Prints the JSON Schema (draft 2020-12) of a policy file, made from the table of
the language. Editors complete and check a policy with it while it is written;
what makes sense, 'caddy est policy check' alone says.

With the YAML language server, a first line in the policy names it:
  # yaml-language-server: $schema=policy.schema.json`,
		Example: `  caddy est policy schema > policy.schema.json`,
		Args:    cobra.NoArgs,
		RunE: exits(func(cmd *cobra.Command, _ []string) error {
			schema := policy.Schema()
			if tests {
				schema = policy.TestSchema()
			}
			_, err := cmd.OutOrStdout().Write(schema)
			return err
		}),
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "the schema of a test file")
	return cmd
}
