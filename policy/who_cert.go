// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// maxSerial is how many bytes a serial number has at most (RFC 5280 section
// 4.1.2.2).
const maxSerial = 20

// certLimits are what a client_cert line wants of a certificate beside its
// subject and its key. The zero value wants nothing.
type certLimits struct {
	issuer  []subjectValue
	serials []*big.Int // empty: any
	san     []certNames
}

// certNames are the patterns for one kind of SAN entry.
type certNames struct {
	kind     sanKind
	patterns []pattern
}

// exactValues reads attributes with the one value that each must have.
func (c *compiler) exactValues(n node) []subjectValue {
	var values []subjectValue
	for _, member := range n.members() {
		oid, ok := attributeOID(member.name)
		if !ok {
			c.unknownAttribute(member)
			continue
		}
		value, isText := member.text()
		if _, err := spellText(value); err != nil && isText {
			c.add(member.at, "no certificate has the %s%s %s: %v", subjectAttribute, member.name, quote(value), err)
		}
		values = append(values, subjectValue{oid, member.name, value})
	}
	return values
}

func (c *compiler) certLimits(n node) certLimits {
	limits := certLimits{issuer: c.exactValues(n.get("issuer"))}
	for _, key := range []string{"issuer", "san", "serial"} {
		if part := n.get(key); (part.isList() || part.isMap()) && len(part.members())+len(part.items()) == 0 {
			c.add(part.at, "`%s` is empty: leave it out, or say what it has to be", part.path)
		}
	}
	for _, member := range c.sanMembers(n.get("san")) {
		if member.isList() && len(member.items()) == 0 {
			c.add(member.at, "`%s` is an empty list: no certificate would do", member.path)
		}
		limits.san = append(limits.san, certNames{member.kind, c.patterns(member.node, member.kind.form)})
	}
	limits.serials = c.serials(n.get("serial"))
	if len(limits.serials) > 0 && len(limits.issuer) == 0 {
		c.warn(lintSerialAlone, n.get("serial").spot(), "a serial number is one certificate's only together with its issuer: write `issuer` beside it, unless the anchor has one CA alone")
	}
	return limits
}

// parseSerial reads a serial number as `openssl x509 -serial` and browsers
// write it: hexadecimal, so that colons don't count.
func parseSerial(text string) (*big.Int, bool) {
	digits := strings.ReplaceAll(text, ":", "")
	serial, ok := new(big.Int).SetString(digits, 16)
	return serial, ok && !strings.ContainsAny(digits, "+-_") && serial.Sign() > 0 && len(serial.Bytes()) <= maxSerial
}

// serials reads one serial number, or a list.
func (c *compiler) serials(n node) []*big.Int {
	var serials []*big.Int
	for _, item := range n.oneOrMore() {
		serial, ok := parseSerial(item.value())
		if !ok {
			c.add(item.at, "`%s` wants serial numbers in hexadecimal, such as \"0A1B2C\", of %d bytes at most, and this is %s", n.path, maxSerial, quote(item.value()))
			continue
		}
		serials = append(serials, serial)
	}
	return serials
}

// check tells in what the certificate isn't as the line wants it, or "".
func (l certLimits) check(cert *x509.Certificate) string {
	if len(l.serials) > 0 && !slices.ContainsFunc(l.serials, func(s *big.Int) bool { return s.Cmp(cert.SerialNumber) == 0 }) {
		return fmt.Sprintf("the client certificate has the serial number %s, and this line wants %s",
			quote(cert.SerialNumber.Text(16)), showList(l.serialTexts()))
	}
	if len(l.issuer) == 0 {
		return ""
	}
	issuer, err := csr.NameFromDER(cert.RawIssuer)
	if err != nil {
		return "the issuer of the client certificate can't be read: " + show(err.Error())
	}
	for _, want := range l.issuer {
		if got, ok := hasValue(issuer, want); !ok {
			return fmt.Sprintf("the issuer of the client certificate has the %s%s %s, and this line wants %s",
				subjectAttribute, want.name, showList(got), quote(want.value))
		}
	}
	return ""
}

func (l certLimits) serialTexts() []string {
	texts := make([]string, len(l.serials))
	for i, s := range l.serials {
		texts[i] = s.Text(16)
	}
	return texts
}

// checkSAN wants, of each kind that the line has patterns for, one entry or
// more, and each of a pattern: of two names nobody could say which one
// identifies the device.
func (l certLimits) checkSAN(san []csr.GeneralName) string {
	for _, want := range l.san {
		var values []string
		good := true
		for _, name := range san {
			if keyOf(name) != want.kind.key {
				continue
			}
			values = append(values, name.String())
			good = good && want.takes(name.Value)
		}
		if !good || len(values) == 0 {
			return fmt.Sprintf("the client certificate has the %s %s, and this line wants each to be of %s, and one at least",
				want.kind.label(), showList(values), showList(patternTexts(want.patterns)))
		}
	}
	return ""
}

func (w certNames) takes(value string) bool {
	if value == "" {
		return false // it isn't written as its type demands
	}
	spelled, err := w.kind.form.spell(value)
	if err != nil {
		return false
	}
	_, ok := matchAny(w.patterns, func(p pattern) bool { return p.match(spelled) })
	return ok
}

// heldWith tells whether these limits are kept wherever others are.
func (l certLimits) heldWith(other certLimits) bool {
	if len(l.serials) > 0 && (len(other.serials) == 0 || slices.ContainsFunc(other.serials, func(s *big.Int) bool {
		return !slices.ContainsFunc(l.serials, func(t *big.Int) bool { return s.Cmp(t) == 0 })
	})) {
		return false
	}
	return within(l.issuer, other.issuer) && !slices.ContainsFunc(l.san, func(w certNames) bool {
		return !slices.ContainsFunc(other.san, w.heldWith)
	})
}

// within tells whether each of some values is among others.
func within(values, others []subjectValue) bool {
	return !slices.ContainsFunc(values, func(v subjectValue) bool {
		return !slices.ContainsFunc(others, func(w subjectValue) bool { return v.oid.Equal(w.oid) && v.value == w.value })
	})
}

// heldWith compares patterns by their text.
func (w certNames) heldWith(other certNames) bool {
	texts := patternTexts(w.patterns)
	return w.kind.key == other.kind.key && !slices.ContainsFunc(patternTexts(other.patterns), func(text string) bool {
		return !slices.Contains(texts, text)
	})
}

// checkInventory tells why the certificate isn't one that was issued under the
// line's profile, or "".
func (p proof) checkInventory(who Identity) string {
	switch {
	case p.profile == "" || who.IssuedUnder == p.profile:
		return ""
	case who.IssuedUnder == "":
		return fmt.Sprintf("the inventory doesn't have the client certificate under a profile, and this line wants one that was issued under %s", quote(p.profile))
	default:
		return fmt.Sprintf("the client certificate was issued under the profile %s, and this line wants one of %s", quote(who.IssuedUnder), quote(p.profile))
	}
}

// AsksInventory tells whether a line of the operation, by whomever it comes, asks
// under which profile a client certificate was issued. FullCMC is any of its parts.
func (p *Profile) AsksInventory(name Op) bool {
	return slices.ContainsFunc(p.offered(), func(o *op) bool {
		return (o.name == name || strings.HasPrefix(string(o.name), string(name)+".")) && o.any(asksInventory)
	})
}

func asksInventory(p proof) bool { return p.profile != "" }
