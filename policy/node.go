// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// A node is a value of the policy file with its policy path. A node that
// isn't in the file has no yaml, and stands where its parent stands, so that
// a finding about a default still leads to a line.
type node struct {
	yaml *yaml.Node
	at   Pos // of the key, where there is one
	path string
	name string // the key
}

func (n node) present() bool { return n.yaml != nil }

// get gives the value under a key of a map.
func (n node) get(key string) node {
	if n.isMap() {
		for i := 0; i+1 < len(n.yaml.Content); i += 2 {
			if n.yaml.Content[i].Value == key {
				return n.member(i)
			}
		}
	}
	return node{at: n.at, path: join(n.path, key), name: key}
}

// member gives the value of a map whose key is the i-th node of its content.
func (n node) member(i int) node {
	key := n.yaml.Content[i]
	return node{yaml: n.yaml.Content[i+1], at: nodePos(n.at.File, key), path: join(n.path, key.Value), name: key.Value}
}

// members gives the values of a map in file order.
func (n node) members() []node {
	if n.yaml == nil || n.yaml.Kind != yaml.MappingNode {
		return nil
	}
	members := make([]node, 0, len(n.yaml.Content)/2)
	for i := 0; i+1 < len(n.yaml.Content); i += 2 {
		members = append(members, n.member(i))
	}
	return members
}

// items gives the values of a list; the items of a list share its path.
func (n node) items() []node {
	if n.yaml == nil || n.yaml.Kind != yaml.SequenceNode {
		return nil
	}
	items := make([]node, 0, len(n.yaml.Content))
	for _, item := range n.yaml.Content {
		items = append(items, node{yaml: item, at: nodePos(n.at.File, item), path: n.path})
	}
	return items
}

func (n node) isMap() bool { return n.yaml != nil && n.yaml.Kind == yaml.MappingNode }

func (n node) isList() bool { return n.yaml != nil && n.yaml.Kind == yaml.SequenceNode }

// text gives the text of a scalar that YAML takes for text.
func (n node) text() (string, bool) {
	if n.yaml == nil || n.yaml.Kind != yaml.ScalarNode || n.yaml.Tag != "!!str" {
		return "", false
	}
	return n.yaml.Value, true
}

func (n node) isText() bool {
	_, ok := n.text()
	return ok
}

// texts gives the items of a list that are text, each with its place.
func (n node) texts() []node {
	var texts []node
	for _, item := range n.items() {
		if _, ok := item.text(); ok {
			texts = append(texts, item)
		}
	}
	return texts
}

// oneOrMore gives a text, or the items of a list that are text.
func (n node) oneOrMore() []node {
	if n.isText() {
		return []node{n}
	}
	return n.texts()
}

// words gives the items of a list that are text.
func (n node) words() []string {
	var words []string
	for _, item := range n.texts() {
		words = append(words, item.yaml.Value)
	}
	return words
}

// value gives the text, or "" where there is none.
func (n node) value() string {
	text, _ := n.text()
	return text
}

func (n node) boolean() (bool, bool) {
	if n.yaml == nil || n.yaml.Kind != yaml.ScalarNode || n.yaml.Tag != "!!bool" {
		return false, false
	}
	switch n.yaml.Value {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// on tells a written `true`.
func (n node) on() bool {
	v, ok := n.boolean()
	return v && ok
}

func (n node) number() (int, bool) {
	if n.yaml == nil || n.yaml.Kind != yaml.ScalarNode || n.yaml.Tag != "!!int" {
		return 0, false
	}
	return decimal(n.yaml.Value)
}

func (n node) duration() (time.Duration, bool) {
	text, ok := n.text()
	if !ok {
		return 0, false
	}
	return parseDuration(text)
}

// instant reads a time as RFC 3339 has it. YAML knows times, so it needs no
// quotes.
func (n node) instant() (time.Time, bool) {
	if n.yaml == nil || n.yaml.Kind != yaml.ScalarNode || n.yaml.Tag != "!!str" && n.yaml.Tag != "!!timestamp" {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, n.yaml.Value)
	return at.UTC(), err == nil
}

func (n node) size() (int64, bool) {
	if number, ok := n.number(); ok {
		return int64(number), true
	}
	text, ok := n.text()
	if !ok {
		return 0, false
	}
	return parseSize(text)
}

func (n node) share() (int, bool) {
	text, ok := n.text()
	if !ok {
		return 0, false
	}
	return parseShare(text)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// decimal reads digits only: YAML's octal, hexadecimal and signed forms have
// no place in a policy.
func decimal(s string) (int, bool) {
	if s == "" || len(s) > 9 || (s[0] == '0' && len(s) > 1) {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// parseDuration reads an integer with s, m, h or d, such as 90d.
func parseDuration(s string) (time.Duration, bool) {
	if len(s) < 2 {
		return 0, false
	}
	unit, ok := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour,
	}[s[len(s)-1]]
	n, isNumber := decimal(s[:len(s)-1])
	const longest = 100 * 366 * 24 * time.Hour // what time.Duration holds is 292 years
	if !ok || !isNumber || time.Duration(n) > longest/unit {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// parseSize reads N, NKiB or NMiB.
func parseSize(s string) (int64, bool) {
	shift := 0
	if len(s) > 3 {
		switch s[len(s)-3:] {
		case "KiB":
			s, shift = s[:len(s)-3], 10
		case "MiB":
			s, shift = s[:len(s)-3], 20
		}
	}
	n, ok := decimal(s)
	return int64(n) << shift, ok
}

// parseShare reads N%, from 1% to 100%.
func parseShare(s string) (int, bool) {
	if s == "" || s[len(s)-1] != '%' {
		return 0, false
	}
	n, ok := decimal(s[:len(s)-1])
	return n, ok && n >= 1 && n <= 100
}
