// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxFile bounds a policy file, in bytes. Far more than anybody can review.
const MaxFile = 4 << 20

// maxValues bounds the values of a file: it takes far more memory to hold them
// than to write them. A thousand profiles have about half as many.
const maxValues = 200_000

// maxEntries bounds one list or map of a file, so that what compares each
// entry with the others takes no time to speak of. A map has two for each key.
const maxEntries = 10_000

// widest gives the list or map with the most entries.
func widest(n *yaml.Node) *yaml.Node {
	wide := n
	for _, child := range n.Content {
		if w := widest(child); len(w.Content) > len(wide.Content) {
			wide = w
		}
	}
	return wide
}

// values gives at least as many as a text has, from what must stand before
// each.
func values(src []byte) int {
	n := 0
	for i, c := range src {
		last := i+1 == len(src) || src[i+1] == ' ' || src[i+1] == '\n' || src[i+1] == '\r' || src[i+1] == '\t'
		switch {
		case c == ',' || c == '[' || c == '{':
			n++
		case c == ':':
			n += 2 // the key and what it has; within brackets no space needs to follow
		case (c == '-' || c == '?') && last:
			n++
		}
	}
	return n
}

// StrictYAML says whether a text is YAML as a policy and its test file are
// written in: one document, and nothing but maps, lists and scalars. The
// error is one with ErrNotYAML, or Errors. name is for messages.
func StrictYAML(name string, src []byte) error {
	var found problems
	if _, err := readYAML(name, src, &found); err != nil {
		return err
	}
	return found.err()
}

// readYAML reads one strict YAML document: no anchors, aliases, tags or merge
// keys, so that what a reviewer sees on a line is all that the line says.
// It gives nil with an error when there is no tree to look at: one that is
// ErrNotYAML, or Errors where the file is too large. Mistakes that leave a tree
// go to strict.
func readYAML(name string, src []byte, strict *problems) (*yaml.Node, error) {
	if len(src) > MaxFile {
		return nil, tooLarge(Pos{File: name}, "the file is larger than 4 MiB, far more than anybody can review")
	}
	if values(src) > maxValues {
		return nil, tooLarge(Pos{File: name}, fmt.Sprintf("the file has more than %d keys and values, far more than anybody can review", maxValues))
	}
	if at := firstInvalid(src); at >= 0 {
		return nil, notYAML(offsetPos(name, src, at), "the text is not UTF-8")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, notYAML(Pos{File: name, Line: 1, Col: 1}, "the file is empty")
		}
		return nil, yamlError(name, src, err)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		strict.addAs(notStrict, nodePos(name, &second), "a second YAML document: a policy file is one document")
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(name, src, err)
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return nil, notYAML(Pos{File: name, Line: 1, Col: 1}, "the file is empty")
	}
	if wide := widest(document.Content[0]); len(wide.Content) > maxEntries {
		return nil, tooLarge(nodePos(name, wide), fmt.Sprintf("%s has more than %d entries, far more than anybody can review", found(wide), maxEntries))
	}
	plain(name, document.Content[0], strict)
	return document.Content[0], nil
}

// plain finds what YAML has beyond maps, lists and scalars.
func plain(name string, n *yaml.Node, found *problems) {
	at := nodePos(name, n)
	if n.Anchor != "" {
		found.addAs(notStrict, at, "the anchor &%s is not allowed: write the value where it applies", n.Anchor)
	}
	if n.Kind == yaml.AliasNode {
		found.addAs(notStrict, at, "the alias *%s is not allowed: write the value where it applies", n.Value)
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		found.addAs(notStrict, at, "the tag %s is not allowed", n.Tag)
	}
	if n.Kind == yaml.MappingNode {
		duplicates(name, n, found)
	}
	for _, child := range n.Content {
		plain(name, child, found)
	}
}

func duplicates(name string, n *yaml.Node, found *problems) {
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			continue // the shape says that a key is text
		}
		if key.Tag == "!!merge" {
			found.addAs(notStrict, nodePos(name, key), "the merge key << is not allowed: write the values where they apply")
			continue
		}
		if first, ok := seen[key.Value]; ok {
			found.addAs(notStrict, nodePos(name, key), "the key `%s` stands twice; first on line %d", show(key.Value), first.Line)
			continue
		}
		seen[key.Value] = key
	}
}

func nodePos(name string, n *yaml.Node) Pos {
	return Pos{File: name, Line: n.Line, Col: n.Column}
}

// firstInvalid gives the offset of the first byte that isn't UTF-8, or -1.
func firstInvalid(src []byte) int {
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

func offsetPos(name string, src []byte, offset int) Pos {
	before := src[:offset]
	line := bytes.Count(before, []byte{'\n'}) + 1
	start := bytes.LastIndexByte(before, '\n') + 1
	return Pos{File: name, Line: line, Col: utf8.RuneCount(src[start:offset]) + 1}
}

func tooLarge(at Pos, text string) error {
	return Errors{{Pos: at, Message: text, ID: sizeMistake}}
}

func notYAML(at Pos, text string) error {
	return &unreadable{Problem{Pos: at, Message: ErrNotYAML.Error() + ": " + text, ID: notYAMLText}}
}
