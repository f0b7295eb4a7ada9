// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/caddy-est/estra/ra"
)

// maxPages bounds the pages of provisioners that are read, a hundred on each.
const maxPages = 50

// wanted is what a provisioner must be.
type wanted struct {
	kind string // JWK or X5C
	kid  string // of a JWK
}

// named are our provisioners, by name.
func (u *Upstream) named() map[string]wanted {
	named := map[string]wanted{u.main.cfg.Provisioner: {kind: "X5C"}}
	if _, opens, err := u.main.current(); err == nil && opens.JWK != nil {
		named[u.main.cfg.Provisioner] = wanted{"JWK", opens.JWK.KeyID}
	}
	if u.own != nil {
		named[u.own.cfg.Provisioner] = wanted{kind: "X5C"}
	}
	return named
}

// published is a provisioner as step-ca shows it to everybody.
type published struct {
	Type string `json:"type"`
	Name string `json:"name"`
	Key  struct {
		KeyID string `json:"kid"`
	} `json:"key"`
	Claims struct {
		Max string `json:"maxTLSCertDuration"`
	} `json:"claims"`
	Options struct {
		X509 x509Options `json:"x509"`
	} `json:"options"`
}

// Check looks for the provisioners and their templates, at the addresses and at the
// clock.
func (u *Upstream) Check(ctx context.Context) []ra.Check {
	var checks []ra.Check
	named := u.named()
	found, err := u.provisioners(ctx, named)
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if err != nil {
			checks = append(checks, ra.Checked("provisioner "+name, err, ""))
			continue
		}
		checks = append(checks, found[name].check(name, named[name])...)
	}
	return append(checks, u.client.Check(ctx)...)
}

// provisioners gives those of these names.
func (u *Upstream) provisioners(ctx context.Context, named map[string]wanted) (map[string]published, error) {
	found := map[string]published{}
	cursor := ""
	for range maxPages {
		body, err := u.query(ctx, "/1.0/provisioners", url.Values{"limit": {"100"}, "cursor": {cursor}}.Encode(), maxAnswer)
		if err != nil {
			return nil, err
		}
		var page struct {
			Provisioners []json.RawMessage `json:"provisioners"`
			Next         string            `json:"nextCursor"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, u.client.Unreadable(false, "a list of provisioners that can't be read", nil)
		}
		for _, raw := range page.Provisioners {
			var p published
			// Those of other types have other fields.
			if json.Unmarshal(raw, &p) == nil && named[p.Name].kind != "" {
				found[p.Name] = p
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	return found, nil
}

// check holds a provisioner to what it must be. Without the template it would issue
// the request's own names (docs/step-ca.md).
func (p published) check(name string, want wanted) []ra.Check {
	what := "provisioner " + name
	switch {
	case p.Name == "":
		return []ra.Check{{What: what, Result: ra.Bad, Detail: "step-ca has none of this name"}}
	case p.Type != want.kind:
		return []ra.Check{{What: what, Result: ra.Bad, Detail: fmt.Sprintf("it is of type %s, and our credential is for %s", p.Type, want.kind)}}
	case want.kid != "" && p.Key.KeyID != want.kid:
		return []ra.Check{{What: what, Result: ra.Bad, Detail: fmt.Sprintf("its key is %s, and ours %s", p.Key.KeyID, want.kid)}}
	}
	detail := p.Type
	if p.Claims.Max != "" {
		detail += ", certificates for up to " + p.Claims.Max
	}
	checks := []ra.Check{{What: what, Result: ra.Good, Detail: detail}}
	t := ra.Check{What: "template " + name, Result: ra.Good, Detail: "that of `caddy est step-ca template`"}
	switch x := p.Options.X509; {
	case x.Template == template:
	case x.Template != "":
		t.Result, t.Detail = ra.Warning, "another one than `caddy est step-ca template` prints: see by a probe whether it issues as planned"
	case x.TemplateFile != "":
		t.Result, t.Detail = ra.Warning, fmt.Sprintf("step-ca has it in the file %s, which it doesn't show: see by a probe", x.TemplateFile)
	default:
		t.Result, t.Detail = ra.Bad, "it has none, and would issue the names of the request: `caddy est step-ca provisioner` prints it"
	}
	return append(checks, t)
}
