// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra/audit"
)

// record finds the audit record of a request, and its text. It is written
// before the answer, but perhaps through a buffer.
func (s *demoServer) record(ctx context.Context, id string) (*audit.Record, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		log, err := os.ReadFile(s.file("audit.log"))
		if err != nil && !os.IsNotExist(err) {
			return nil, "", err
		}
		if record, text := findRecord(log, id); record != nil {
			return record, text, nil
		}
		select {
		case <-ctx.Done():
			return nil, "", fmt.Errorf("audit.log has no record of the request %q", id)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// findRecord looks through the lines of Caddy's JSON log.
func findRecord(log []byte, id string) (*audit.Record, string) {
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var entry struct {
			Record json.RawMessage `json:"record"`
		}
		var record audit.Record
		if json.Unmarshal(lines.Bytes(), &entry) != nil || json.Unmarshal(entry.Record, &record) != nil {
			continue
		}
		if string(record.ID) == id {
			return &record, string(entry.Record)
		}
	}
	return nil, ""
}

// findings are the refusing findings of a record, each with the line of the
// policy that says so.
func findings(r *audit.Record) []string {
	if r.Decision == nil {
		return nil
	}
	source := strings.Split(demoPolicy, "\n")
	var lines []string
	for _, f := range r.Decision.Findings {
		if f.Effect != "refused" && f.Effect != "required" {
			continue
		}
		lines = append(lines, fmt.Sprintf("%-9s %s: got %s, want %s", f.Effect, f.Path, f.Got, f.Want))
		if f.Line >= 1 && f.Line <= len(source) {
			lines = append(lines, fmt.Sprintf("          policy.yaml:%d: %s", f.Line, strings.TrimSpace(source[f.Line-1])))
		}
	}
	return lines
}

// summary is a record in one line.
func summary(r *audit.Record) string {
	who := "nobody"
	if r.Who != nil {
		who = fmt.Sprintf("%s %s", r.Who.Method, r.Who.ID)
	}
	line := fmt.Sprintf("%s  %-14s %d %s, by %s", r.TS.UTC().Format("15:04:05"), r.Op, r.Status, r.Outcome, who)
	if r.TLS != nil {
		line += fmt.Sprintf(", TLS %s, linking %s", r.TLS.Version, r.TLS.Linked)
	}
	if r.Cert != nil {
		line += ", serial " + r.Cert.Serial
	}
	return line
}
