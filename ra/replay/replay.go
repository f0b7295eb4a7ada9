// SPDX-License-Identifier: Apache-2.0

// Package replay puts recorded requests before two policies and tells where
// they decide otherwise: what a new policy would have done to the requests
// that really came.
package replay

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/diff"
	"github.com/caddy-est/estra/ra/audit"
)

// MaxLine bounds a line of an audit log, in bytes.
const MaxLine = 4 << 20

// A Difference is one recorded request that the two policies decide otherwise.
type Difference struct {
	Line    int // of the log, from 1
	ID      string
	Time    time.Time
	Op      policy.Op
	Label   string
	Profile string // of the first policy; of the second where the first has none
	Subject string // that was asked for
	diff.Difference
}

// A Summary is what became of all records. Each line of the log is in exactly
// one of its counts.
type Summary struct {
	// Replayed is how many requests were decided anew; Differ of them are in
	// Differences.
	Replayed, Differ int
	// Skipped are records of requests that no policy was asked about: refused
	// at the gate, unreadable, /cacerts and /csrattrs, and other lines of a log.
	Skipped int
	// Undecidable are requests about which the record doesn't hold what the
	// second policy asks: values of attributes that were not recorded.
	Undecidable int
	// Unreadable are lines that are no record, or hold a request that can't be
	// restored; Problems has the first of them.
	Unreadable int
	Problems   []string
	// Otherwise counts requests that the first policy now decides otherwise
	// than the record says, though it is the file that decided then: the clock,
	// the CA or a file beside the policy have a part in it.
	Otherwise   int
	Differences []Difference
}

const mostProblems = 10

// Policies are the two that are compared.
type Policies struct{ Old, New *policy.Policy }

// Run reads an audit log: lines of JSON that are a record or have one under
// the key `record`, as Caddy's logger writes it. progress, if not nil, is told
// after each line how many bytes have been read. The error is of reading, or
// of the context.
func (p Policies) Run(ctx context.Context, log io.Reader, progress func(read int64)) (*Summary, error) {
	lines := make(chan numbered, 64)
	parts := make([]Summary, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for i := range parts {
		workers.Go(func() {
			for line := range lines {
				p.line(&parts[i], line)
			}
		})
	}
	err := read(ctx, log, lines, progress)
	close(lines)
	workers.Wait()
	if err != nil {
		return nil, err
	}
	return merge(parts), nil
}

type numbered struct {
	number int
	text   []byte
}

func read(ctx context.Context, log io.Reader, lines chan<- numbered, progress func(int64)) error {
	scanner := bufio.NewScanner(log)
	scanner.Buffer(make([]byte, 64<<10), MaxLine)
	var total int64
	for n := 1; scanner.Scan(); n++ {
		total += int64(len(scanner.Bytes())) + 1
		select {
		case lines <- numbered{n, bytes.Clone(scanner.Bytes())}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if progress != nil {
			progress(total)
		}
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("a line of the log is longer than %d MiB", MaxLine>>20)
	} else if err != nil {
		return err
	}
	return nil
}

func (p Policies) line(s *Summary, line numbered) {
	record, err := Record(line.text)
	switch {
	case err != nil:
		s.problem(line.number, err)
		return
	case record == nil || record.Input == nil || record.Input.CSR == nil:
		s.Skipped++
		return
	}
	request, err := Request(record)
	if err != nil {
		s.problem(line.number, err)
		return
	}
	before, after := decide(p.Old, request), decide(p.New, request)
	if p.lacks(record, request) {
		s.Undecidable++
		return
	}
	s.Replayed++
	if record.Policy != nil && record.Policy.SHA256 == p.Old.SHA256() && record.Decision != nil && record.Decision.Verdict != before.Verdict.String() {
		s.Otherwise++
	}
	d, differs := diff.Decisions(before, after)
	if !differs {
		return
	}
	s.Differ++
	s.Differences = append(s.Differences, Difference{
		Line: line.number, ID: record.ID.String(), Time: record.TS, Op: record.Op, Label: record.Label.String(),
		Profile: cmp.Or(before.Profile, after.Profile), Subject: request.Asked().Names.Subject.String(), Difference: d,
	})
}

func (s *Summary) problem(line int, err error) {
	s.Unreadable++
	if len(s.Problems) < mostProblems {
		s.Problems = append(s.Problems, fmt.Sprintf("line %d: %v", line, err))
	}
}

// decide puts a request before a policy. A label that it doesn't have is a
// refusal.
func decide(p *policy.Policy, req policy.Arrival) policy.Decision {
	profile, ok := p.Profile(req.Label)
	if !ok {
		return policy.Decision{Findings: []policy.Finding{{Path: "profiles", Effect: policy.Refused}}}
	}
	return req.Decide(profile)
}

// lacks tells whether the second policy asks for values that weren't recorded.
func (p Policies) lacks(record *audit.Record, req policy.Arrival) bool {
	profile, ok := p.New.Profile(req.Label)
	return ok && Lacks(record, req, profile)
}

// Lacks tells whether a profile asks for values of attributes that weren't
// recorded. The request is that of the record.
func Lacks(record *audit.Record, req policy.Arrival, profile *policy.Profile) bool {
	kept := map[string]bool{}
	for _, v := range record.Input.CSR.Values {
		kept[v.OID] = true
	}
	return slices.ContainsFunc(req.Asked().Attributes, func(a csrAttribute) bool {
		return profile.NeedsValue(a.Type) && !kept[a.Type.String()]
	})
}

func merge(parts []Summary) *Summary {
	var all Summary
	for _, s := range parts {
		all.Replayed += s.Replayed
		all.Differ += s.Differ
		all.Skipped += s.Skipped
		all.Undecidable += s.Undecidable
		all.Unreadable += s.Unreadable
		all.Otherwise += s.Otherwise
		all.Problems = append(all.Problems, s.Problems...)
		all.Differences = append(all.Differences, s.Differences...)
	}
	slices.SortFunc(all.Differences, func(a, b Difference) int { return cmp.Compare(a.Line, b.Line) })
	all.Problems = all.Problems[:min(len(all.Problems), mostProblems)]
	return &all
}

// Raw gives the record in a line of an audit log or of an audit chain. It is nil
// for a line of JSON that holds no record.
func Raw(line []byte) ([]byte, error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil, nil
	}
	var wrapped struct {
		Record json.RawMessage `json:"record"`
		V      int             `json:"v"`
	}
	if err := json.Unmarshal(line, &wrapped); err != nil {
		return nil, errors.New("no JSON")
	}
	switch {
	case len(wrapped.Record) > 0:
		return wrapped.Record, nil
	case wrapped.V == 0:
		return nil, nil
	default:
		return line, nil
	}
}

// Record reads one line of an audit log or of an audit chain. It is nil for a
// line of JSON that holds no record.
func Record(line []byte) (*audit.Record, error) {
	raw, err := Raw(line)
	if err != nil || raw == nil {
		return nil, err
	}
	var record audit.Record
	if err := json.Unmarshal(raw, &record); err != nil {
		return nil, fmt.Errorf("no audit record: %w", err)
	}
	if record.V != audit.Version {
		return nil, fmt.Errorf("an audit record of version %d, and this reads version %d", record.V, audit.Version)
	}
	return &record, nil
}

// Find gives the record of a request in an audit log. The last one counts.
// It is nil when there is none.
func Find(log io.Reader, id string) (*audit.Record, error) {
	var found *audit.Record
	scanner := bufio.NewScanner(log)
	scanner.Buffer(make([]byte, 64<<10), MaxLine)
	for scanner.Scan() {
		if !strings.Contains(scanner.Text(), id) {
			continue
		}
		if record, err := Record(scanner.Bytes()); err == nil && record != nil && record.ID.String() == id {
			found = record
		}
	}
	return found, scanner.Err()
}
