// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/replay"
)

// An export is which records go where.
type export struct {
	from, to, device, format string
	begin, end               time.Time
	out                      *bufio.Writer
	table                    *csv.Writer // nil: JSON lines
}

func auditExport() *cobra.Command {
	var e export
	cmd := &cobra.Command{
		Use:   "export [--from <time>] [--to <time>] [--device <name>] [--format jsonl|csv] [<folder>|<file>...]",
		Short: "Prints audit records of a time or a device",
		Long: `Prints the records of an audit chain, or of an audit log, that match. It doesn't check
the chain: that is for verify. A time is RFC 3339 or a day (UTC); --from is inclusive,
--to is not. A device is found by a name of its subject or subjectAltName, its serial number
in a registry, a user name, the id of a password, and the serial number or SHA-256 of a certificate.

Exit codes: 0 written, also where nothing matches; 2 a line is no record; 3 a file can't be
read, or the flags make no sense.`,
		Example: `  caddy est audit export --from 2026-11-01 --to 2026-12-01 --format csv > november.csv
  caddy est audit export --device rtr-7.branch.example.net /var/log/caddy/est-audit.log`,
	}
	cmd.Flags().StringVar(&e.from, "from", "", "first time, inclusive")
	cmd.Flags().StringVar(&e.to, "to", "", "end, exclusive")
	cmd.Flags().StringVar(&e.device, "device", "", "device whose records are wanted")
	cmd.Flags().StringVar(&e.format, "format", "jsonl", "jsonl or csv")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if err := e.begins(cmd.OutOrStdout()); err != nil {
			return err
		}
		all, err := chainsOf(args)
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := c.read(cmd, e.file); err != nil {
				_ = e.out.Flush() // what is wrong is told
				return err
			}
		}
		if e.table != nil {
			e.table.Flush()
		}
		return e.out.Flush()
	})
	return cmd
}

func (e *export) begins(out io.Writer) (err error) {
	if e.begin, err = timeOf("from", e.from); err != nil {
		return err
	}
	if e.end, err = timeOf("to", e.to); err != nil {
		return err
	}
	e.out = bufio.NewWriter(out)
	switch e.format {
	case "jsonl":
		return nil
	case "csv":
		e.table = csv.NewWriter(e.out)
		return e.table.Write(columns)
	default:
		return fmt.Errorf("--format %q: want jsonl or csv", e.format)
	}
}

func timeOf(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("--%s %q: want a time as 2026-11-25T12:00:00Z, or a day as 2026-11-25", flag, text)
}

func (e *export) file(name string, file io.Reader, progress func(bytes int)) error {
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 64<<10), replay.MaxLine)
	for n := 1; scanner.Scan(); n++ {
		if err := e.line(scanner.Bytes()); err != nil {
			return refusal{fmt.Errorf("%s:%d: %w", name, n, err)}
		}
		progress(len(scanner.Bytes()) + 1)
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (e *export) line(text []byte) error {
	raw, err := replay.Raw(text)
	if err != nil || raw == nil {
		return err
	}
	var r audit.Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("no audit record: %w", err)
	}
	if r.TS.Before(e.begin) || !e.end.IsZero() && !r.TS.Before(e.end) || e.device != "" && !isOf(&r, e.device) {
		return nil
	}
	if e.table != nil {
		return e.table.Write(row(&r))
	}
	_, err = e.out.Write(append(bytes.Clone(raw), '\n'))
	return err
}

// isOf says whether a record is of a device: whether one of its names is, or
// has as a part, the text.
func isOf(r *audit.Record, device string) bool {
	var names []string
	add := func(list ...audit.Text) {
		for _, t := range list {
			names = append(names, string(t))
		}
	}
	if r.Who != nil {
		add(r.Who.ID)
		add(r.Who.Devices...)
		names = append(names, r.Who.CertSerial, r.Who.CertSHA256)
	}
	if r.CSR != nil {
		add(r.CSR.Subject)
		add(r.CSR.SAN...)
		names = append(names, r.CSR.SPKISHA256)
	}
	if r.Cert != nil {
		names = append(names, r.Cert.Serial, r.Cert.SHA256)
	}
	names = append(names, r.Serial, r.ReplacesSerial, r.RevokesSerial)
	return slices.ContainsFunc(names, func(name string) bool {
		return name != "" && (strings.EqualFold(name, device) || slices.ContainsFunc(strings.FieldsFunc(name, between), func(part string) bool {
			_, value, _ := strings.Cut(part, "=")
			_, tagged, _ := strings.Cut(part, ":")
			return strings.EqualFold(part, device) || strings.EqualFold(value, device) || strings.EqualFold(tagged, device)
		}))
	})
}

// between are the characters between the parts of a name, as records have it.
func between(c rune) bool { return strings.ContainsRune(",+/ ()", c) }

var columns = []string{
	"ts", "node", "id", "op", "label", "profile", "policy_sha256", "who_method", "who_id", "who_cert_serial", "remote",
	"csr_subject", "csr_san", "csr_key", "csr_spki_sha256", "verdict", "outcome", "status", "kind", "reason",
	"cert_serial", "cert_issuer", "cert_not_before", "cert_not_after", "replaces_serial", "revokes_serial", "upstream", "ms",
}

// row has a cell for each column.
func row(r *audit.Record) []string {
	policy, who, csr := orEmpty(r.Policy), orEmpty(r.Who), orEmpty(r.CSR)
	decision, cert, upstream := orEmpty(r.Decision), orEmpty(r.Cert), orEmpty(r.Upstream)
	var san []string
	for _, name := range csr.SAN {
		san = append(san, name.String())
	}
	remote := ""
	if r.Remote.IsValid() {
		remote = r.Remote.String()
	}
	cells := []string{
		timeText(r.TS), string(r.Node), string(r.ID), string(r.Op), string(r.Label), string(r.Profile), policy.SHA256, string(who.Method), string(who.ID), who.CertSerial, remote,
		string(csr.Subject), strings.Join(san, " "), csr.Key, csr.SPKISHA256, decision.Verdict, string(r.Outcome), strconv.Itoa(r.Status), string(r.Kind), string(r.Reason),
		cert.Serial, string(cert.Issuer), timeText(cert.NotBefore), timeText(cert.NotAfter), r.ReplacesSerial, r.RevokesSerial, string(upstream.Name), strconv.FormatInt(r.MS, 10),
	}
	for i, cell := range cells {
		// A spreadsheet would compute what a client wrote.
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			cells[i] = "'" + cell
		}
	}
	return cells
}

func orEmpty[T any](value *T) *T {
	if value == nil {
		return new(T)
	}
	return value
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
