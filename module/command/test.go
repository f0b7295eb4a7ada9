// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/cases"
	"github.com/caddy-est/estra/policy/report"
)

// A trial holds the flags of `policy test`.
type trial struct {
	run, format string
	verbose     bool
	least       int
}

func testCommand() *cobra.Command {
	var t trial
	cmd := &cobra.Command{
		Use:   "test <file> [<test file>...] [--run <regexp>] [--format text|json|junit] [--verbose] [--least <percent>]",
		Short: "Runs the tests of a policy file, without a server and a CA",
		Long: `Puts the cases of test files before a policy file, and says where the policy
decides otherwise than they want; then which rules of the policy no case has
asked. Without a test file named it takes those beside the policy: for
routers.yaml, routers_test.yaml and all that begin with routers_ and end so.

Exit code 0 is that all cases passed, 2 that one did not, or fewer rules were
asked than --least demands.`,
		Example: `  caddy est policy test policy.yaml
  caddy est policy test policy.yaml --run DevID --verbose
  caddy est policy test policy.yaml --format junit --least 90 > report.xml`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.Flags().StringVar(&t.run, "run", "", "regular expression: only the cases whose name it matches")
	cmd.Flags().StringVar(&t.format, "format", "text", "text, json or junit")
	cmd.Flags().BoolVar(&t.verbose, "verbose", false, "list the cases that passed, too")
	cmd.Flags().IntVar(&t.least, "least", 0, "least share of the rules that is to be asked, in percent")
	cmd.RunE = exits(t.exec)
	return cmd
}

func (t *trial) exec(cmd *cobra.Command, args []string) error {
	only, err := regexp.Compile(t.run)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	compiled, err := load(cmd, args[0])
	if err != nil {
		return err
	}
	files := args[1:]
	if len(files) == 0 {
		if files, err = beside(args[0]); err != nil {
			return err
		}
	}
	all, err := readTests(cmd, files)
	if err != nil {
		return err
	}
	result := report.Tests{Policy: args[0], Verbose: t.verbose, Run: cases.Test(compiled, all, os.DirFS(filepath.Dir(files[0])), only)}
	if len(result.Run.Results) == 0 {
		return refusal{fmt.Errorf("no case is called like --run %q", t.run)}
	}
	text, err := t.text(result)
	if err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return err
	}
	if got := result.Run.Coverage.Percent(); got < t.least {
		cmd.PrintErrf("%d %% of the rules were asked, and --least demands %d %%\n", got, t.least)
		return errTold
	}
	if result.Run.Failed() > 0 {
		return errTold
	}
	return nil
}

func (t *trial) text(result report.Tests) ([]byte, error) {
	switch t.format {
	case "text":
		return []byte(result.Text()), nil
	case "json":
		return result.JSON()
	case "junit":
		return result.JUnit()
	}
	return nil, fmt.Errorf("--format %q: want text, json or junit", t.format)
}

// beside finds the test files of a policy: those that begin like it.
func beside(name string) ([]string, error) {
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		file := filepath.Join(filepath.Dir(name), e.Name())
		if strings.HasPrefix(file, filepath.Clean(base)+"_") && (strings.HasSuffix(file, "_test.yaml") || strings.HasSuffix(file, "_test.yml")) {
			found = append(found, file)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no tests beside it: write %s_test.yaml, or name a file", name, base)
	}
	return found, nil
}

// readTests reads all files, and tells all their mistakes.
func readTests(cmd *cobra.Command, names []string) ([]policy.TestCase, error) {
	var all []policy.TestCase
	told := false
	for _, name := range names {
		src, err := module.ReadPolicy(name)
		if err != nil {
			return nil, err
		}
		file, err := policy.ParseTests(name, src)
		switch {
		case errors.Is(err, policy.ErrNotYAML), errors.Is(err, fs.ErrNotExist):
			return nil, err
		case err != nil:
			cmd.PrintErrln(err)
			told = true
		default:
			all = append(all, file.Cases...)
		}
	}
	if told {
		return nil, errTold
	}
	return all, nil
}
