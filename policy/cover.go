// SPDX-License-Identifier: Apache-2.0

package policy

import "strings"

// What one pattern takes and another one doesn't is found with samples. A
// star of the pattern stands for a letter that the other one doesn't have, so
// that only a star of the other can take it; and what takes that letter takes
// every run in its place. It stands for nothing, too, which `**` doesn't take.
// `**` stands for runs of one to more pieces than the other pattern has, since
// `*.*` takes two.

// sampleLetters are letters of every form.
const sampleLetters = "qxzjvkwybfghmnpucdtrlsioae0123456789"

// samples gives values that a pattern takes, which together tell whether
// another text takes all that it takes. It gives none where that isn't known.
func samples(text, other string, separators string) []string {
	lower := strings.ToLower(text + other)
	i := strings.IndexFunc(sampleLetters, func(r rune) bool { return !strings.ContainsRune(lower, r) })
	if i < 0 || strings.Count(text, "**") > 1 || strings.Contains(text, "***") {
		return nil
	}
	letter := sampleLetters[i : i+1]
	before, after, wide := strings.Cut(text, "**")
	if !wide {
		return runs(text, letter)
	}
	made := runs(before+letter+after, letter)
	before, after = strings.ReplaceAll(before, "*", letter), strings.ReplaceAll(after, "*", letter)
	for _, separator := range separators {
		most := strings.Count(other, string(separator)) + 2
		for n := 1; n <= most; n++ {
			made = append(made, before+letter+strings.Repeat(string(separator)+letter, n)+after)
		}
	}
	return made
}

// runs puts a letter for each star, and nothing for one of them or for all.
func runs(text, letter string) []string {
	made := []string{strings.ReplaceAll(text, "*", letter), strings.ReplaceAll(text, "*", "")}
	for i := range len(text) {
		if text[i] == '*' {
			made = append(made, strings.ReplaceAll(text[:i]+text[i+1:], "*", letter))
		}
	}
	return made
}

func (f form) separators() string {
	if f.name == uriForm.name {
		return "./:"
	}
	return "."
}

// covers tells whether a pattern takes all that another one takes. wildcard:
// so does a rule with `wildcard: true`.
func covers(p, inner pattern, f form, wildcard bool) bool {
	if p.prefix.IsValid() || inner.prefix.IsValid() {
		return p.prefix.IsValid() && inner.prefix.IsValid() && p.prefix.Bits() <= inner.prefix.Bits() && p.prefix.Contains(inner.prefix.Addr())
	}
	if wildcard && inner.star && !p.star {
		return false
	}
	if !mayCover(p.text, inner.text) {
		return false
	}
	values := samples(inner.text, p.text, f.separators())
	matched := 0
	for _, value := range values {
		spelled, err := f.spell(value)
		if err != nil || !inner.match(spelled) {
			continue // a path of a URI in its host, and such
		}
		if !p.match(spelled) {
			return false
		}
		matched++
	}
	return matched > 0
}

// mayCover tells at once that a text can't take all of another: what it begins
// and ends with is there, too.
func mayCover(text, inner string) bool {
	text, inner = strings.ToLower(text), strings.ToLower(inner)
	begin, _, star := strings.Cut(text, "*")
	if !star {
		return !strings.Contains(inner, "*")
	}
	end := text[strings.LastIndexByte(text, '*')+1:]
	return strings.HasPrefix(inner, begin) && strings.HasSuffix(inner, end)
}

// deniedWholly gives the guardrail's pattern that denies all that a pattern
// takes.
func deniedWholly(p pattern, f form, denied func(string) (pattern, spot, bool)) (pattern, spot, bool) {
	value := p.text
	if p.prefix.IsValid() {
		value = p.prefix.Addr().String()
	} else if strings.Contains(value, "*") {
		values := samples(p.text, "", f.separators())
		if len(values) == 0 {
			return pattern{}, spot{}, false
		}
		value = values[0]
	}
	deny, at, hit := denied(value)
	if !hit {
		return pattern{}, spot{}, false
	}
	if !strings.Contains(p.text, "*") && !p.prefix.IsValid() {
		return deny, at, true
	}
	if p.prefix.IsValid() {
		return deny, at, covers(deny, p, f, false)
	}
	for _, value := range samples(p.text, deny.text, f.separators()) {
		if spelled, err := f.spell(value); err != nil || !p.match(spelled) {
			continue
		}
		if other, _, hit := denied(value); !hit || other.text != deny.text {
			return pattern{}, spot{}, false
		}
	}
	return deny, at, true
}
