// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/diff"
	"github.com/caddy-est/estra/ra/replay"
)

// A comparison holds the flags of `policy diff`.
type comparison struct {
	format, fail, replay string
	most                 int
}

func diffCommand() *cobra.Command {
	var c comparison
	cmd := &cobra.Command{
		Use:   "diff <old> <new> [--format text|json] [--fail wider|changed] [--replay <audit log> [--most <n>]]",
		Short: "Says what a new policy file means that the old one doesn't",
		Long: `Compares two policy files rule by rule, not line by line: what is wider (more is
let through), what is narrower, what is another value, and what decides nothing.
Defaults are written out before they are compared, and a pattern that another one
covers makes no difference.

Exit code 0 is a comparison, whatever it found. With --fail wider it is 2 when
something is wider, or changed so that this can't be told; with --fail changed when
anything is decided otherwise.

--replay puts the requests of an audit log before both files instead, and lists
those whose verdict or certificate would change. Then --fail changed is about
those, and --fail wider about the ones that only the new file allows.`,
		Example: `  caddy est policy diff policy.yaml policy.new.yaml
  caddy est policy diff policy.yaml policy.new.yaml --fail wider
  caddy est policy diff policy.yaml policy.new.yaml --replay est-audit.log`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().StringVar(&c.format, "format", "text", "text or json")
	cmd.Flags().StringVar(&c.fail, "fail", "", "wider or changed: exit code 2 when there is such a change")
	cmd.Flags().StringVar(&c.replay, "replay", "", "audit log whose requests are decided anew under both files")
	cmd.Flags().IntVar(&c.most, "most", 20, "how many requests --replay lists one by one")
	cmd.RunE = exits(c.run)
	return cmd
}

func (c *comparison) run(cmd *cobra.Command, args []string) error {
	failing, ok := map[string][]diff.Effect{
		"": nil, "wider": {diff.Wider, diff.Changed}, "changed": {diff.Wider, diff.Changed, diff.Narrower},
	}[c.fail]
	if !ok {
		return fmt.Errorf("--fail %q: want wider or changed", c.fail)
	}
	if c.format != "text" && c.format != "json" {
		return fmt.Errorf("--format %q: want text or json", c.format)
	}
	before, err := load(cmd, args[0])
	if err != nil {
		return err
	}
	after, err := load(cmd, args[1])
	if err != nil {
		return err
	}
	if c.replay != "" {
		return c.runReplay(cmd, replay.Policies{Old: before, New: after})
	}
	changes := diff.Compare(before, after)
	if c.format == "json" {
		err = writeJSON(cmd, changesJSON(changes))
	} else {
		_, err = fmt.Fprint(cmd.OutOrStdout(), diff.Text(changes))
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(changes, func(change diff.Change) bool { return slices.Contains(failing, change.Effect) }) {
		return errTold
	}
	return nil
}

// A changeJSON is one change in JSON.
type changeJSON struct {
	Path    string   `json:"path"`
	Effect  string   `json:"effect"`
	Old     string   `json:"old,omitempty"` // file:line:col
	New     string   `json:"new,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Added   []string `json:"added,omitempty"`
}

func changesJSON(changes []diff.Change) []changeJSON {
	place := func(at policy.Pos) string {
		if at.Line == 0 {
			return ""
		}
		return at.String()
	}
	list := []changeJSON{}
	for _, c := range changes {
		list = append(list, changeJSON{c.Path, c.Effect.String(), place(c.Old), place(c.New), c.Removed, c.Added})
	}
	return list
}

// writeJSON prints a value, indented.
func writeJSON(cmd *cobra.Command, value any) error {
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
