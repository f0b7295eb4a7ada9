// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"
)

// A table is what the benchmark found.
type table struct {
	rows       []*row
	sizes      []size
	handshakes map[string]string // by address
}

// A row is one kind of enrolment. Its ratio is to base; least is its bound,
// and mostCPU that of the server's CPU time to base's; 0 for none.
type row struct {
	name    string
	base    *row
	least   float64
	mostCPU float64
	samples []sample // one of each round
}

// A sample is one round.
type sample struct {
	rate     float64 // enrolments per second
	p50, p99 time.Duration
	cpu      [3]time.Duration // per enrolment: server, CA, load
}

// A size is a reading of memory. Its bound is the most it may be.
type size struct {
	name  string
	value float64
	most  float64 // 0: no bound
	unit  string
	note  string
}

func (t *table) row(name string, base *row, least float64) *row {
	r := &row{name: name, base: base, least: least}
	t.rows = append(t.rows, r)
	return r
}

// ratio is the median over the rounds of this row's rate to its base's.
func (r *row) ratio() float64 {
	return r.against(func(s sample) float64 { return s.rate })
}

// cpuRatio is that of the server's CPU time for each enrolment.
func (r *row) cpuRatio() float64 {
	return r.against(func(s sample) float64 { return s.cpu[0].Seconds() })
}

func (r *row) against(of func(sample) float64) float64 {
	var ratios []float64
	for i, s := range r.samples {
		if r.base != nil && i < len(r.base.samples) {
			ratios = append(ratios, of(s)/of(r.base.samples[i]))
		}
	}
	return median(ratios)
}

// bound is what the row is held to, and whether it holds.
func (r *row) bound() (text string, met bool) {
	switch {
	case r.least > 0:
		met = r.ratio() >= r.least
		return fmt.Sprintf("≥ %.2f %s", r.least, mark(met)), met
	case r.mostCPU > 0:
		got := r.cpuRatio()
		met = got <= r.mostCPU // false where there is no number
		return fmt.Sprintf("server's CPU ≤ %.2f: %.3f %s", r.mostCPU, got, mark(met)), met
	default:
		return "", true
	}
}

// missed are the rows and sizes beyond their bounds.
func (t *table) missed() []string {
	var names []string
	for _, r := range t.rows {
		if _, met := r.bound(); !met {
			names = append(names, r.name)
		}
	}
	for _, s := range t.sizes {
		if s.most > 0 && s.value > s.most {
			names = append(names, s.name)
		}
	}
	return names
}

// print writes Markdown.
func (t *table) print(w io.Writer) {
	if len(t.rows) > 0 {
		fmt.Fprint(w, "| row | enrolments/s | ratio | bound | p50 ms | p99 ms | CPU µs: server | CA | load |\n|---|---|---|---|---|---|---|---|---|\n")
	}
	for _, r := range t.rows {
		ratio := ""
		bound, _ := r.bound()
		if r.base != nil {
			ratio = fmt.Sprintf("%.2f", r.ratio())
		}
		fmt.Fprintf(w, "| %s | %.0f | %s | %s | %s | %s |", r.name, median(pick(r.samples, func(s sample) float64 { return s.rate })), ratio, bound,
			milliseconds(median(pick(r.samples, func(s sample) time.Duration { return s.p50 }))),
			milliseconds(median(pick(r.samples, func(s sample) time.Duration { return s.p99 }))))
		for i := range 3 {
			fmt.Fprintf(w, " %s |", microseconds(median(pick(r.samples, func(s sample) time.Duration { return s.cpu[i] }))))
		}
		fmt.Fprintln(w)
	}
	t.printSizes(w)
	for _, what := range t.differences() {
		fmt.Fprintf(w, "\nHandshake: %s\n", what)
	}
}

func (t *table) printSizes(w io.Writer) {
	if len(t.sizes) > 0 {
		fmt.Fprint(w, "\n| memory and time | measured | bound | |\n|---|---|---|---|\n")
	}
	for _, s := range t.sizes {
		bound := ""
		if s.most > 0 {
			bound = fmt.Sprintf("≤ %g %s %s", s.most, s.unit, mark(s.value <= s.most))
		}
		fmt.Fprintf(w, "| %s | %.1f %s | %s | %s |\n", s.name, s.value, s.unit, bound, s.note)
	}
}

// differences are the handshakes that were negotiated: one line, or the
// servers don't do the same work.
func (t *table) differences() []string {
	var all []string
	for _, h := range t.handshakes {
		if h != "" && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	slices.Sort(all)
	return all
}

func mark(good bool) string {
	if good {
		return "met"
	}
	return "MISSED"
}

func pick[T any](samples []sample, of func(sample) T) []T {
	all := make([]T, len(samples))
	for i, s := range samples {
		all[i] = of(s)
	}
	return all
}

// median of nothing is 0.
func median[T cmp.Ordered](all []T) T {
	var zero T
	if len(all) == 0 {
		return zero
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1e3) }

func microseconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", d.Seconds()*1e6)
}
