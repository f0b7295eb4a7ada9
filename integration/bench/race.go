// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A lane is one row on its server.
type lane struct {
	row    *row
	server *server
	job    job
	slow   bool // few enrolments a second
}

// race measures the lanes in rounds, in an order that turns around each time:
// what else the machine does then falls on all of them alike.
func (b *bench) race(ctx context.Context, group string, lanes []lane) error {
	for i := range lanes {
		l := &lanes[i]
		l.job.Address, l.job.Roots, l.job.Workers = l.server.site, l.server.roots, workers
		if err := b.warmUp(l); err != nil {
			return err
		}
	}
	order := slices.Clone(lanes)
	for range b.rounds {
		for _, l := range lanes {
			if err := ctx.Err(); err != nil {
				return err
			}
			s, err := b.measure(l)
			if err != nil {
				return err
			}
			l.row.samples = append(l.row.samples, s)
		}
		slices.Reverse(lanes)
	}
	return b.profile(group, order)
}

// warmUp enrols for a while. Each enrolment must leave one audit record: a
// server that forgets its work isn't measured.
func (b *bench) warmUp(l *lane) error {
	j := l.job
	if j.Count = b.warm; l.slow {
		j.Count = workers
	}
	if err := l.server.forgetAudit(); err != nil {
		return err
	}
	r, err := b.load.do(j)
	if err != nil {
		return err
	}
	b.table.handshakes[l.server.site] = r.Handshake
	if l.server.audit == "" {
		return nil
	}
	records, err := os.ReadFile(l.server.audit)
	if err != nil {
		return err
	}
	if n := bytes.Count(records, []byte(`"outcome":"issued"`)); n != j.Count {
		return fmt.Errorf("%d enrolments, and %d audit records of them", j.Count, n)
	}
	return nil
}

// measure has the load call for one round.
func (b *bench) measure(l lane) (sample, error) {
	j := l.job
	j.For = b.round
	before, err := b.usage(l.server)
	if err != nil {
		return sample{}, err
	}
	r, err := b.load.do(j)
	if err != nil {
		return sample{}, err
	}
	after, err := b.usage(l.server)
	if err != nil {
		return sample{}, err
	}
	s := sample{rate: float64(r.Count) / r.Took.Seconds(), p50: r.P50, p99: r.P99}
	for i := range s.cpu {
		s.cpu[i] = (after[i] - before[i]) / time.Duration(r.Count)
	}
	return s, l.server.forgetAudit()
}

// usage is the CPU time so far of the server, the CA behind it, and the load.
func (b *bench) usage(s *server) (used [3]time.Duration, err error) {
	pids := [3]int{0, s.ca, b.load.pid()}
	if s.process != nil {
		pids[0] = s.pid()
	}
	for i, pid := range pids {
		if pid == 0 {
			continue
		}
		if used[i], err = cpuTime(pid); err != nil {
			return used, err
		}
	}
	return used, nil
}

// forgetAudit empties the audit file, so that the disk doesn't fill.
func (s *server) forgetAudit() error {
	if s.audit == "" {
		return nil
	}
	return os.Truncate(s.audit, 0)
}

// profile leaves profiles of each row of a Caddy, of CPU and of allocations, in
// rounds of their own which no row counts. They are numbered as the rows are.
func (b *bench) profile(group string, lanes []lane) error {
	if b.profiles == "" {
		return nil
	}
	for i, l := range lanes {
		if l.server.process == nil || l.server.name != "caddy" {
			continue
		}
		for _, kind := range []string{"profile", "allocs"} {
			if err := b.profileOne(l, kind, filepath.Join(b.profiles, fmt.Sprintf("%s-%d-%s.pprof", group, i+1, kind))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) profileOne(l lane, kind, file string) error {
	j := l.job
	j.For = 6 * time.Second
	var body []byte
	var failure error
	var asking sync.WaitGroup
	asking.Go(func() { body, failure = l.server.ask("/debug/pprof/" + kind + "?seconds=5") })
	_, err := b.load.do(j)
	asking.Wait()
	if err := errors.Join(err, failure); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(file, body, 0o600), l.server.forgetAudit())
}
