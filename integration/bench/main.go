// SPDX-License-Identifier: Apache-2.0

// Command bench measures Estra against a bare Go server and against step-ca,
// all on this machine: throughput and latency, CPU per enrolment of each
// process, and memory. docs/bench.md tells how to read its table. It needs
// Linux: CPU times and memory come from /proc.
//
// It runs itself as the bare server, as the load and as Caddy: each is a
// process of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if play() {
		return
	}
	p := measured
	quick := flag.Bool("quick", false, "a few enrolments for each row; the bounds don't count")
	rows := flag.String("rows", strings.Join(groups, ","), "the `groups` of rows to measure")
	profiles := flag.String("profiles", "", "a `folder` for profiles of each row, of CPU and of allocations")
	flag.Parse()
	if *quick {
		p = hasty
	}
	p.groups, p.profiles = strings.Split(*rows, ","), *profiles
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := run(ctx, p)
	if t != nil {
		t.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if missed := t.missed(); len(missed) > 0 && !*quick {
		fmt.Fprintln(os.Stderr, "bench: missed:", strings.Join(missed, ", "))
		os.Exit(1)
	}
}

// A plan says how much is measured.
type plan struct {
	groups   []string
	profiles string
	rounds   int           // of each row; the table has the median
	round    time.Duration // of one row in one round
	warm     int           // enrolments before the first round
	held     int           // TLS connections held
	before   int           // enrolments before memory is measured
	more     int           // and those after which it is measured again
	kept     int           // certificates in the store of the group inventory
	settle   time.Duration // between a forced collection and the reading
}

var (
	measured = plan{rounds: 7, round: 2500 * time.Millisecond, warm: 1500, held: 5000, before: 20_000, more: 100_000, kept: 1_000_000, settle: time.Second}
	hasty    = plan{rounds: 1, round: 200 * time.Millisecond, warm: 8, held: 20, before: 20, more: 40, kept: 100, settle: 20 * time.Millisecond}
)

// groups of rows, in the order of the table.
var groups = []string{"new", "kept", "linked", "revocation", "srp", "basic", "step-ca", "storm", "idle", "inventory", "growth", "replay"}

// run measures the plan's groups.
func run(ctx context.Context, p plan) (*table, error) {
	for _, g := range p.groups {
		if !slices.Contains(groups, g) {
			return nil, fmt.Errorf("no rows are named %q; there is: %s", g, strings.Join(groups, ", "))
		}
	}
	dir, err := os.MkdirTemp("", "estra-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{plan: p, dir: dir, table: &table{handshakes: make(map[string]string)}}
	defer b.close()
	if b.load, err = startLoad(ctx, dir); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"new", b.newConnections}, {"kept", b.keptConnections}, {"linked", b.linked}, {"revocation", b.revocation}, {"srp", b.srp}, {"basic", b.basic},
		{"step-ca", b.stepCA}, {"storm", b.storm}, {"idle", b.idle}, {"inventory", b.inventory}, {"growth", b.growth}, {"replay", b.replay},
	} {
		if !slices.Contains(p.groups, step.name) {
			continue
		}
		if err := step.measure(ctx); err != nil {
			return b.table, errors.Join(ctx.Err(), fmt.Errorf("%s: %w", step.name, err))
		}
	}
	return b.table, nil
}
