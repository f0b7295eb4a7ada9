// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The ratio is of each round with its own, so that a slow round of both changes
// nothing; and what lies beyond its bound is missed.
func TestTheTableHoldsEachRowAgainstItsBase(t *testing.T) {
	at := func(rates ...float64) []sample {
		var all []sample
		for _, rate := range rates {
			all = append(all, sample{rate: rate, p50: time.Millisecond, p99: 2 * time.Millisecond})
		}
		return all
	}
	tbl := &table{handshakes: map[string]string{"a": "TLS 1.3", "b": "TLS 1.3", "c": ""}}
	base := tbl.row("base", nil, 0)
	base.samples = at(100, 10, 1000)
	fast, slow := tbl.row("fast", base, 0.85), tbl.row("slow", base, 0.85)
	fast.samples, slow.samples = at(90, 9, 900), at(80, 9, 800)
	tbl.sizes = []size{{name: "small", value: 5, most: 5, unit: "%"}, {name: "large", value: 61, most: 60, unit: "KiB"}, {name: "free", value: 1e9}}
	if r := fast.ratio(); r != 0.9 {
		t.Errorf("ratio %v", r)
	}
	if got := tbl.missed(); !slices.Equal(got, []string{"slow", "large"}) {
		t.Errorf("missed: %q", got)
	}
	var text strings.Builder
	tbl.print(&text)
	for _, want := range []string{"| fast | 90 | 0.90 | ≥ 0.85 met | 1.00 | 2.00 |", "| slow | 80 | 0.80 | ≥ 0.85 MISSED |", "| large | 61.0 KiB | ≤ 60 KiB MISSED |", "Handshake: TLS 1.3\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	cheap, dear := tbl.row("cheap", base, 0), tbl.row("dear", base, 0)
	cheap.mostCPU, dear.mostCPU = 1.01, 1.01
	for i := range base.samples {
		base.samples[i].cpu[0] = time.Duration(i+1) * time.Second
		cheap.samples = append(cheap.samples, sample{cpu: [3]time.Duration{base.samples[i].cpu[0] * 1005 / 1000}})
		dear.samples = append(dear.samples, sample{cpu: [3]time.Duration{base.samples[i].cpu[0] * 1020 / 1000}})
	}
	if got := tbl.missed(); !slices.Equal(got, []string{"slow", "dear", "large"}) {
		t.Errorf("missed: %q", got)
	}
	for r, want := range map[*row]string{cheap: "server's CPU ≤ 1.01: 1.005 met", dear: "server's CPU ≤ 1.01: 1.020 MISSED"} {
		if got, _ := r.bound(); got != want {
			t.Errorf("bound %q, want %q", got, want)
		}
	}
	if strings.Count(text.String(), "Handshake") != 1 {
		t.Errorf("handshakes that are the same take more than one line:\n%s", &text)
	}
}
