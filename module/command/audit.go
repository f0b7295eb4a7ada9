// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra/audit/chain"
)

func auditCommand() *cobra.Command {
	return group("audit <command>", "Works with the audit chain", auditVerify(), auditExport())
}

// A chained is the files of one chain, in their order.
type chained struct {
	name  string
	files []string
}

// chainsOf takes each folder for a chain, and all files together for one.
func chainsOf(args []string) (all []chained, err error) {
	if len(args) == 0 {
		args = []string{module.DefaultAudit()}
	}
	var loose chained
	for _, name := range args {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			loose.files = append(loose.files, name)
			continue
		}
		files, err := chain.Files(name)
		if err == nil && len(files) == 0 {
			err = fmt.Errorf("%s has no file of an audit chain (audit-….jsonl)", name)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, chained{name, files})
	}
	if len(loose.files) > 0 {
		slices.SortFunc(loose.files, func(a, b string) int { return cmp.Compare(filepath.Base(a), filepath.Base(b)) })
		loose.name = loose.files[0]
		all = append(all, loose)
	}
	return all, nil
}

// read opens each file after the other, beneath one progress bar.
func (c chained) read(cmd *cobra.Command, each func(name string, file io.Reader, progress func(bytes int)) error) error {
	var total, done int64
	for _, name := range c.files {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	bar := newProgress(cmd.ErrOrStderr(), total)
	defer bar.end()
	one := func(name string) error {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // it was only read
		return each(name, file, func(bytes int) {
			done += int64(bytes)
			bar.show(done)
		})
	}
	for _, name := range c.files {
		if err := one(name); err != nil {
			return err
		}
	}
	return nil
}

func auditVerify() *cobra.Command {
	var keys []string
	var head string
	cmd := &cobra.Command{
		Use:   "verify [--key <file>]... [--head <seq:hash>] [<folder>|<file>...]",
		Short: "Finds what was changed, removed or reordered in an audit chain",
		Long: `Reads an audit chain and says whether each line follows the one before and each
checkpoint is signed. It needs nothing but the files, which a server may have in use. A
folder is one chain; files together are one. Without any it is est/audit in Caddy's
data directory.

--key is the public key that signs checkpoints (checkpoint.key.pub), kept elsewhere: without
it anybody could have written the whole chain anew with a key of his own. --head is one that
the server has logged as "audit chain signed": with it a chain is found out whose end was
cut off.

Exit codes: 0 nothing is wrong; 2 something is; 3 a file can't be read.`,
		Example: `  caddy est audit verify --key checkpoint.key.pub /var/lib/caddy/.local/share/caddy/est/audit`,
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "file of a public key that may sign checkpoints; may stand several times")
	cmd.Flags().StringVar(&head, "head", "", "head that the chain must have, SEQ:HASH")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		v, err := verifier(keys, head)
		if err != nil {
			return err
		}
		all, err := chainsOf(args)
		if err != nil {
			return err
		}
		if len(all) > 1 && head != "" {
			return errors.New("--head is of one chain, and these are several")
		}
		var wrong error
		for _, c := range all {
			if err := c.verify(cmd, v); errors.Is(err, errTold) {
				wrong = err
			} else if err != nil {
				return err
			}
		}
		return wrong
	})
	return cmd
}

func verifier(keys []string, head string) (v chain.Verifier, err error) {
	for _, name := range keys {
		key, err := chain.ReadPublicKey(name)
		if err != nil {
			return v, err
		}
		v.Keys = append(v.Keys, key)
	}
	if head != "" {
		v.Want, err = chain.ParseHead(head)
	}
	return v, err
}

// verify takes a fresh verifier.
func (c chained) verify(cmd *cobra.Command, v chain.Verifier) error {
	out := cmd.OutOrStdout()
	fmt.Fprintln(out, c.name)
	begin := time.Now()
	err := c.read(cmd, v.Read)
	took := time.Since(begin)
	var damage *chain.Damage
	if err != nil && !errors.As(err, &damage) {
		return err
	}
	report, missed := v.End()
	printChain(out, report, len(v.Keys) > 0)
	if report.Records > 0 {
		fmt.Fprintf(out, "  read in %s, %.0f records a second\n", took.Round(time.Millisecond), float64(report.Records)/took.Seconds())
	}
	if err == nil {
		err = missed
	}
	if err != nil {
		fmt.Fprintf(out, "  wrong: %v\n", err)
		return errTold
	}
	_, err = fmt.Fprintln(out, "  nothing is wrong")
	return err
}

func printChain(out io.Writer, r chain.Report, trusted bool) {
	if r.Last == 0 {
		return
	}
	fmt.Fprintf(out, "  chain %s of node %s\n  seq %d to %d: %d records, %d checkpoints, the last at %s\n",
		r.Chain, r.Node, r.First, r.Last, r.Records, r.Checkpoints, second(r.Signed))
	for _, key := range r.Keys {
		text := "  signed by the key with SHA-256 " + chain.Fingerprint(key)
		if !trusted {
			text += ", which was not compared: give the key by --key"
		}
		fmt.Fprintln(out, text)
	}
	if r.First > 1 {
		fmt.Fprintf(out, "  older files were removed: what is before seq %d isn't here\n", r.First)
	}
	for _, seq := range r.Cuts {
		fmt.Fprintf(out, "  before seq %d the server had ended while it wrote a line\n", seq)
	}
	if r.Unsigned > 0 {
		fmt.Fprintf(out, "  not signed yet: %d records after the last checkpoint\n", r.Unsigned)
	}
}
