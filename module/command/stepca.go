// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/ra/upstream/stepca"
)

func stepCACommand() *cobra.Command {
	return group("step-ca <command>", "Prepares a provisioner at a step-ca", templateCommand(), provisionerCommand())
}

func templateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "template",
		Short: "Prints the X.509 template of the provisioner",
		Args:  cobra.NoArgs,
		RunE: exits(func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), stepca.Template())
			return err
		}),
	}
}

// A provisioning holds the flags of `step-ca provisioner`.
type provisioning struct {
	name, validity, jwk, templateFile, roots string
	x5c                                      bool
}

func provisionerCommand() *cobra.Command {
	var p provisioning
	cmd := &cobra.Command{
		Use:   "provisioner [--name <name>] --max-validity <duration> {--jwk-out <file> | --x5c --roots <file>}",
		Short: "Prints the provisioner for step-ca, and makes its key",
		Long: `Prints the block for authority.provisioners in step-ca's ca.json. With
--template-file it also prints, on standard error, the line that adds the same
provisioner with the step command.

With --jwk-out a new private key is written to that file, which must not exist,
and its public half to FILE.pub. The private half is for the Caddyfile: who has
it can get any certificate from this provisioner. With --x5c, RA certificates
under --roots take the place of the key.`,
		Example: `  caddy est step-ca provisioner --max-validity 90d --jwk-out est-ra.jwk
  caddy est step-ca provisioner --max-validity 90d --x5c --roots ra-roots.pem`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&p.name, "name", "est-ra", "name of the provisioner")
	cmd.Flags().StringVar(&p.validity, "max-validity", "", "longest validity of the policy, such as 90d")
	cmd.Flags().StringVar(&p.jwk, "jwk-out", "", "file for the new private key")
	cmd.Flags().StringVar(&p.templateFile, "template-file", "", "file at the step-ca with the template (default: it is in the block)")
	cmd.Flags().BoolVar(&p.x5c, "x5c", false, "an X5C provisioner, for RA certificates")
	cmd.Flags().StringVar(&p.roots, "roots", "", "roots of the RA certificates, PEM")
	cmd.RunE = exits(p.run)
	return cmd
}

func (p *provisioning) run(cmd *cobra.Command, _ []string) error {
	options, err := p.options()
	if err != nil {
		return err
	}
	credential := p.roots
	if !p.x5c {
		var private *jose.JSONWebKey
		if private, options.JWK, err = stepca.NewJWK(); err != nil {
			return err
		}
		credential = p.jwk + ".pub"
		if err := p.writeKeys(private, options.JWK, credential); err != nil {
			return err
		}
	}
	block, err := stepca.Provisioner(options)
	if err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(block); err != nil {
		return err
	}
	if p.templateFile == "" {
		return nil
	}
	line, err := stepca.ProvisionerCommand(options, credential)
	if err != nil {
		return err
	}
	cmd.PrintErrln(line)
	return nil
}

// options checks the flags before a key is written.
func (p *provisioning) options() (stepca.ProvisionerOptions, error) {
	o := stepca.ProvisionerOptions{Name: p.name, TemplateFile: p.templateFile}
	if p.name == "" {
		return o, errors.New("--name is empty")
	}
	if p.validity == "" {
		return o, errors.New("--max-validity is missing: the longest validity of the policy, such as 90d")
	}
	validity, err := caddy.ParseDuration(p.validity)
	if err != nil || validity < time.Second {
		return o, fmt.Errorf("--max-validity %q: want a duration such as 90d or 12h", p.validity)
	}
	o.MaxDuration = validity
	switch {
	case p.x5c && p.jwk != "", !p.x5c && p.roots != "":
		return o, errors.New("--jwk-out is for a JWK provisioner, --roots for --x5c: only one of the two")
	case p.x5c && p.roots == "":
		return o, errors.New("--x5c needs --roots: the roots of the RA certificates")
	case !p.x5c && p.jwk == "":
		return o, errors.New("--jwk-out is missing: the file for the new private key")
	case p.x5c:
		o.Roots, err = readCertificates(p.roots)
		return o, err
	}
	return o, nil
}

// writeKeys writes both halves. The files must not exist: a key that a
// step-ca knows is not lost by a slip.
func (p *provisioning) writeKeys(private, public *jose.JSONWebKey, publicName string) error {
	for _, half := range []struct {
		name string
		key  *jose.JSONWebKey
	}{{p.jwk, private}, {publicName, public}} {
		data, err := json.MarshalIndent(half.key, "", "  ")
		if err != nil {
			return errors.New("the key can't be written as JSON")
		}
		if err := writeNew(half.name, append(data, '\n')); err != nil {
			return err
		}
	}
	return nil
}
