// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// A Demand is what a CA says that a request should carry, where it gets the request
// as the device wrote it (RFC 7030 section 4.5). The zero value demands nothing.
type Demand struct {
	// Keys are those that it takes; none: any. Signature is the scheme; nil: any.
	Keys      []KeyHint
	Signature asn1.ObjectIdentifier
	// Attributes are those of PKCS #10.
	Attributes []asn1.ObjectIdentifier
	// Extensions are those of the certificate. A nil Value is the client's.
	Extensions []csr.Extension
}

// Empty says that nothing is demanded.
func (d Demand) Empty() bool {
	return len(d.Keys)+len(d.Signature)+len(d.Attributes)+len(d.Extensions) == 0
}

// String is the demand in a line.
func (d Demand) String() string {
	var parts []string
	if len(d.Keys) > 0 {
		parts = append(parts, "keys "+keysText(d.Keys))
	}
	if len(d.Signature) > 0 {
		parts = append(parts, "signature "+signatureText(d.Signature))
	}
	for _, oid := range d.Attributes {
		parts = append(parts, "attribute "+attributeName(oid))
	}
	for _, e := range d.Extensions {
		parts = append(parts, "extension "+extensionName(e.ID))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// A Conflict is where a profile and a CA's demand can't both be met. What the profile
// says stands.
type Conflict struct {
	What    string // such as "key"
	CA      string // what the CA demands
	Profile string // what the profile says of it
}

// String is the conflict in a line.
func (c Conflict) String() string {
	return fmt.Sprintf("%s: the CA wants %s, and the profile %s", c.What, c.CA, c.Profile)
}

// HintsWith is Hints with what the CA demands beside it, as far as the profile takes
// it: a request of that shape is granted here, and is as the CA wants it. What ties a
// request to its channel (RFC 7030 section 3.5) and names aren't taken over: the first
// can't be relayed, and the second are the profile's.
func (p *Profile) HintsWith(name Op, d Demand) (Hints, []Conflict) {
	h := p.Hints(name)
	if h.Off || d.Empty() {
		return h, nil
	}
	m := merging{p: p, h: &h}
	m.keys(d)
	for _, oid := range d.Attributes {
		m.attribute(oid)
	}
	for _, e := range d.Extensions {
		m.extension(e)
	}
	return h, m.conflicts
}

type merging struct {
	p         *Profile
	h         *Hints
	conflicts []Conflict
}

func (m *merging) conflict(what, ca, profile string, args ...any) {
	m.conflicts = append(m.conflicts, Conflict{what, ca, fmt.Sprintf(profile, args...)})
}

// keys keeps the profile's order among those that both take.
func (m *merging) keys(d Demand) {
	if len(d.Keys)+len(d.Signature) == 0 {
		return
	}
	var both []KeyHint
	var signature asn1.ObjectIdentifier
	keyed := false // a key fits, whatever its signature
	for _, choice := range m.p.keys.choices {
		key, ok := choice.among(d.Keys)
		keyed = keyed || ok
		if !ok || len(d.Signature) > 0 && !m.p.signatureFor(choice).Equal(d.Signature) {
			continue
		}
		if len(both) == 0 {
			signature = m.p.signatureFor(choice)
		}
		both = append(both, key)
	}
	switch {
	case len(both) > 0:
		m.h.Keys, m.h.Signature, m.h.AnyKey = both, signature, false
	case keyed:
		m.conflict("signature", signatureText(d.Signature), "takes none of it with a key that both take")
	default:
		m.conflict("key", keysText(d.Keys), "takes %s", keysText(m.h.Keys))
	}
}

// among gives the key of a choice that is one of those demanded; none: any is.
func (c keyChoice) among(demanded []KeyHint) (KeyHint, bool) {
	own := KeyHint{Algorithm: c.algorithm, Bits: c.bits, Curve: c.curve}
	if len(demanded) == 0 {
		return own, true
	}
	for _, k := range demanded {
		if k.Algorithm != c.algorithm || k.Curve != "" && k.Curve != c.curve {
			continue
		}
		if k.Bits != 0 {
			if k.Bits < c.bits || k.Bits > c.most {
				continue
			}
			own.Bits = k.Bits
		}
		return own, true
	}
	return KeyHint{}, false
}

// notRelayed are attributes that are between a device and who speaks with it.
var notRelayed = []string{
	csr.OIDChallengePassword, csr.OIDExtensionRequest, estIdentityLinking, otpChallenge, popLinkWitnessV2, revocationChallenge, changeSubjectName,
}

func (m *merging) attribute(oid asn1.ObjectIdentifier) {
	known := slices.ContainsFunc(slices.Concat(m.h.Attributes, m.h.Linking), oid.Equal)
	if known || slices.Contains(notRelayed, oid.String()) {
		return
	}
	// One that is ignored here is in the request all the same, which goes on as it is.
	if _, how := m.p.attributes.treat(oid); how == unlisted {
		m.conflict("attribute", attributeName(oid), "refuses it")
		return
	}
	m.h.Attributes = append(m.h.Attributes, oid)
}

func (m *merging) extension(e csr.Extension) {
	switch e.ID.String() {
	case csr.OIDSubjectAltName: // names are the profile's
		return
	case csr.OIDKeyUsage, csr.OIDExtKeyUsage:
		if e.Value != nil {
			m.usage(e)
		}
		return
	}
	name := extensionName(e.ID)
	if set, ok := m.p.extensions.sets(e.ID); ok {
		if e.Value != nil && set.by == nil && !bytes.Equal(e.Value, set.Value) {
			m.conflict("extension", name+" with another value", "sets it")
		}
		return
	}
	switch _, how := m.p.extensions.treat(e.ID); how {
	case unlisted:
		m.conflict("extension", name, "refuses it")
	case ignored:
		m.conflict("extension", name, "ignores it")
	default:
		m.ask(e)
	}
}

// ask adds an extension that the request is to have.
func (m *merging) ask(e csr.Extension) {
	same := func(have csr.Extension) bool { return have.ID.Equal(e.ID) }
	switch i := slices.IndexFunc(m.h.Extensions, same); {
	case i >= 0 && e.Value != nil && !bytes.Equal(m.h.Extensions[i].Value, e.Value):
		m.conflict("extension", extensionName(e.ID)+" with another value", "has one")
	case i >= 0:
	case e.Value != nil:
		m.h.Extensions = append(m.h.Extensions, e)
		m.h.Required = slices.DeleteFunc(m.h.Required, e.ID.Equal)
	case !slices.ContainsFunc(m.h.Required, e.ID.Equal):
		m.h.Required = append(m.h.Required, e.ID)
	}
}

// usage compares what the CA wants with what the profile issues: a request can't
// change it.
func (m *merging) usage(e csr.Extension) {
	// The value is read as that of a request is.
	request := &csr.Request{Extensions: []csr.Extension{e}}
	if bits, is, err := request.RequestedKeyUsage(); is && (err != nil || bits != m.h.KeyUsage) {
		m.conflict("key usage", keyUsageText(bits), "issues for %s", keyUsageText(m.h.KeyUsage))
	}
	sorted := func(list []asn1.ObjectIdentifier) []string {
		names := extKeyUsageNamesOf(list)
		slices.Sort(names)
		return names
	}
	if list, is, err := request.RequestedExtKeyUsage(); is && (err != nil || !slices.Equal(sorted(list), sorted(m.h.ExtKeyUsage))) {
		m.conflict("extended key usage", extKeyUsageText(list), "issues for %s", extKeyUsageText(m.h.ExtKeyUsage))
	}
}

func keysText(keys []KeyHint) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = algorithmName(k.Algorithm)
		if k.Bits > 0 {
			texts[i] += fmt.Sprintf(" %d", k.Bits)
		}
		if k.Curve != "" {
			texts[i] += " " + k.Curve
		}
	}
	return strings.Join(texts, ", ")
}

func signatureText(oid asn1.ObjectIdentifier) string {
	for _, s := range signatures {
		if s.oid == oid.String() {
			return s.name
		}
	}
	return oid.String()
}
