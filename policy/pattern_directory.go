// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

var directoryForm = form{"directoryName", compileDirectory, spellDirectory}

// An rdnPattern takes one RDN: each attribute is there once, and of its
// pattern.
type rdnPattern map[string]pattern // by OID

// compileDirectory: TYPE=PATTERN,TYPE=PATTERN, each pattern that of the
// subject attribute. The RDNs are all there, in this order; the attributes of
// one RDN, which + joins, in any.
func compileDirectory(text string) (pattern, error) {
	if err := stars(text); err != nil {
		return pattern{}, err
	}
	if strings.Contains(asciiLower(text), `\2a`) {
		return pattern{}, errors.New("it has an escaped *, and no pattern takes a name with *")
	}
	name, err := readDirectory(text)
	if err != nil {
		return pattern{}, err
	}
	p := pattern{text: text}
	for _, rdn := range name {
		attributes := rdnPattern{}
		for _, value := range rdn {
			oid := value.Type.String()
			if _, twice := attributes[oid]; twice {
				return pattern{}, fmt.Errorf("it has the attribute %s twice in one RDN, and no RDN has", csr.TypeName(value.Type))
			}
			form := subjectForm(oid)
			inner, err := form.compile(value.Value)
			if err != nil {
				return pattern{}, fmt.Errorf("its %s can match no %s: %w", csr.TypeName(value.Type), form.name, err)
			}
			attributes[oid] = inner
		}
		p.rdns = append(p.rdns, attributes)
	}
	return p, nil
}

// readDirectory reads a name of which every value is text.
func readDirectory(text string) (csr.Name, error) {
	name, err := csr.ParseName(text)
	if err != nil {
		return nil, errors.New(show(err.Error()))
	}
	if len(name) == 0 {
		return nil, errors.New("it is empty")
	}
	for _, rdn := range name {
		for _, value := range rdn {
			if len(value.Raw) > 0 {
				return nil, fmt.Errorf("its %s is not text", csr.TypeName(value.Type))
			}
		}
	}
	return name, nil
}

// spellDirectory spells each value as the subject attribute is spelled.
func spellDirectory(value string) (string, error) {
	name, err := readDirectory(value)
	if err != nil {
		return "", err
	}
	for _, rdn := range name {
		for i, value := range rdn {
			spelled, err := subjectForm(value.Type.String()).spell(value.Value)
			if err != nil {
				return "", fmt.Errorf("its %s is not accepted: %w", csr.TypeName(value.Type), err)
			}
			if _, err := spellText(value.Value); err != nil {
				return "", fmt.Errorf("its %s is not accepted: %w", csr.TypeName(value.Type), err)
			}
			rdn[i] = csr.NewAttributeValue(value.Type, spelled)
		}
	}
	return name.String(), nil
}

// matchDirectory tells whether a name has just the RDNs of the pattern.
func (p pattern) matchDirectory(spelled string) bool {
	name, err := csr.ParseName(spelled)
	if err != nil || len(name) != len(p.rdns) {
		return false
	}
	for i, rdn := range name {
		if len(rdn) != len(p.rdns[i]) || !p.rdns[i].within(rdn) {
			return false
		}
	}
	return true
}

// within tells whether the RDN has all attributes of the pattern.
func (r rdnPattern) within(rdn csr.RDN) bool {
	found := map[string]bool{}
	for _, value := range rdn {
		oid := value.Type.String()
		if want, ok := r[oid]; ok && want.match(value.Value) {
			found[oid] = true
		}
	}
	return len(found) == len(r)
}

// touchesDirectory tells whether a name has, somewhere, every RDN of the
// pattern: what a guardrail denies is denied in any company.
func (p pattern) touchesDirectory(spelled string) bool {
	name, err := csr.ParseName(spelled)
	if err != nil {
		return false
	}
	for _, want := range p.rdns {
		if !containsRDN(name, want) {
			return false
		}
	}
	return true
}

func containsRDN(name csr.Name, want rdnPattern) bool {
	for _, rdn := range name {
		if want.within(rdn) {
			return true
		}
	}
	return false
}
