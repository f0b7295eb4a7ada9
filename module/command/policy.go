// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
)

func policyCommand() *cobra.Command {
	return group("policy <command>", "Checks, explains and formats policy files",
		checkCommand(), testCommand(), explainCommand(), diffCommand(), formatCommand(), schemaCommand())
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
