// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/upstream/vault"
)

func vaultCommand() *cobra.Command {
	return group("vault <command>", "Prepares a role at a Vault or an OpenBao", vaultRoleCommand())
}

// A vaultRole holds the flags of `vault role`.
type vaultRole struct {
	validity, policy, profile, issuer string
	plain                             bool
}

func vaultRoleCommand() *cobra.Command {
	var v vaultRole
	cmd := &cobra.Command{
		Use:   "role {--max-validity <duration> | --policy <file> [--profile <name>]} [--plain] [--issuer <name>]",
		Short: "Prints the role for an upstream `vault`",
		Long: `Prints, as JSON, the role that an upstream ` + "`vault`" + ` with ` + "`cel`" + ` takes at an
OpenBao. It makes the certificate that our policy has decided, for at most the
longest validity, and never one of a CA.

With --plain it prints the role for sign/ROLE, which a Vault has, too: it fits
one profile of a policy, whose usages, validity and constant attributes it
writes.`,
		Example: `  caddy est vault role --max-validity 90d | bao write pki/cel/roles/est-ra -
  caddy est vault role --plain --policy policy.yaml | vault write pki/roles/est-ra -`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&v.validity, "max-validity", "", "longest validity of the policy, such as 90d")
	cmd.Flags().StringVar(&v.policy, "policy", "", "policy file, for its longest validity, and for --plain")
	cmd.Flags().StringVar(&v.profile, "profile", "", "profile of the policy (default: its only one)")
	cmd.Flags().BoolVar(&v.plain, "plain", false, "the role for sign/ROLE")
	cmd.Flags().StringVar(&v.issuer, "issuer", "", "issuer in the mount (default: default)")
	cmd.RunE = exits(v.run)
	return cmd
}

func (v *vaultRole) run(cmd *cobra.Command, _ []string) error {
	text, err := v.role(cmd)
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

func (v *vaultRole) role(cmd *cobra.Command) ([]byte, error) {
	switch {
	case (v.validity == "") == (v.policy == ""):
		return nil, errors.New("one of --max-validity and --policy is needed: how long certificates live")
	case v.plain && v.policy == "":
		return nil, errors.New("--plain needs --policy: the role fits one of its profiles")
	case v.profile != "" && v.policy == "":
		return nil, errors.New("--profile needs --policy")
	}
	if v.policy == "" {
		longest, err := caddy.ParseDuration(v.validity)
		if err != nil || longest < time.Second {
			return nil, fmt.Errorf("--max-validity %q: want a duration such as 90d or 12h", v.validity)
		}
		return vault.CELRole(longest, v.issuer)
	}
	p, err := load(cmd, v.policy)
	if err != nil {
		return nil, err
	}
	profile, err := v.find(p)
	if err != nil {
		return nil, err
	}
	outline := profile.Outline()
	if !v.plain {
		return vault.CELRole(outline.Longest, v.issuer)
	}
	return plainRole(outline, v.issuer)
}

func (v *vaultRole) find(p *policy.Policy) (*policy.Profile, error) {
	var names []string
	for _, profile := range p.Profiles() {
		if profile.Name() == v.profile || v.profile == "" && len(p.Profiles()) == 1 {
			return profile, nil
		}
		names = append(names, profile.Name())
	}
	if v.profile == "" {
		return nil, fmt.Errorf("--profile is needed: %s has %s", v.policy, strings.Join(names, ", "))
	}
	return nil, refusal{fmt.Errorf("%s has no profile %s; there is: %s", v.policy, v.profile, strings.Join(names, ", "))}
}

// plainRole refuses a profile that sign/ROLE can't be told.
func plainRole(o policy.Outline, issuer string) ([]byte, error) {
	can := vault.Carries(vault.Sign)
	options := vault.RoleOptions{
		KeyUsage: o.KeyUsage, ExtKeyUsage: o.ExtKeyUsage, Longest: o.Longest, Issuer: issuer, Wildcards: o.Wildcards,
		SerialNumber: slices.Contains(o.Types, "2.5.4.5"), UserID: slices.Contains(o.Types, "0.9.2342.19200300.100.1.1"),
		IP: slices.Contains(o.Forms, csr.IP), URI: slices.Contains(o.Forms, csr.URI), OtherName: slices.Contains(o.Forms, csr.OtherName),
	}
	for _, rdn := range o.Subject {
		if slices.Contains(can.Fixed, rdn[0].Type.String()) {
			options.Subject = append(options.Subject, rdn)
		}
	}
	for _, oid := range o.Types {
		constant := slices.ContainsFunc(o.Subject, func(rdn csr.RDN) bool { return rdn[0].Type.String() == oid })
		if !can.Attribute(oid) && (!constant || !slices.Contains(can.Fixed, oid)) {
			id, _ := csr.TypeOID(oid)
			return nil, refusal{fmt.Errorf("the profile takes the subject attribute %s, which sign/ROLE can't be told", csr.TypeName(id))}
		}
	}
	return vault.Role(options)
}
