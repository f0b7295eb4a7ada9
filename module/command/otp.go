// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/store"
)

func otpCommand() *cobra.Command {
	return group("otp <command>", "Makes, lists and revokes one-time passwords", otpCreate(), otpList(), otpRevoke())
}

// mostPasswords is how many are made at once.
const mostPasswords = 100_000

// A batch holds the flags of `otp create`.
type batch struct {
	keeper
	label, subject, expires string
	san                     []string
	count, first            int
	csv, cmc, cmcV1         bool
}

func otpCreate() *cobra.Command {
	var b batch
	cmd := &cobra.Command{
		Use:   "create --label <label> [--subject <subject>] [--san <name>]... [--expires <duration>] [-n <number>] [--csv]",
		Short: "Makes one-time passwords, and prints them this once",
		Long: `Makes passwords that are good for one certificate each, at one label, where the
profile has a line 'one_time_password'. They are printed here and nowhere else:
the store keeps a hash.

What --subject and --san name is what the certificate must have; a part that
isn't said is free, as far as the policy lets it be. In both, {n} stands for the
number of the password, from --first on, and {n:4} for the same with four digits.

A device presents the password as that of HTTP Basic, with any user name or
none, or in the attribute otpChallenge (RFC 7894), as the policy says.

With --cmc it may also be the shared secret of a CMC message (/fullcmc), whose
identification is the id of the password. For that the store keeps, beside the
hash, the keys of such a proof: who reads the store can make one with them.
--cmc-v1 has it keep that of the first version as well, which is made with SHA-1:
for clients that know no other, where the profile says 'v1: true'.`,
		Example: `  caddy est otp create --label routers --subject CN=rtr-7.example.net --san rtr-7.example.net
  caddy est otp create --label sensors --subject "serialNumber=S{n:4}" --expires 24h -n 500 --csv`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&b.label, "label", "", "label of the path; none is the path without one")
	flags.StringVar(&b.subject, "subject", "", `subject of the certificate, such as "O=Example, CN=device"`)
	flags.StringArrayVar(&b.san, "san", nil, "name of the certificate: dns:NAME, ip:ADDRESS, uri:URI and so on (repeatable)")
	flags.StringVar(&b.expires, "expires", "24h", "how long a first request may come, such as 90m, 24h or 7d")
	flags.IntVarP(&b.count, "number", "n", 1, "how many")
	flags.IntVar(&b.first, "first", 1, "the number that {n} begins with")
	flags.BoolVar(&b.csv, "csv", false, "print CSV: id, password, label, subject, san, expires")
	flags.BoolVar(&b.cmc, "cmc", false, "for identity proofs of CMC, too")
	flags.BoolVar(&b.cmcV1, "cmc-v1", false, "as --cmc, and for those of the first version, which are made with SHA-1")
	b.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		made, err := b.create(cmd.Context())
		if err != nil {
			return err
		}
		return printCreated(cmd.OutOrStdout(), made, b.csv)
	})
	return cmd
}

func (b *batch) create(ctx context.Context) (made store.CreatedJSON, err error) {
	templates, err := b.templates(time.Now())
	if err != nil {
		return nil, err
	}
	err = b.use(ctx, func(s store.Store) (err error) {
		made, err = s.Passwords().Create(ctx, templates, time.Now())
		return err
	}, http.MethodPost, "/est/otp", templates, &made)
	return made, err
}

// templates are what the passwords are for.
func (b *batch) templates(now time.Time) (store.TemplatesJSON, error) {
	life, err := caddy.ParseDuration(b.expires)
	switch {
	case err != nil || life < time.Second || life > 366*24*time.Hour:
		return nil, fmt.Errorf("--expires %q: want a duration from 1s to 366d, such as 24h", b.expires)
	case b.count < 1 || b.count > mostPasswords:
		return nil, fmt.Errorf("-n %d: want a number from 1 to %d", b.count, mostPasswords)
	case b.count > 1 && b.subject+strings.Join(b.san, "") != "" && !numbered.MatchString(b.subject+strings.Join(b.san, " ")):
		return nil, fmt.Errorf("-n %d would make as many passwords for the same names: write {n} where the number stands", b.count)
	}
	var all store.TemplatesJSON
	for n := b.first; n < b.first+b.count; n++ {
		t := store.Template{Label: b.label, Expires: now.Add(life), Proof: b.cmc || b.cmcV1, ProofV1: b.cmcV1}
		if t.Names.Names.Subject, err = parseSubject(number(b.subject, n)); err != nil {
			return nil, err
		}
		var san []string
		for _, text := range b.san {
			san = append(san, number(text, n))
		}
		if t.Names.Names.SAN, err = parseSAN(san); err != nil {
			return nil, err
		}
		t.Names.Subject, t.Names.SAN = len(t.Names.Names.Subject) > 0, len(san) > 0
		all = append(all, t)
	}
	return all, nil
}

// numbered is {n}, and {n:4} with four digits.
var numbered = regexp.MustCompile(`\{n(?::([1-9]))?\}`)

func number(text string, n int) string {
	return numbered.ReplaceAllStringFunc(text, func(found string) string {
		digits, _ := strconv.Atoi(numbered.FindStringSubmatch(found)[1])
		return fmt.Sprintf("%0*d", digits, n)
	})
}

// boundText is what a password is bound to.
func boundText(t store.Template) (subject, san string) {
	if t.Names.Subject {
		subject = t.Names.Names.Subject.String()
	}
	var names []string
	for _, name := range t.Names.Names.SAN {
		names = append(names, name.String())
	}
	return subject, strings.Join(names, " ")
}

func printCreated(out io.Writer, made []store.Created, asCSV bool) error {
	if asCSV {
		w := csv.NewWriter(out)
		rows := [][]string{{"id", "password", "label", "subject", "san", "expires"}}
		for _, c := range made {
			subject, san := boundText(c.Template)
			rows = append(rows, []string{c.ID, string(c.Text), c.Label, subject, san, instant(c.Expires)})
		}
		return w.WriteAll(rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range made {
		subject, san := boundText(c.Template)
		fmt.Fprintf(w, "%s\tuntil %s\t%s\t%s\n", string(c.Text), instant(c.Expires), subject, san)
	}
	return w.Flush()
}

func otpList() *cobra.Command {
	var k keeper
	var label string
	cmd := &cobra.Command{
		Use:   "list [--label <label>]",
		Short: "Lists one-time passwords, without their secrets",
		Long: `Lists one-time passwords by their ids, with what each is bound to and its state:
unused, reserved (a request has begun with it), used, expired, revoked, or locked
(too many requests with it were refused).`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&label, "label", "", "only those of this label")
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		list, err := k.passwords(cmd.Context(), label)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tSTATE\tLABEL\tEXPIRES\tREFUSALS\tSUBJECT\tSAN")
		for _, p := range list {
			subject, san := boundText(p.Template)
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", p.ID, p.State(time.Now()), p.Label, instant(p.Expires), p.Refusals, subject, san)
		}
		return w.Flush()
	})
	return cmd
}

// passwords lists those of a label, or all.
func (k *keeper) passwords(ctx context.Context, label string) (list store.PasswordsJSON, err error) {
	err = k.use(ctx, func(s store.Store) (err error) {
		list, err = s.Passwords().List(ctx, label)
		return err
	}, http.MethodGet, query("/est/otp", "label", label), nil, &list)
	return list, err
}

// ids is a JSON list of texts.
type ids []string

func (l ids) MarshalJSON() ([]byte, error) { return json.Marshal([]string(l)) }

func otpRevoke() *cobra.Command {
	var k keeper
	cmd := &cobra.Command{
		Use:   "revoke <id>...",
		Short: "Makes one-time passwords unusable",
		Long:  `Makes passwords unusable at once, those too that a request was begun with. Certificates that were issued stay.`,
		Args:  cobra.MinimumNArgs(1),
	}
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		for _, id := range args {
			if strings.HasPrefix(id, "otp-") {
				return errors.New("want the id of a password, as `otp list` has it, and not the password itself")
			}
		}
		err := k.use(cmd.Context(), func(s store.Store) error {
			return s.Passwords().Revoke(cmd.Context(), args, time.Now())
		}, http.MethodPost, "/est/otp/revoke", ids(args), nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "revoked: %s\n", strings.Join(args, " "))
		return nil
	})
	return cmd
}
