// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

const (
	oneLabelRun = `[a-z0-9-]*`
	someLabels  = `[a-z0-9-]+(?:\.[a-z0-9-]+)*`
)

func isLDH(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
}

func beyondASCII(r rune) bool { return r >= utf8.RuneSelf }

func notInHostPattern(r rune) bool { return !isLDH(r) && r != '.' && r != '*' }

// compileDNS: `*` stays within one label, `**` is one or more labels. Letter
// case doesn't count. International labels may be written as such.
func compileDNS(text string) (pattern, error) {
	labels, err := dnsLabels(text)
	if err != nil {
		return pattern{}, err
	}
	p := pattern{text: text, whole: anchored(labelExpressions(labels)), check: checkDNS, tail: tailOf(labels), star: labels[0] == "*"}
	if len(labels) > 1 || labels[0] == "**" {
		p.rest = restOf(labels)
	}
	return p, nil
}

// dnsLabels gives the labels of a pattern in lower case and in their xn--
// form.
func dnsLabels(text string) ([]string, error) {
	if err := stars(text); err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return nil, errors.New("it is an IP address: those stand under ip")
	}
	labels := strings.Split(asciiLower(text), ".")
	literal := 0
	for i, label := range labels {
		label, err := labelPattern(label)
		if err != nil {
			return nil, err
		}
		labels[i] = label
		literal += max(len(strings.ReplaceAll(label, "*", "")), 1) + 1
	}
	if literal-1 > 253 {
		return nil, errors.New("no DNS name is that long (253 letters)")
	}
	return labels, nil
}

// tailOf gives what stands behind the last star of a pattern.
func tailOf(labels []string) string {
	text := strings.Join(labels, ".")
	return text[strings.LastIndexByte(text, '*')+1:]
}

// restOf gives what takes the name behind its first label.
func restOf(labels []string) *matcher {
	if labels[0] != "**" {
		return anchored(labelExpressions(labels[1:]))
	}
	all := labelExpressions(labels)
	if len(labels) == 1 {
		return anchored(all)
	}
	return anchored(all + `|` + labelExpressions(labels[1:]))
}

func labelExpressions(labels []string) string {
	expressions := make([]string, len(labels))
	for i, label := range labels {
		expressions[i] = translate(label, oneLabelRun, someLabels)
	}
	return strings.Join(expressions, `\.`)
}

func labelPattern(label string) (string, error) {
	international := strings.ContainsFunc(label, beyondASCII)
	switch {
	case label == "":
		return "", errors.New("it has an empty label, and no name has one")
	case label == "**":
		return label, nil
	case strings.Contains(label, "**"):
		return "", errors.New("** stands for whole labels: it can't be part of one")
	case international && strings.Contains(label, "*"):
		return "", errors.New("it has * in an international label: names have such a label in its xn-- form, of which no part stands for a letter")
	case international:
		return toALabel(label)
	case len(strings.ReplaceAll(label, "*", "")) > 63:
		return "", errors.New("a label of a DNS name has at most 63 letters")
	case label[0] == '-' || label[len(label)-1] == '-':
		return "", errors.New("no label begins or ends with a hyphen")
	case strings.HasPrefix(label, aLabelPrefix) && !strings.Contains(label, "*") && !validALabel(label):
		return "", errInvalidALabel
	}
	return label, onlyLDH(strings.ReplaceAll(label, "*", ""))
}

var errInvalidALabel = errors.New("it has a label that begins with xn-- and stands for no international one (IDNA2008)")

func onlyLDH(label string) error {
	if i := strings.IndexFunc(label, func(r rune) bool { return !isLDH(r) }); i >= 0 {
		if label[i] >= 0x80 {
			return errors.New("it is not ASCII: international names are written in their xn-- form")
		}
		return fmt.Errorf("it has %s, and a DNS name has only letters, digits, hyphens and dots", quote(label[i:i+1]))
	}
	return nil
}

// spellDNS checks a name as RFC 5280 section 4.2.1.6 wants it ("preferred
// name syntax"), with valid labels where they begin with xn--, and gives it in
// lower case. A whole first label `*` passes; who may have it, the rule says.
func spellDNS(value string) (string, error) {
	spelled := asciiLower(value)
	if err := checkDNS(spelled); err != nil {
		return "", err
	}
	return spelled, nil
}

// checkDNS looks at what a pattern can't: a name in lower case that has the
// letters of a host name.
func checkDNS(spelled string) error {
	if err := checkHost(spelled); err != nil || !strings.Contains(spelled, aLabelPrefix) {
		return err
	}
	for label := range strings.SplitSeq(spelled, ".") {
		if strings.HasPrefix(label, aLabelPrefix) && !validALabel(label) {
			return errInvalidALabel
		}
	}
	return nil
}

func checkHost(value string) error {
	if len(value) > 253 {
		return errors.New("it is longer than 253 letters")
	}
	if strings.HasSuffix(value, ".") {
		return errors.New("it ends with a dot")
	}
	if _, ok := parseAddress(value); ok {
		return errors.New("it is an IP address, which has a form of its own")
	}
	rest, _ := cutWildcard(value)
	for label := range strings.SplitSeq(rest, ".") {
		switch {
		case label == "":
			return errors.New("it has an empty label")
		case len(label) > 63:
			return errors.New("it has a label of more than 63 letters")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("it has a label that begins or ends with a hyphen")
		}
		if err := onlyLDH(label); err != nil {
			return err
		}
	}
	return nil
}

// parseAddress reads an IP address. What can't be one, as a DNS name nearly
// always, is told apart by its last letter, without the error that a parser
// would make.
func parseAddress(value string) (netip.Addr, bool) {
	if value == "" || !strings.Contains(value, ":") && (value[len(value)-1] < '0' || value[len(value)-1] > '9') {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(value)
	return addr, err == nil
}

// cutWildcard gives what follows "*." in a wildcard name.
func cutWildcard(name string) (rest string, wildcard bool) {
	return strings.CutPrefix(name, "*.")
}

// asciiLower folds ASCII letters only: Unicode has letters that fold to
// ASCII, such as the Kelvin sign.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
