// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/replay"
)

// runReplay is `policy diff --replay`.
func (c *comparison) runReplay(cmd *cobra.Command, policies replay.Policies) error {
	log, err := os.Open(c.replay)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // it was only read
	bar := newProgress(cmd.ErrOrStderr(), sizeOf(log))
	summary, err := policies.Run(cmd.Context(), log, bar.show)
	bar.end()
	if err != nil {
		return fmt.Errorf("%s: %w", c.replay, err)
	}
	if c.format == "json" {
		err = writeJSON(cmd, summaryJSON(summary))
	} else {
		_, err = fmt.Fprint(cmd.OutOrStdout(), summary.Text(c.most))
	}
	if err != nil {
		return err
	}
	widened := slices.ContainsFunc(summary.Differences, func(d replay.Difference) bool { return d.Wider() })
	if c.fail == "changed" && summary.Differ > 0 || c.fail == "wider" && widened {
		return errTold
	}
	return nil
}

// A replayJSON is the summary of a replay in JSON.
type replayJSON struct {
	Replayed    int              `json:"replayed"`
	Differ      int              `json:"differ"`
	Skipped     int              `json:"skipped"`
	Undecidable int              `json:"undecidable"`
	Unreadable  int              `json:"unreadable"`
	Otherwise   int              `json:"otherwise"`
	Problems    []string         `json:"problems,omitempty"`
	Groups      []replayGroup    `json:"groups"`
	Differences []replayDiffered `json:"differences"`
}

type replayGroup struct {
	Profile string `json:"profile"`
	Change  string `json:"change"`
	Reason  string `json:"reason"`
	Count   int    `json:"count"`
	Example string `json:"example"`
}

type replayDiffered struct {
	Line    int          `json:"line"`
	ID      string       `json:"id"`
	TS      time.Time    `json:"ts"`
	Op      policy.Op    `json:"op"`
	Label   string       `json:"label"`
	Profile string       `json:"profile"`
	Subject string       `json:"subject"`
	Old     string       `json:"old"`
	New     string       `json:"new"`
	Reasons []string     `json:"reasons,omitempty"`
	Plan    []replayPart `json:"plan,omitempty"`
}

type replayPart struct {
	Part string `json:"part"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

func summaryJSON(s *replay.Summary) replayJSON {
	out := replayJSON{
		Replayed: s.Replayed, Differ: s.Differ, Skipped: s.Skipped, Undecidable: s.Undecidable,
		Unreadable: s.Unreadable, Otherwise: s.Otherwise, Problems: s.Problems,
		Groups: []replayGroup{}, Differences: []replayDiffered{},
	}
	for _, g := range s.Groups() {
		out.Groups = append(out.Groups, replayGroup(g))
	}
	for _, d := range s.Differences {
		differed := replayDiffered{
			Line: d.Line, ID: d.ID, TS: d.Time, Op: d.Op, Label: d.Label, Profile: d.Profile, Subject: d.Subject,
			Old: d.Old.String(), New: d.New.String(), Reasons: d.Reasons,
		}
		for _, p := range d.Plan {
			differed.Plan = append(differed.Plan, replayPart{p.Name, p.Old, p.New})
		}
		out.Differences = append(out.Differences, differed)
	}
	return out
}

// A progress is a bar on a terminal. Elsewhere it shows nothing.
type progress struct {
	out   io.Writer
	total int64
	shown time.Time
}

func newProgress(out io.Writer, total int64) *progress {
	screen, ok := out.(*os.File)
	if !ok || total == 0 || !term.IsTerminal(int(screen.Fd())) {
		return &progress{}
	}
	return &progress{out: out, total: total}
}

// sizeOf is 0 where nobody knows, as of a pipe.
func sizeOf(file *os.File) int64 {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

const barWidth = 40

func (p *progress) show(read int64) {
	if p.total == 0 || time.Since(p.shown) < 100*time.Millisecond {
		return
	}
	p.shown = time.Now()
	share := min(float64(read)/float64(p.total), 1)
	full := int(share * barWidth)
	fmt.Fprintf(p.out, "\r[%s%s] %3.0f%%", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), share*100)
}

func (p *progress) end() {
	if p.total != 0 {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", barWidth+8))
	}
}
