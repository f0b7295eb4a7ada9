// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
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
	return nil
}

func compiled(text string) (*policy.Policy, error) {
	file, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	return policy.Compile(file, nil)
}
