// SPDX-License-Identifier: Apache-2.0

package module

import (
	"strings"
	"testing"
)

// A configuration has one audit chain, whatever the order of its sites.
func TestSitesShareAnAuditChain(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	elsewhere, otherwise := &AuditConfig{Mode: auditBestEffort, Folder: t.TempDir()}, &AuditConfig{Mode: auditRequired, Folder: t.TempDir()}
	for name, c := range map[string]struct {
		sites  []*AuditConfig // nil: the site has no such option
		want   AuditConfig    // of the chain; no mode: there is none
		refuse string
	}{
		"without the option it is required":            {sites: []*AuditConfig{nil, nil}, want: AuditConfig{Mode: auditRequired, Folder: DefaultAudit()}},
		"a site without it shares the one before":      {sites: []*AuditConfig{elsewhere, nil}, want: *elsewhere},
		"a site without it shares the one behind":      {sites: []*AuditConfig{nil, elsewhere}, want: *elsewhere},
		"two that are the same":                        {sites: []*AuditConfig{elsewhere, elsewhere}, want: *elsewhere},
		"two that differ":                              {sites: []*AuditConfig{elsewhere, otherwise}, refuse: "audit: the site at Caddyfile:1 has it otherwise"},
		"two that differ, one without between":         {sites: []*AuditConfig{nil, elsewhere, nil, otherwise}, refuse: "audit: the site at Caddyfile:2 has it otherwise"},
		"it is off":                                    {sites: []*AuditConfig{{Mode: auditOff}}},
		"it is off for one site, and on for the other": {sites: []*AuditConfig{{Mode: auditOff}, elsewhere}, want: *elsewhere},
		"a mode that there isn't":                      {sites: []*AuditConfig{{Mode: "on"}}, refuse: `audit "on": want`},
		"off, and how it is kept":                      {sites: []*AuditConfig{{Mode: auditOff, CheckpointRecords: 5}}, refuse: "leave out how it is kept"},
	} {
		t.Run(name, func(t *testing.T) {
			app := &App{}
			var err error
			for i, site := range c.sites {
				h := &Handler{app: app, Audit: site, Source: "Caddyfile:" + string(rune('1'+i))}
				if err = h.needsChain(); err != nil {
					break
				}
				if off := site != nil && site.Mode == auditOff; (h.chain == nil) != off {
					t.Errorf("site %d has a chain: %v", i, h.chain != nil)
				}
			}
			switch {
			case c.refuse == "" && err != nil, c.refuse != "" && (err == nil || !strings.Contains(err.Error(), c.refuse)):
				t.Fatalf("%v, want %q", err, c.refuse)
			case c.refuse != "":
				return
			case app.chain == nil:
				if c.want.Mode != "" {
					t.Error("there is no chain")
				}
			case app.chain.config != c.want:
				t.Errorf("%+v, want %+v", app.chain.config, c.want)
			}
		})
	}
}
