// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/report"
)

// A check holds the flags of `policy check`.
type check struct{ format, config, adapter string }

func checkCommand() *cobra.Command {
	var c check
	cmd := &cobra.Command{
		Use:   "check <file> [--format <format>] [--config <file>]",
		Short: "Says whether a policy file is right, and what of it deserves a look",
		Long: `Reads and compiles a policy file. Every mistake begins with file:line:column;
warnings and notes tell what loosens, and what means less than it seems to.

With --config it also says whether the anchors, accounts, providers and
upstreams that the policy names are in the configuration, and which anchors have
no revocation. What a CA or a key file alone could tell, 'caddy validate' says.

Formats: text; json; sarif, which is SARIF 2.1.0 for code review, with paths
relative to the working directory.`,
		Example: `  caddy est policy check policy.yaml
  caddy est policy check policy.yaml --format sarif > policy.sarif`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&c.format, "format", "text", "text, json or sarif")
	cmd.Flags().StringVarP(&c.config, "config", "c", "", "configuration file whose est uses the policy")
	cmd.Flags().StringVarP(&c.adapter, "adapter", "a", "", "name of its config adapter")
	cmd.RunE = exits(c.run)
	return cmd
}

func (c *check) run(cmd *cobra.Command, args []string) error {
	if !slices.Contains([]string{"text", "json", "sarif"}, c.format) {
		return fmt.Errorf("--format %q: want text, json or sarif", c.format)
	}
	src, err := module.ReadPolicy(args[0])
	if err != nil {
		return err
	}
	environments, err := c.environments(args[0])
	if err != nil {
		return err
	}
	result, err := checked(args[0], src, environments)
	if errors.Is(err, policy.ErrNotYAML) && c.format == "text" {
		return err
	}
	if told := c.print(cmd, result); told != nil {
		return told
	}
	switch {
	case errors.Is(err, policy.ErrNotYAML):
		return errUnreadable
	case !result.OK():
		return errTold
	}
	return nil
}

// environments are what the configuration of --config offers. Without one
// there is none to hold the policy against.
func (c *check) environments(name string) ([]policy.Environment, error) {
	if c.config == "" {
		return nil, nil
	}
	config, _, _, err := caddycmd.LoadConfig(c.config, c.adapter)
	if err != nil {
		return nil, err
	}
	return module.Environments(config, name)
}

// checked compiles a policy, and holds it against each environment. The error
// is what is wrong with the file, which the result has, too.
func checked(name string, src []byte, environments []policy.Environment) (report.Check, error) {
	result := report.Check{File: name}
	if len(environments) == 0 {
		compiled, err := compile(name, src)
		if err != nil {
			result.Entries = report.Mistakes(err)
			return result, err
		}
		result.Entries = report.Lint(compiled.Lint())
		result.Name, result.SHA256, result.Profiles = compiled.Name(), compiled.SHA256(), len(compiled.Profiles())
		return result, nil
	}
	var wrong error
	for _, env := range environments {
		compiled, err := compile(name, src)
		if err != nil {
			result.Entries = report.Mistakes(err)
			return result, err
		}
		err = compiled.Bind(env)
		wrong = errors.Join(wrong, err)
		result.Name, result.SHA256, result.Profiles = compiled.Name(), compiled.SHA256(), len(compiled.Profiles())
		result.Add(report.Mistakes(err)...)
		result.Add(report.Lint(compiled.Lint())...)
	}
	return result, wrong
}

func (c *check) print(cmd *cobra.Command, result report.Check) error {
	out := cmd.OutOrStdout()
	var text []byte
	var err error
	switch c.format {
	case "json":
		text, err = result.JSON()
	case "sarif":
		root, failed := os.Getwd()
		if failed != nil {
			return failed
		}
		text, err = result.SARIF(root)
	default:
		for _, e := range result.Entries {
			if e.Level == report.Error {
				cmd.PrintErr(e.Text())
			} else {
				fmt.Fprint(out, e.Text())
			}
		}
		if result.OK() {
			fmt.Fprintf(out, "%s: ok, %s, %s, %s\n    sha256 %s\n", result.File, count(result.Profiles, "profile"),
				count(result.Count(report.Warning), "warning"), count(result.Count(report.Note), "note"), result.SHA256)
		}
		return nil
	}
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// compile reads and compiles the text of a policy file.
func compile(name string, src []byte) (*policy.Policy, error) {
	file, err := policy.Parse(name, src)
	if err != nil {
		return nil, err
	}
	return policy.Compile(file, os.DirFS(filepath.Dir(name)))
}

// load compiles a policy file. Mistakes are printed, one below the other, and
// give errTold.
func load(cmd *cobra.Command, name string) (*policy.Policy, error) {
	src, err := module.ReadPolicy(name)
	if err != nil {
		return nil, err
	}
	compiled, err := compile(name, src)
	if err == nil || errors.Is(err, policy.ErrNotYAML) {
		return compiled, err
	}
	for _, e := range report.Mistakes(err) {
		cmd.PrintErr(e.Text())
	}
	return nil, errTold
}
