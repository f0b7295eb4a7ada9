// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/format"
)

func formatCommand() *cobra.Command {
	var write, check bool
	cmd := &cobra.Command{
		Use:   "fmt <file>... [--write | --check]",
		Short: "Gives policy files their one canonical indentation",
		Long: `Indents a policy file, or its test file, in the one canonical way: two spaces for
each level. It moves white space and nothing else: comments stay, nothing is
sorted, and what the file means is the same, which is made sure of.

Without a flag the text is on standard output.`,
		Example: `  caddy est policy fmt --write policy.yaml
  caddy est policy fmt --check policy.yaml policy_test.yaml`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "rewrite the files in place")
	cmd.Flags().BoolVar(&check, "check", false, "write nothing: print the files that aren't canonical, and exit 2 if there is one")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if write && check || len(args) > 1 && !write && !check {
			return errors.New("give one of --write and --check, or one file alone")
		}
		var told error
		for _, name := range args {
			if err := formatFile(cmd, name, write, check); errors.Is(err, errTold) {
				told = err
			} else if err != nil {
				return err
			}
		}
		return told
	})
	return cmd
}

func formatFile(cmd *cobra.Command, name string, write, check bool) error {
	src, err := module.ReadPolicy(name)
	if err != nil {
		return err
	}
	made, err := format.Source(name, src)
	if errors.Is(err, policy.ErrNotYAML) {
		return err
	}
	if err != nil {
		cmd.PrintErrln(err)
		return errTold
	}
	switch {
	case !write && !check:
		_, err = cmd.OutOrStdout().Write(made)
		return err
	case bytes.Equal(src, made):
		return nil
	case check:
		fmt.Fprintln(cmd.OutOrStdout(), name)
		return errTold
	}
	return replaceFile(name, made)
}

// replaceFile puts a text in the place of a file, whole or not at all: who
// reads it meanwhile has the old one or the new one.
func replaceFile(name string, text []byte) error {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	made, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return err
	}
	_, err = made.Write(text)
	err = errors.Join(err, made.Chmod(info.Mode().Perm()), made.Sync(), made.Close())
	if err == nil {
		err = os.Rename(made.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(made.Name()))
	}
	return nil
}
