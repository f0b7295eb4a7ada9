// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/srp"
	"github.com/caddy-est/estra/ra/store"
)

func srpCommand() *cobra.Command {
	return group("srp <command>", "Makes, imports, lists and revokes users of certificate-less TLS", srpAdd(), srpImport(), srpList(), srpRevoke())
}

// An srpKeeper says where the users are: in the store, or in a file.
type srpKeeper struct {
	keeper
	users, realm string
}

func (k *srpKeeper) flags(cmd *cobra.Command, realm string) {
	cmd.Flags().StringVar(&k.realm, "realm", "", realm)
	cmd.Flags().StringVar(&k.users, "file", "", "file of `verifiers` in the Caddyfile (default: the users are in the store)")
	k.keeper.flags(cmd)
}

// wantRealm refuses a realm that can't be, or none.
func (k *srpKeeper) wantRealm() error {
	if k.realm == "" {
		return errors.New("--realm is missing: the realm of the users")
	}
	return srp.CheckRealm(k.realm)
}

// use works with the users where they are. Path, body and answer are of the admin
// API.
func (k *srpKeeper) use(ctx context.Context, do func(srp.Users) error, method, path string, body json.Marshaler, answer json.Unmarshaler) error {
	if k.users != "" && (k.direct() || k.address != "" || k.config != "" || k.adapter != "") {
		return errors.New("--file is for users that are not in the store: --store, --address, --config and --adapter don't go with it")
	}
	var err error
	if k.users != "" {
		err = do(srp.NewFile(k.users, rand.Reader))
	} else {
		err = k.keeper.use(ctx, func(s store.Store) error { return do(s.SRP()) }, method, path, body, answer)
	}
	for _, no := range []error{srp.ErrUnknown, srp.ErrTaken, srp.ErrGroup} {
		if errors.Is(err, no) {
			return refusal{err}
		}
	}
	return err
}

// add puts users where they belong.
func (k *srpKeeper) add(ctx context.Context, users []srp.User, replace bool) error {
	path := "/est/srp"
	if replace {
		path += "?replace=true"
	}
	return k.use(ctx, func(u srp.Users) error { return u.Add(ctx, users, replace, time.Now()) },
		http.MethodPost, path, srp.UsersJSON(users), nil)
}

// An srpBatch holds the flags of `srp add`.
type srpBatch struct {
	srpKeeper
	group, note  string
	count, first int
	replace, csv bool
}

// A madeUser is the only place where a password stands in clear.
type madeUser struct {
	srp.User
	password secret.Text
}

func srpAdd() *cobra.Command {
	var b srpBatch
	cmd := &cobra.Command{
		Use:   "add --realm <realm> [--group <bits>] [--note <text>] [-n <number>] [--csv] <user>...",
		Short: "Makes users with a password each, and prints these this once",
		Long: `Makes a random password for each user, and prints it here and nowhere else: what is
kept, in the store of the running server or in a file, is a verifier. The password
doesn't leave this command.

In a user's name, {n} stands for its number, from --first on, and {n:4} for the same
with four digits.

The first user of a realm decides the group of all.`,
		Example: `  caddy est srp add --realm devices sensor-7
  caddy est srp add --realm devices "sensor-{n:4}" -n 500 --csv >sensors.csv
  caddy est srp add --realm devices --file /etc/est/srp.users sensor-7`,
		Args: cobra.MinimumNArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&b.group, "group", srp.DefaultGroup, "group of RFC 5054 by its bits: "+strings.Join(srp.GroupNames(), ", "))
	flags.StringVar(&b.note, "note", "", "what `list` shows beside the users")
	flags.IntVarP(&b.count, "number", "n", 1, "how many of each name")
	flags.IntVar(&b.first, "first", 1, "the number that {n} begins with")
	flags.BoolVar(&b.replace, "replace", false, "give users that are there a new password, revoked ones too")
	flags.BoolVar(&b.csv, "csv", false, "print CSV: realm, user, password")
	b.flags(cmd, "realm of the users, as the listener and the policy name it")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		made, err := b.make(args)
		if err != nil {
			return err
		}
		users := make([]srp.User, len(made))
		for i, u := range made {
			users[i] = u.User
		}
		if err := b.add(cmd.Context(), users, b.replace); err != nil {
			return err
		}
		return printUsers(cmd.OutOrStdout(), made, b.csv)
	})
	return cmd
}

// make makes the users, and keeps them nowhere.
func (b *srpBatch) make(patterns []string) (made []madeUser, err error) {
	group, err := srp.GroupNamed(b.group)
	if err := errors.Join(b.wantRealm(), err); err != nil {
		return nil, err
	}
	if b.count < 1 || b.count*len(patterns) > mostPasswords {
		return nil, fmt.Errorf("-n %d: want a number from 1 to %d", b.count, mostPasswords/len(patterns))
	}
	seen := map[string]bool{}
	for _, pattern := range patterns {
		for n := b.first; n < b.first+b.count; n++ {
			name := number(pattern, n)
			if seen[name] {
				return nil, fmt.Errorf("the user %q comes twice: write {n} where the number stands", name)
			}
			seen[name] = true
			u := madeUser{User: srp.User{Note: b.note}}
			if u.password, err = srp.NewPassword(rand.Reader); err != nil {
				return nil, err
			}
			if u.Verifier, err = srp.New(rand.Reader, group, b.realm, name, u.password); err != nil {
				return nil, err
			}
			made = append(made, u)
		}
	}
	return made, nil
}

func printUsers(out io.Writer, made []madeUser, asCSV bool) error {
	if asCSV {
		w := csv.NewWriter(out)
		rows := [][]string{{"realm", "user", "password"}}
		for _, u := range made {
			rows = append(rows, []string{u.Realm, u.Verifier.User, string(u.password)})
		}
		return w.WriteAll(rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, u := range made {
		fmt.Fprintf(w, "%s/%s\t%s\n", u.Realm, u.Verifier.User, string(u.password))
	}
	return w.Flush()
}

func srpImport() *cobra.Command {
	var k srpKeeper
	var replace bool
	cmd := &cobra.Command{
		Use:   "import --realm <realm> [--replace] <srp.vfile>",
		Short: "Takes over the users of an srp.vfile of OpenSSL",
		Long: `Reads the file that 'openssl srp' has written, and takes over all of its users or
none. Revoked ones are left out. Groups with fewer than 2048 bits are refused, and so are
those that aren't in RFC 5054, and two groups in one realm.

Their passwords stay: who can read the old file can try them. 'add --replace' makes new
ones.`,
		Example: `  caddy est srp import --realm devices /etc/est/srp.vfile`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of users that are there, revoked ones too")
	k.flags(cmd, "realm that the users go into")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if err := k.wantRealm(); err != nil {
			return err
		}
		src, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		users, err := srp.ReadVFile(args[0], k.realm, src)
		if err != nil {
			return refusal{err}
		}
		if err := k.add(cmd.Context(), users, replace); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d imported\n", k.realm, len(users))
		return nil
	})
	return cmd
}

func srpList() *cobra.Command {
	var k srpKeeper
	cmd := &cobra.Command{
		Use:   "list [--realm <realm>]",
		Short: "Lists users, without their verifiers",
		Long:  `Lists users with their states: active, or revoked.`,
		Args:  cobra.NoArgs,
	}
	k.flags(cmd, "only those of this realm")
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		var list srp.UsersJSON
		err := k.use(cmd.Context(), func(u srp.Users) (err error) {
			list, err = u.List(cmd.Context(), k.realm)
			return err
		}, http.MethodGet, query("/est/srp", "realm", k.realm), nil, &list)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "REALM\tUSER\tSTATE\tGROUP\tMADE\tREVOKED\tNOTE")
		for _, u := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", u.Realm, u.User, u.State(), u.Group.Name(), instant(u.Created), instant(u.Revoked), u.Note)
		}
		return w.Flush()
	})
	return cmd
}

// srpNames is a JSON object.
type srpNames module.SRPNames

// MarshalJSON implements json.Marshaler.
func (n srpNames) MarshalJSON() ([]byte, error) { return json.Marshal(module.SRPNames(n)) }

func srpRevoke() *cobra.Command {
	var k srpKeeper
	cmd := &cobra.Command{
		Use:   "revoke --realm <realm> <user>...",
		Short: "Shuts users out",
		Long: `Shuts users out from their next handshake on; to a client it looks as if its password
were wrong. Connections that are open stay, and so do certificates that were issued.`,
		Args: cobra.MinimumNArgs(1),
	}
	k.flags(cmd, "realm of the users")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if err := k.wantRealm(); err != nil {
			return err
		}
		err := k.use(cmd.Context(), func(u srp.Users) error { return u.Revoke(cmd.Context(), k.realm, args, time.Now()) },
			http.MethodPost, "/est/srp/revoke", srpNames{k.realm, args}, nil)
		if err != nil {
			return err
		}
		for _, name := range args {
			fmt.Fprintf(cmd.OutOrStdout(), "revoked: %s/%s\n", k.realm, name)
		}
		return nil
	})
	return cmd
}
