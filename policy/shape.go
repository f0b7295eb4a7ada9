// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A kind is what a value of the policy file must look like.
type kind uint8

const (
	aText kind = iota + 1
	aBool
	aNumber
	aDuration
	aSize
	aShare
	aTime
	aWord   // one of the shape's words
	aList   // of the shape's items
	aMap    // with the shape's keys
	anyMap  // with keys that the author chooses
	oneKind // one of the shape's alternatives
)

// A shape describes a value. The shapes of the whole language stand in
// language.go; a reader of policies needs nothing else.
type shape struct {
	kind  kind
	words []string // aWord
	keys  []key    // aMap, in the order of the documentation
	each  *shape   // aList, anyMap
	alts  []*shape // oneKind
	// suggest gives what people mostly write, for editors: texts of aText,
	// keys of anyMap. What else may stand there, the compiler says.
	suggest func() []string
}

// A key is one key of a map.
type key struct {
	name     string
	is       *shape
	required bool
	initial  string // what holds when the key isn't written, for people
	doc      string
}

// describe says what a shape wants, for messages.
func (s *shape) describe() string {
	switch s.kind {
	case aText:
		return "text"
	case aBool:
		return "true or false"
	case aNumber:
		return "a number"
	case aDuration:
		return "a duration such as 90d (an integer with s, m, h or d)"
	case aSize:
		return "a size such as 16KiB (N, NKiB or NMiB)"
	case aShare:
		return "a share from 1% to 100%"
	case aTime:
		return "a time such as 2026-01-02T15:04:05Z"
	case aWord:
		return listWords(s.words)
	case aList:
		return "a list"
	case aMap, anyMap:
		return "a map"
	case oneKind:
		texts := make([]string, len(s.alts))
		for i, alt := range s.alts {
			texts[i] = alt.describe()
		}
		return strings.Join(texts, " or ")
	}
	return "nothing"
}

// listWords gives "a, b or c".
func listWords(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// found describes what stands in the file, for messages.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "nothing"
		case "!!str":
			return quote(n.Value)
		default:
			return show(n.Value)
		}
	default:
		return "something else"
	}
}

// A checker holds a tree against its shape.
type checker struct {
	wrong problems // unknown key, wrong kind, missing key
}

func (c *checker) check(n node, s *shape) {
	switch s.kind {
	case aMap:
		c.checkMap(n, s)
	case anyMap:
		c.checkAnyMap(n, s)
	case aList:
		if !n.isList() {
			c.mismatch(n, s)
			return
		}
		for _, item := range n.items() {
			c.check(item, s.each)
		}
	case oneKind:
		for _, alt := range s.alts {
			if alt.takes(n) {
				c.check(n, alt)
				return
			}
		}
		c.mismatch(n, s)
	case aWord:
		c.checkWord(n, s)
	default:
		if !s.takes(n) {
			c.mismatch(n, s)
		}
	}
}

// takes tells whether a value is of the shape's kind, without looking inside.
func (s *shape) takes(n node) bool {
	ok := false
	switch s.kind {
	case aText, aWord:
		_, ok = n.text()
	case aBool:
		_, ok = n.boolean()
	case aNumber:
		_, ok = n.number()
	case aDuration:
		_, ok = n.duration()
	case aSize:
		_, ok = n.size()
	case aShare:
		_, ok = n.share()
	case aTime:
		_, ok = n.instant()
	case aList:
		ok = n.isList()
	case aMap, anyMap:
		ok = n.yaml.Kind == yaml.MappingNode
	case oneKind:
		ok = slices.ContainsFunc(s.alts, func(alt *shape) bool { return alt.takes(n) })
	}
	return ok
}

func (c *checker) mismatch(n node, s *shape) {
	if n.yaml.Kind == yaml.AliasNode {
		return // already a problem
	}
	at := nodePos(n.at.File, n.yaml)
	subject := "an item of `" + n.path + "`"
	if n.name != "" {
		subject = "`" + n.path + "`"
	}
	if n.path == "" {
		subject = "a policy file"
	}
	hint := ""
	if n.yaml.Style&yaml.TaggedStyle != 0 {
		return // already a problem
	}
	if s.wantsText(n.yaml.Value) && n.yaml.Kind == yaml.ScalarNode && n.yaml.Tag != "!!str" && n.yaml.Tag != "!!null" {
		hint = "; YAML takes this for something else than text: put it in quotes"
	}
	c.wrong.addAs(wrongValue, at, "%s wants %s, and this is %s%s", subject, s.describe(), found(n.yaml), hint)
}

// wantsText tells whether a value would do if it were text.
func (s *shape) wantsText(value string) bool {
	return s.kind == aText || s.kind == aWord && slices.Contains(s.words, value) ||
		slices.ContainsFunc(s.alts, func(alt *shape) bool { return alt.wantsText(value) })
}

func (c *checker) checkWord(n node, s *shape) {
	text, ok := n.text()
	if !ok {
		c.mismatch(n, s)
		return
	}
	if !slices.Contains(s.words, text) {
		c.wrong.addAs(wrongValue, nodePos(n.at.File, n.yaml), "`%s` wants %s, and this is %s%s",
			n.path, s.describe(), quote(text), didYouMean(text, s.words))
	}
}

func (c *checker) checkMap(n node, s *shape) {
	if n.yaml.Kind != yaml.MappingNode {
		c.mismatch(n, s)
		return
	}
	c.textKeys(n)
	seen := map[string]bool{}
	for i, member := range n.members() {
		k, ok := s.key(member.name)
		switch {
		case seen[member.name], n.yaml.Content[2*i].Kind != yaml.ScalarNode: // already a problem
		case !ok:
			c.unknown(member, s)
		default:
			c.check(member, k.is)
		}
		seen[member.name] = true
	}
	for _, k := range s.keys {
		if k.required && !seen[k.name] {
			c.wrong.addAs(missingKey, n.at, "`%s` is missing: %s", join(n.path, k.name), k.doc)
		}
	}
}

func (c *checker) unknown(member node, s *shape) {
	if member.name == "<<" {
		return // already a problem
	}
	if c.wrong.full() {
		c.wrong.more++
		return // looking for a near name takes time
	}
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	hint := didYouMean(member.name, names)
	if hint == "" {
		hint = "; here may stand " + listWords(names)
	}
	c.wrong.addAs(unknownKey, member.at, "unknown key `%s`%s", show(member.path), hint)
}

func (s *shape) key(name string) (key, bool) {
	i := slices.IndexFunc(s.keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return s.keys[i], true
}

// textKeys wants each key of a map to be text.
func (c *checker) textKeys(n node) {
	for i := 0; i+1 < len(n.yaml.Content); i += 2 {
		k := n.yaml.Content[i]
		hint := ": put it in quotes"
		if k.Kind != yaml.ScalarNode {
			hint = ""
		}
		if k.Kind != yaml.ScalarNode && k.Kind != yaml.AliasNode || k.Tag != "!!str" && k.Tag != "!!merge" && k.Style&yaml.TaggedStyle == 0 && k.Kind == yaml.ScalarNode {
			c.wrong.addAs(wrongValue, nodePos(n.at.File, k), "a key of %s wants text, and this is %s%s", pathOrFile(n.path), found(k), hint)
		}
	}
}

func pathOrFile(path string) string {
	if path == "" {
		return "a policy file"
	}
	return "`" + path + "`"
}

func (c *checker) checkAnyMap(n node, s *shape) {
	if n.yaml.Kind != yaml.MappingNode {
		c.mismatch(n, s)
		return
	}
	c.textKeys(n)
	for _, member := range n.members() {
		c.check(member, s.each)
	}
}
