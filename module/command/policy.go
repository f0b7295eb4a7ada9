// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
)

func policyCommand() *cobra.Command {
	return group("policy <command>", "Checks, explains and formats policy files",
		checkCommand(), explainCommand(), diffCommand(), formatCommand(), schemaCommand())
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check <file>",
		Short: "Says whether a policy file is right",
		Long: `Reads and compiles a policy file. Every mistake is a line
file:line:column: message on standard error; warnings, which tell what
loosens, are on standard output.

Whether the anchors, accounts and upstreams that the policy names exist is
said by 'caddy validate', which knows the Caddyfile.`,
		Args: cobra.ExactArgs(1),
		RunE: exits(func(cmd *cobra.Command, args []string) error {
			compiled, err := load(cmd, args[0])
			if err != nil {
				return err
			}
			for _, w := range compiled.Warnings() {
				fmt.Fprintln(cmd.OutOrStdout(), w)
			}
			n, noun := len(compiled.Profiles()), "profiles"
			if n == 1 {
				noun = "profile"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %d %s, sha256 %s\n", args[0], n, noun, compiled.SHA256())
			return nil
		}),
	}
}

// load compiles a policy file. Mistakes are printed, one a line, and give
// errTold.
func load(cmd *cobra.Command, name string) (*policy.Policy, error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file, err := policy.Parse(name, src)
	if errors.Is(err, policy.ErrNotYAML) {
		return nil, err
	}
	var compiled *policy.Policy
	if err == nil {
		compiled, err = policy.Compile(file, os.DirFS(filepath.Dir(name)))
	}
	if err != nil {
		cmd.PrintErrln(err)
		return nil, errTold
	}
	return compiled, nil
}

// profileOf finds the profile that serves a label.
func profileOf(p *policy.Policy, label string) (*policy.Profile, error) {
	if profile, ok := p.Profile(label); ok {
		return profile, nil
	}
	var labels []string
	for _, profile := range p.Profiles() {
		labels = append(labels, profile.Labels()...)
	}
	return nil, refusal{fmt.Errorf("the policy has no label %q; it has %q", label, labels)}
}
