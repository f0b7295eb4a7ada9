// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/audit"
)

func TestAReplayKnowsForWhomTheKeyWasCertified(t *testing.T) {
	p := compiled(t, before)
	req := request(t, csrtest.Subject(csrtest.CN("a.example.net")))
	names, ok := request(t, csrtest.Subject(csrtest.CN("b.example.net"))).CSR.Names.Digest()
	if !ok {
		t.Fatal("names have no digest")
	}
	req.KeyHolder = &policy.KeyHolder{Names: names, Serial: "0a1b"}
	line := recorded(t, p, req, "1")
	var entry struct{ Record *audit.Record }
	if err := json.Unmarshal(line, &entry); err != nil {
		t.Fatal(err)
	}
	again, err := Request(entry.Record)
	if err != nil || again.KeyHolder == nil || *again.KeyHolder != *req.KeyHolder {
		t.Fatalf("the holder is %+v, %v", again.KeyHolder, err)
	}
	profile, _ := p.Profile("")
	if d := again.Decide(profile); d.Verdict != policy.Deny || !strings.Contains(d.Findings[0].Path, "hygiene.reuse") {
		t.Errorf("%s: %v", d.Verdict, d.Findings)
	}
	entry.Record.Input.KeyHolder.Names = "0a"
	if _, err := Request(entry.Record); err == nil {
		t.Error("a hash that is none is taken")
	}
}
