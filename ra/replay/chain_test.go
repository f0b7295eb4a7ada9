// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/audit/chain"
)

func TestAChainIsReadAsALogIs(t *testing.T) {
	folder := t.TempDir()
	j, err := chain.Open(folder, chain.Settings{Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&audit.Record{V: audit.Version, ID: "one", Op: policy.SimpleEnroll, Reason: "<a> & b"}).JSON()
	if err != nil || bytes.Contains(text, []byte(`\u003c`)) {
		t.Fatalf("%s %v", text, err)
	}
	if err := j.Write(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := chain.Files(folder)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	file, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Find(bytes.NewReader(file), "one"); err != nil || r == nil || r.Reason != "<a> & b" {
		t.Errorf("%+v %v", r, err)
	}
	for line := range strings.Lines(string(file)) {
		raw, err := Raw([]byte(line))
		if err != nil || raw != nil && !bytes.Equal(raw, text) {
			t.Errorf("%s: %s %v", line, raw, err)
		}
	}
	summary, err := Policies{}.Run(t.Context(), bytes.NewReader(file), nil)
	if err != nil || summary.Skipped != 3 || summary.Unreadable != 0 {
		t.Errorf("%+v %v", summary, err)
	}
}
