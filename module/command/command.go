// SPDX-License-Identifier: Apache-2.0

// Package command is the command tree `caddy est …`. It is thin: flags and
// files in, text and exit codes out; what is decided is decided below.
package command

import (
	"errors"
	"fmt"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Exit codes. 0 is yes; 1 is Caddy's own: a usage error.
const (
	// exitNo: the text was read and is wrong, refused or failed a test.
	exitNo = 2
	// exitUnusable: something is missing, isn't YAML, or the flags make no
	// sense.
	exitUnusable = 3
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "est",
		Usage: "<command>",
		Short: "Works with the EST registration authority (RFC 7030)",
		Long: `
Commands around the EST registration authority: policies, the provisioner at a
step-ca, the role at a Vault, an EST client, and a demonstration on this machine.

Exit codes: 0 yes; 2 the text was read and is wrong, refused or failed; 3
missing, not YAML, or flags that make no sense; 1 unknown command or flag.`,
		CobraFunc: func(cmd *cobra.Command) {
			fill(cmd, policyCommand(), stepCACommand(), vaultCommand(), clientCommand(), upstreamCommand(), digestCommand(), otpCommand(), srpCommand(), deviceCommand(), pendingCommand(), certsCommand(), storeCommand(), auditCommand(), demoCommand())
		},
	})
}

// fill makes cmd a mere group: alone it shows its help, and an unknown
// command is an error.
func fill(cmd *cobra.Command, commands ...*cobra.Command) {
	cmd.AddCommand(commands...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return cmd.Help()
	}
}

func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	fill(cmd, commands...)
	return cmd
}

// A refusal is an error that exits with exitNo: something was read, and the
// answer is no. Any other error exits with exitUnusable.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// errTold is a refusal whose reason has been printed.
var errTold error = refusal{errors.New("")}

// errUnreadable exits with exitUnusable, and its reason has been printed.
var errUnreadable = errors.New("")

// exits turns the error of a command into its exit code. The error is shown
// as it is: Caddy would put it into a log line.
func exits(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if err == nil {
			return nil
		}
		code := exitUnusable
		if _, no := err.(refusal); no { //nolint:errorlint // the outermost error decides
			code = exitNo
		}
		if text := err.Error(); text != "" {
			cmd.PrintErrln("Error: " + text)
		}
		cmd.SilenceErrors = true
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, args)
	}
}
