// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// variants are the upstreams as they may be written, by what the table calls them.
var variants = []struct {
	name     string
	upstream module.Upstream
}{
	{"`internal`", new(module.Internal)},
	{"`step_ca`", new(module.StepCA)},
	{"`est`", new(module.ESTServer)},
	{"`est` with `cmc`", &module.ESTServer{CMC: true}},
	{"`cfssl`", new(module.CFSSL)},
	{"`cfssl` with `serial` and `uris`", &module.CFSSL{OurSerials: true, URIs: true}},
	{"`acme`", new(module.ACME)},
	{"`acme` with `common_name`", &module.ACME{CommonName: true}},
	{"`webhook`", new(module.WebhookCA)},
	{"`webhook` with `own_serials` and `revoke`", &module.WebhookCA{OwnSerials: true, TellRevocations: true}},
	{"`ejbca`", new(module.EJBCA)},
	{"`ejbca` with `extensions`", &module.EJBCA{Extensions: true}},
	{"`vault`", new(module.Vault)},
	{"`vault` with `verbatim`", &module.Vault{Verbatim: true}},
	{"`vault` with `cel`", &module.Vault{CEL: true}},
}

// carried is one row: what an upstream carries, and what it can do.
func carried(name string, up module.Upstream) string {
	can := up.Carries
	if written, ok := up.(interface{ CarriesAsWritten() policy.Capabilities }); ok {
		can = written.CarriesAsWritten
	}
	c := can()
	part := func(all bool, some ...string) string {
		switch {
		case all:
			return "yes"
		case len(some) > 0:
			return strings.Join(some, ", ")
		default:
			return "no"
		}
	}
	var attributes, forms, purposes []string
	for _, text := range c.PassedTypes {
		oid, _ := csr.TypeOID(text)
		attributes = append(attributes, "the request's "+policy.AttributeName(oid))
	}
	for _, form := range c.PassedForms {
		forms = append(forms, "the request's "+form.String())
	}
	for _, text := range c.SubjectTypes {
		oid, _ := csr.TypeOID(text)
		attributes = append(attributes, policy.AttributeName(oid))
	}
	for i, text := range c.Fixed {
		oid, _ := csr.TypeOID(text)
		name := policy.AttributeName(oid)
		if i == 0 {
			name = "one value for all of " + name
		}
		attributes = append(attributes, name)
	}
	for _, form := range c.SANForms {
		if form == csr.OtherName && c.OtherName != "" {
			forms = append(forms, form.String()+" ("+c.OtherName+")")
			continue
		}
		forms = append(forms, form.String())
	}
	var further []string
	if c.Verbatim {
		further = append(further, "the request's")
	}
	for _, text := range c.Purposes {
		oid, _ := csr.TypeOID(text)
		if name := policy.ExtKeyUsageName(oid); !slices.Contains(purposes, name) {
			purposes = append(purposes, name)
		}
	}
	_, revokes := up.(ra.Revoker)
	if partly, ok := up.(interface{ CanRevoke() bool }); ok && revokes {
		revokes = partly.CanRevoke()
	}
	_, crl := up.(ra.CRLSource)
	deferrer, defers := up.(ra.Deferrer)
	row := []string{
		name, part(c.Subject, attributes...), part(c.SAN, forms...), part(c.KeyUsage), part(c.ExtKeyUsage, purposes...), part(c.Extensions, further...),
		part(c.Serial), part(!c.PKCS10), part(c.Keygen), part(revokes), part(crl), part(defers && deferrer.Defers()),
	}
	return "| " + strings.Join(row, " | ") + " |\n"
}

func TestTheTableOfUpstreamsIsWhatTheyCarry(t *testing.T) {
	table := "| upstream | subject | alternative names | key usage | extended key usage | further extensions | our serial number | CRMF | makes keys | revokes | CRL | decides later |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n"
	var told []string
	for _, v := range variants {
		told = append(told, string(v.upstream.(caddy.Module).CaddyModule().ID))
		table += carried(v.name, v.upstream)
	}
	for _, m := range caddy.GetModules("est.upstreams") {
		// mortal_… are those of tests (mortal_test.go).
		if !slices.Contains(told, string(m.ID)) && !strings.HasPrefix(m.ID.Name(), "mortal_") {
			t.Errorf("the table lacks %s", m.ID)
		}
	}
	page := filepath.Join("..", "docs", "upstreams.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- carries -->\n", "<!-- /carries -->"
	head, rest, found := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("the page has no place for the table")
	}
	want := head + begin + table + end + tail
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("the table isn't what upstreams carry: run with -update. It is\n%s", fmt.Sprint(table))
	}
}
