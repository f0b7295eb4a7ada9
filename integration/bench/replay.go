// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/replay"
)

// replayMost is how long a replay may take, in seconds.
const replayMost = 60.0

// replay puts the requests of a load, as Estra recorded them, before the policy
// that decided and before another one, as `caddy est policy diff --replay` does.
func (b *bench) replay(ctx context.Context) error {
	estra, err := b.estra(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := b.load.do(job{Kind: "enrol", Address: estra.site, Roots: estra.roots, Workers: workers, Count: b.more}); err != nil {
		return err
	}
	before, err := compiled(labelled(policyFile))
	if err != nil {
		return err
	}
	after, err := compiled(labelled(strings.Replace(policyFile, "default: 90d", "default: 89d", 1)))
	if err != nil {
		return err
	}
	log, err := os.Open(estra.audit)
	if err != nil {
		return err
	}
	defer log.Close()
	start := time.Now()
	summary, err := replay.Policies{Old: before, New: after}.Run(ctx, log, nil)
	if err != nil {
		return err
	}
	took := time.Since(start)
	if summary.Replayed != b.more || summary.Differ != b.more || summary.Otherwise > 0 {
		return fmt.Errorf("a replay of %d requests: %d decided anew, %d otherwise, %d not as recorded", b.more, summary.Replayed, summary.Differ, summary.Otherwise)
	}
	b.table.sizes = append(b.table.sizes, size{
		name:  fmt.Sprintf("replay of %d recorded requests under two policies", b.more),
		value: took.Seconds(), most: replayMost, unit: "s",
		note: fmt.Sprintf("%.0f requests/s", float64(b.more)/took.Seconds()),
	})
	return b.verify(ctx, filepath.Join(estra.dir, "data", "caddy", "est", "audit"))
}

// verifyLeast is how many records `caddy est audit verify` reads a second.
const verifyLeast = 200_000

// verify has the command look at the chain that the load has left, and takes its
// word for the time.
func (b *bench) verify(ctx context.Context, folder string) error {
	p, err := child(ctx, "caddy", b.folder("verify"), "est", "audit", "verify", folder)
	if err != nil {
		return err
	}
	out, err := p.cmd.Output()
	if err != nil {
		return fmt.Errorf("est audit verify: %w\n%s", err, out)
	}
	found := readIn.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("est audit verify doesn't say how long it took:\n%s", out)
	}
	records, errRecords := strconv.Atoi(string(found[1]))
	took, errTook := time.ParseDuration(string(found[2]))
	if err := errors.Join(errRecords, errTook); err != nil {
		return err
	}
	if records < b.more {
		return fmt.Errorf("%d enrolments, and %d records in the audit chain", b.more, records)
	}
	b.table.sizes = append(b.table.sizes, size{
		name:  fmt.Sprintf("`caddy est audit verify` of %d records", records),
		value: took.Seconds() * 1000, most: float64(records) * 1000 / verifyLeast, unit: "ms",
		note: fmt.Sprintf("%.0f records/s, by the command's own clock", float64(records)/took.Seconds()),
	})
	return nil
}

var readIn = regexp.MustCompile(`(\d+) records, \d+ checkpoints.*\n(?:.*\n)*?  read in (\S+),`)

func compiled(text string) (*policy.Policy, error) {
	file, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	return policy.Compile(file, nil)
}
