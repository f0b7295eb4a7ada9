// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// AttributeName gives the short name of a subject attribute, or its OID.
func AttributeName(oid asn1.ObjectIdentifier) string { return attributeName(oid) }

// ExtKeyUsageName gives the name of an extended key usage, or its OID.
func ExtKeyUsageName(oid asn1.ObjectIdentifier) string { return extKeyUsageName(oid) }

// ExtensionName gives the name of an extension, or its OID.
func ExtensionName(oid asn1.ObjectIdentifier) string { return extensionName(oid) }

// ExtensionOID reads the name of an extension as a policy has it, or an OID.
func ExtensionOID(text string) (asn1.ObjectIdentifier, bool) { return extensionOID(text) }

// AttributeOID reads the name of an attribute as a policy has it, or an OID.
func AttributeOID(text string) (asn1.ObjectIdentifier, bool) { return attributeOID(text) }

// KeyUsageBits reads names of key usages.
func KeyUsageBits(names []string) (x509.KeyUsage, error) {
	var bits x509.KeyUsage
	for _, name := range names {
		bit, ok := keyUsageBit(name)
		if !ok {
			return 0, fmt.Errorf("%s is no key usage of RFC 5280%s", quote(name), didYouMean(name, knownKeyUsages()))
		}
		bits |= bit
	}
	return bits, nil
}

// ExtKeyUsageOIDs reads names of extended key usages, or OIDs.
func ExtKeyUsageOIDs(names []string) ([]asn1.ObjectIdentifier, error) {
	var oids []asn1.ObjectIdentifier
	for _, name := range names {
		oid, ok := extKeyUsageOID(name)
		if !ok {
			return nil, fmt.Errorf("%s is neither a known extended key usage nor an OID%s", quote(name), didYouMean(name, extKeyUsageNames()))
		}
		oids = append(oids, oid)
	}
	return oids, nil
}

// ExtensionText gives an extension on one line: its name, and what is in it.
func ExtensionText(e csr.Extension) string { return extensionText(e) }

// ExplainText gives a decision as text for an operator: the verdict, each
// finding with its line, and the plan. It ends with a line break. What comes
// from the request is escaped.
func ExplainText(d Decision, g Gate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "verdict:  %s\n", d.Verdict)
	fmt.Fprintf(&b, "profile:  %s\n", show(d.Profile))
	fmt.Fprintf(&b, "policy:   %s\n", show(d.Policy))
	fmt.Fprintf(&b, "gate:     %s\n", g)
	if d.Approval != nil {
		fmt.Fprintf(&b, "approval: %s\n", d.Approval)
	}
	b.WriteString("findings:")
	if len(d.Findings) == 0 {
		b.WriteString(" none")
	}
	b.WriteByte('\n')
	for _, f := range d.Findings {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	explainPlan(&b, d)
	return b.String()
}

// String says whether the gate is open and, if not, what the client gets.
func (g Gate) String() string {
	switch {
	case g.Open:
		return "open"
	case g.Challenge:
		return "shut; an HTTP credential could open it (401)"
	case g.Body:
		return "shut; an otpChallenge in the request could open it (403)"
	default:
		return "shut (403)"
	}
}

func explainPlan(b *strings.Builder, d Decision) {
	if d.Plan.Validity == 0 {
		b.WriteString("plan:     none\n")
		return
	}
	title := "plan:"
	if !d.Grants() {
		title = "plan, as it would have been:"
	}
	p := d.Plan
	fmt.Fprintf(b, "%s\n", title)
	fmt.Fprintf(b, "  subject:    %s\n", subjectText(p.Names.Subject))
	fmt.Fprintf(b, "  san:        %s\n", sanText(p))
	fmt.Fprintf(b, "  key usage:  %s\n", keyUsageText(p.KeyUsage))
	fmt.Fprintf(b, "  ext usage:  %s\n", extKeyUsageText(p.ExtKeyUsage))
	for _, extension := range p.Extensions {
		fmt.Fprintf(b, "  extension:  %s\n", extensionText(extension))
	}
	fmt.Fprintf(b, "  validity:   %s\n", shortDuration(p.Validity))
	fmt.Fprintf(b, "  upstream:   %s\n", upstreamText(p.Upstream))
	if d.Keygen != nil {
		fmt.Fprintf(b, "  key:        %s\n", d.Keygen)
	}
}

func subjectText(subject csr.Name) string {
	if len(subject) == 0 {
		return "(empty)"
	}
	return subject.String()
}

func sanText(p Plan) string {
	if len(p.Names.SAN) == 0 {
		return "(none)"
	}
	names := make([]string, len(p.Names.SAN))
	for i, name := range p.Names.SAN {
		names[i] = name.String()
	}
	text := strings.Join(names, ", ")
	if p.SANCritical {
		text += " (critical)"
	}
	return text
}

func upstreamText(name string) string {
	if name == "" {
		return "(the only one)"
	}
	return show(name)
}
