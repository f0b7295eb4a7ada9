// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/audit"
)

// safe makes a text of others safe for a terminal.
func safe(text string) string { return policy.Show(text) }

// pendingText is a request in words. What others have written is escaped.
func pendingText(p module.PendingRequest) string {
	var b strings.Builder
	line := func(word, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s%s\n", word, fmt.Sprintf(format, args...))
	}
	line("request", "%s, %s", p.ID, stateText(p))
	line("asked", "%s, until %s", second(p.Asked), second(p.Expires))
	line("where", "%s, label %q, profile %s", p.Op, p.Label, safe(p.Profile))
	line("who", "%s", safe(p.Who))
	if r := p.Record; r != nil {
		recordText(line, r)
	}
	if n := p.Now; n != nil {
		nowText(&b, line, n)
	}
	if len(p.Decisions) > 0 {
		b.WriteString("\nDECISIONS\n")
	}
	for _, d := range p.Decisions {
		what, note := "approves", ""
		if !d.Approves {
			what = "denies"
		}
		if d.Note != "" {
			note = ": " + safe(d.Note)
		}
		if d.Disclose {
			note += " (the device may read it)"
		}
		fmt.Fprintf(&b, "  %s %s, %s, %s%s\n", safe(d.Name), methodText(d.Method), what, second(d.At), note)
	}
	return b.String()
}

func methodText(method string) string {
	switch method {
	case "client_cert":
		return "(by client certificate)"
	case "ca":
		return "(in the background)"
	}
	return "(stated, not verified)"
}

func stateText(p module.PendingRequest) string {
	switch p.State {
	case "waiting":
		return fmt.Sprintf("waits for %d of %d approvals", p.Missing, p.Needs)
	case "approved":
		return "approved, and not fetched yet"
	case "denied":
		return "denied"
	case "ordered":
		return "waits for the CA, which is asked again at " + second(p.Next)
	default:
		return "approved, and the certificate was issued"
	}
}

func recordText(line func(string, string, ...any), r *audit.Record) {
	if w := r.Who; w != nil {
		if w.CertSHA256 != "" {
			line("", "certificate %s, anchor %s", w.CertSHA256, safe(w.Anchor.String()))
		}
		if w.Role == policy.RoleRA {
			line("", "a registration authority, on behalf of another")
		}
		for _, d := range w.Devices {
			line("", "device %s", safe(d.String()))
		}
	}
	if c := r.CSR; c != nil {
		line("asks for", "%s", safe(strings.TrimSpace(c.Subject.String()+" "+audit.List(c.SAN))))
		if c.Key != "" {
			line("key", "%s, SHA-256 %s", c.Key, c.SPKISHA256)
		}
	}
	if in := r.Input; in != nil {
		line("linking", "%s", in.Linking)
	}
	if p := r.Policy; p != nil {
		line("policy", "%s, SHA-256 %s", safe(p.Name.String()), p.SHA256)
	}
}

func nowText(b *strings.Builder, line func(string, string, ...any), n *module.PendingNow) {
	if n.PolicyChanged {
		line("", "the policy in force is another one")
	}
	if p := n.Plan; p != nil {
		b.WriteString("\nCERTIFICATE, as it would be issued now\n")
		planText(b, p)
	}
	list := func(title string, texts []string) {
		if len(texts) == 0 {
			return
		}
		fmt.Fprintf(b, "\n%s\n", title)
		for _, text := range texts {
			fmt.Fprintf(b, "  %s\n", safe(text))
		}
	}
	list("FINDINGS", n.Findings)
	list("DIFFERENT since it was asked", n.Differences)
	if n.Problem != "" {
		list("CAN'T BE APPROVED", []string{n.Problem})
	}
}

func planText(b *strings.Builder, p *audit.Plan) {
	part := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "  %-11s%s\n", name, safe(value))
		}
	}
	part("subject", p.Subject.String())
	for _, name := range p.SAN {
		part("san", name.String())
	}
	part("key usage", strings.Join(p.KeyUsage, ", "))
	var usages []string
	for _, oid := range p.ExtKeyUsage {
		usages = append(usages, usageName(oid.String()))
	}
	part("ext usage", strings.Join(usages, ", "))
	for _, e := range p.Extensions {
		part("extension", fmt.Sprintf("%s, %d bytes", extensionNamed(e.OID.String()), len(e.Value)))
	}
	part("validity", policy.DurationText(time.Duration(p.Validity)*time.Second))
	part("upstream", p.Upstream.String())
}

// usageName is that of an OID in a record, where it has one.
func usageName(dotted string) string {
	if oids, err := policy.ExtKeyUsageOIDs([]string{dotted}); err == nil {
		return policy.ExtKeyUsageName(oids[0])
	}
	return dotted
}

func extensionNamed(dotted string) string {
	if oid, ok := policy.ExtensionOID(dotted); ok {
		return policy.ExtensionName(oid)
	}
	return dotted
}
