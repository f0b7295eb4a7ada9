// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/store"
)

func storeCommand() *cobra.Command {
	return group("store <command>", "Works with the store", storeMigrate(), storeCheck(), storeBackup(), storeRestore())
}

// allFlags are those of a keeper, with a database to open.
func (k *keeper) allFlags(cmd *cobra.Command) {
	k.flags(cmd)
	k.postgresFlag(cmd)
}

func (k *keeper) postgresFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.variable, "postgres", "", "name of the environment variable with the connection string of a PostgreSQL store")
}

// report checks the store, wherever it is.
func (k *keeper) report(ctx context.Context) (report store.Report, err error) {
	var text json.RawMessage
	err = k.use(ctx, func(s store.Store) (err error) {
		report, err = s.Upkeep().Check(ctx)
		return err
	}, http.MethodGet, "/est/store", nil, &text)
	if err == nil && text != nil {
		err = json.Unmarshal(text, &report)
	}
	return report, err
}

func storeMigrate() *cobra.Command {
	var k keeper
	cmd := &cobra.Command{
		Use:   "migrate --store <file> | --postgres <variable>",
		Short: "Brings the tables of a store up to date",
		Long: `Does what Caddy does when it starts: for a role that may change tables where
Caddy's may not, or before the nodes of a cluster get a new version, one after the
other. A database may be in use. A file may not: the server that has it open has
migrated it, and tells so without --store.`,
		Example: `  EST_ADMIN_DB=postgres://… caddy est store migrate --postgres EST_ADMIN_DB`,
		Args:    cobra.NoArgs,
	}
	k.allFlags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		report, err := k.report(cmd.Context())
		if err != nil {
			return err
		}
		switch {
		case !k.direct():
			fmt.Fprintf(cmd.OutOrStdout(), "%s: schema %d; the running server brought it up to date\n", report.Engine, report.Schema)
		case report.Was == report.Schema:
			fmt.Fprintf(cmd.OutOrStdout(), "%s: schema %d, up to date already\n", report.Engine, report.Schema)
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "%s: schema %d, was %d\n", report.Engine, report.Schema, report.Was)
		}
		return nil
	})
	return cmd
}

func storeCheck() *cobra.Command {
	var k keeper
	cmd := &cobra.Command{
		Use:   "check [--store <file> | --postgres <variable>]",
		Short: "Looks for what is wrong with a store",
		Long: `Prints the engine, the version of the tables and their rows, and what is wrong:
broken pages and indexes, entries that nothing refers to, settings of a database server with
which a crash loses data. The store may be in use. It is brought up to date where
it is opened.`,
		Args: cobra.NoArgs,
	}
	k.allFlags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		report, err := k.report(cmd.Context())
		if err != nil {
			return err
		}
		return printReport(cmd.OutOrStdout(), report)
	})
	return cmd
}

func printReport(out io.Writer, report store.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\tschema %d\n", report.Engine, report.Schema)
	for _, t := range report.Tables {
		fmt.Fprintf(table, "%s\t%d\n", t.Table, t.Rows)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, problem := range report.Problems {
		fmt.Fprintln(out, "wrong: "+problem)
	}
	if len(report.Problems) > 0 {
		return errTold
	}
	_, err := fmt.Fprintln(out, "nothing is wrong")
	return err
}

func storeBackup() *cobra.Command {
	var k keeper
	cmd := &cobra.Command{
		Use:   "backup [--store <file> | --postgres <variable>] <file>",
		Short: "Writes all that a store has into a file",
		Long: `Writes JSON lines, the same for every engine, of one instant, while the store is in
use. They end with their number and hash, so that a part or a change is found; the
file is read once more to be sure. It must not be there yet.`,
		Example: `  caddy est store backup est-$(date +%F).jsonl`,
		Args:    cobra.ExactArgs(1),
	}
	k.allFlags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		rows, err := k.backup(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d rows\n", args[0], rows)
		return nil
	})
	return cmd
}

// backup leaves a file that is whole, or none.
func (k *keeper) backup(ctx context.Context, path string) (rows int, err error) {
	if err := k.alone(); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			_ = os.Remove(path) // the error says that there is none
		}
	}()
	if err := k.copyTo(ctx, file); err != nil {
		return 0, err
	}
	if err := file.Sync(); err != nil {
		return 0, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if rows, err = store.VerifyBackup(file); err != nil {
		return 0, fmt.Errorf("the backup is not whole: %w", err)
	}
	return rows, nil
}

func (k *keeper) copyTo(ctx context.Context, to io.Writer) error {
	if k.direct() {
		return k.use(ctx, func(s store.Store) error {
			_, err := s.Upkeep().Backup(ctx, to, time.Now())
			return err
		}, "", "", nil, nil)
	}
	resp, err := k.request(http.MethodGet, "/est/store/backup", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(to, resp.Body)
	return err
}

func storeRestore() *cobra.Command {
	var k keeper
	cmd := &cobra.Command{
		Use:   "restore --store <file> | --postgres <variable> <backup>",
		Short: "Makes a store of a backup",
		Long: `Restores what 'backup' wrote, of any engine, into a file that isn't there yet or an
empty database: all of it or nothing. A store that has something is never written
over. Stop the servers before, and start them on what was restored.

A backup brings back passwords that were used since it was made: 'caddy est otp list'
shows them, 'caddy est otp revoke' ends them.`,
		Example: `  caddy est store restore --store /var/lib/caddy/est/store.db est-2026-11-01.jsonl`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&k.file, "store", "", "file of the new store")
	k.postgresFlag(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		rows, err := k.restore(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d rows were restored\n", rows)
		return nil
	})
	return cmd
}

func (k *keeper) restore(ctx context.Context, path string) (rows int, err error) {
	if err := k.alone(); err != nil {
		return 0, err
	}
	if !k.direct() {
		return 0, errors.New("say where to: --store FILE, or --postgres VARIABLE")
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // it is only read
	if _, err := store.VerifyBackup(file); err != nil {
		return 0, refusal{fmt.Errorf("%s: %w", path, err)}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if k.file != "" {
		return store.RestoreSQLite(ctx, k.file, file)
	}
	dsn, err := k.dsn()
	if err != nil {
		return 0, err
	}
	return store.RestorePostgres(ctx, dsn, file)
}
