// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

const (
	idleMost   = 60.0 // KiB for each idle TLS connection
	growthMost = 5.0  // percent
)

// idle measures what an idle connection costs: each device has its own
// certificate, has enrolled once and stays connected. The servers are new
// ones, so that no memory of earlier work is at hand.
func (b *bench) idle(ctx context.Context) error {
	bare, err := b.bare(ctx)
	if err != nil {
		return err
	}
	estra, err := b.estra(ctx, nil)
	if err != nil {
		return err
	}
	for _, subject := range []struct {
		name string
		*server
		most float64
	}{{"bare Go server", bare, 0}, {"Estra", estra, idleMost}} {
		j := job{Kind: "enrol", Address: subject.site, Roots: subject.roots, Workers: workers, Count: b.warm}
		if _, err := b.load.do(j); err != nil {
			return err
		}
		before, err := subject.settledSize(b.settle)
		if err != nil {
			return err
		}
		j.Kind, j.Count = "hold", b.held
		if _, err := b.load.do(j); err != nil {
			return err
		}
		after, err := subject.settledSize(b.settle)
		if err != nil {
			return err
		}
		if _, err := b.load.do(job{Kind: "release"}); err != nil {
			return err
		}
		b.table.sizes = append(b.table.sizes, size{
			name:  "RSS per idle TLS connection, " + subject.name,
			value: float64(after-before) / float64(b.held) / 1024, most: subject.most, unit: "KiB",
			note: fmt.Sprintf("%d connections; RSS from %d to %d MiB", b.held, before>>20, after>>20),
		})
	}
	return nil
}

// growth measures whether memory grows with the number of enrolments. The
// chains that Estra remembers are full before: every device has called.
func (b *bench) growth(ctx context.Context) error {
	estra, err := b.estra(ctx, nil)
	if err != nil {
		return err
	}
	j := job{Kind: "enrol", Address: estra.site, Roots: estra.roots, Workers: workers}
	enrol := func(count int, fresh bool) error {
		j.Count, j.New = count, fresh
		if _, err := b.load.do(j); err != nil {
			return err
		}
		return estra.forgetAudit()
	}
	if err := enrol(min(b.before/4, fleetSize), true); err != nil {
		return err
	}
	if err := enrol(b.before*3/4, false); err != nil {
		return err
	}
	before, err := estra.settledSize(b.settle)
	if err != nil {
		return err
	}
	for range 10 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := enrol(b.more/10, false); err != nil {
			return err
		}
	}
	after, err := estra.settledSize(b.settle)
	if err != nil {
		return err
	}
	b.table.sizes = append(b.table.sizes, size{
		name:  fmt.Sprintf("growth of RSS over %d enrolments, Estra", b.more),
		value: float64(after-before) / float64(before) * 100, most: growthMost, unit: "%",
		note: fmt.Sprintf("RSS from %d to %d MiB", before>>20, after>>20),
	})
	return nil
}
