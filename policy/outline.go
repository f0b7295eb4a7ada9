// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// An Outline is what the certificates of a profile have alike, for the
// configuration of a CA that writes it by itself.
type Outline struct {
	// Subject are the attributes that are set to one value.
	Subject csr.Name
	// Types are the types of all attributes, dotted.
	Types []string
	// Forms are those of the names in the SAN, and Wildcards says whether DNS names
	// may have one.
	Forms     []csr.NameForm
	Wildcards bool
	// KeyUsage has those that a key can't be for, too: a plan leaves them out.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []asn1.ObjectIdentifier
	Longest     time.Duration
}

// Outline is that of the profile itself, without what a line of `who` adds.
func (p *Profile) Outline() Outline {
	o := Outline{KeyUsage: p.usage.key, ExtKeyUsage: slices.Clone(p.usage.ext), Longest: p.longest}
	for _, rule := range p.names.subject.rules {
		o.Types = append(o.Types, rule.oid.String())
		o.Wildcards = o.Wildcards || rule.wildcard
		if len(rule.literals) == 1 && rule.setBy == nil {
			o.Subject = append(o.Subject, csr.RDN{rule.literals[0]})
		}
	}
	for _, rule := range p.names.san.rules {
		o.Wildcards = o.Wildcards || rule.wildcard
		if !slices.Contains(o.Forms, rule.kind.key.form) {
			o.Forms = append(o.Forms, rule.kind.key.form)
		}
	}
	return o
}
