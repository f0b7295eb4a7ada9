// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Schema gives the JSON Schema (draft 2020-12) of a policy file, for editors
// that complete and check one while it is written. It is made from the table
// of the language, so it has every key and no other. It says what is of the right
// shape; what makes sense, Compile alone says.
func Schema() []byte { return schemaOf(policyFile, "Estra policy file") }

// TestSchema gives the same of a test file.
func TestSchema() []byte { return schemaOf(testFileShape, "Tests of an Estra policy file") }

func schemaOf(of *shape, title string) []byte {
	m := schemaMaker{uses: map[*shape]int{}, names: map[*shape]string{}}
	m.count(of, "")
	root := m.inline(of)
	root.Draft = "https://json-schema.org/draft/2020-12/schema"
	root.Title = title
	root.Defs = m.defs
	return root.encode()
}

// A jsonSchema has the words of JSON Schema that the language needs, in the
// order in which people read them.
type jsonSchema struct {
	Draft       string          `json:"$schema,omitempty"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description,omitempty"`
	Type        jsonTypes       `json:"type,omitempty"`
	Enum        []string        `json:"enum,omitempty"`
	Pattern     string          `json:"pattern,omitempty"`
	Minimum     *int            `json:"minimum,omitempty"`
	Maximum     *int            `json:"maximum,omitempty"`
	Default     json.RawMessage `json:"default,omitempty"`
	AnyOf       []*jsonSchema   `json:"anyOf,omitempty"`
	Items       *jsonSchema     `json:"items,omitempty"`
	Required    []string        `json:"required,omitempty"`
	Properties  jsonProperties  `json:"properties,omitempty"`
	Additional  *jsonAdditional `json:"additionalProperties,omitempty"`
	Ref         string          `json:"$ref,omitempty"`
	Defs        jsonProperties  `json:"$defs,omitempty"`
}

// jsonTypes is one type name, or several.
type jsonTypes []string

// MarshalJSON gives a string where there is one type.
func (t jsonTypes) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// jsonProperties are the keys of a map in the order of the documentation,
// which is that in which editors offer them.
type jsonProperties []jsonProperty

type jsonProperty struct {
	name string
	is   *jsonSchema
}

// MarshalJSON gives an object in the order of the properties.
func (p jsonProperties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, property := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := plainJSON(property.is)
		if err != nil {
			return nil, err
		}
		b.WriteString(strconv.Quote(property.name) + ":")
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// A jsonAdditional is false, or the schema of every key that isn't named.
type jsonAdditional struct{ is *jsonSchema }

// MarshalJSON gives false or the schema.
func (a jsonAdditional) MarshalJSON() ([]byte, error) {
	if a.is == nil {
		return []byte("false"), nil
	}
	return plainJSON(a.is)
}

// plainJSON leaves <, > and & as they are: nothing here is for a web page.
func plainJSON(s *jsonSchema) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(s)
	return bytes.TrimSpace(b.Bytes()), err
}

func (s *jsonSchema) encode() []byte {
	compact, err := plainJSON(s)
	var b bytes.Buffer
	if err == nil {
		err = json.Indent(&b, compact, "", "  ")
	}
	if err != nil {
		panic("policy: the schema is made of text and numbers alone: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// The forms of parseDuration, parseSize and parseShare. A hundred years, the
// longest duration, are five digits of days.
const (
	durationPattern = `^(0|[1-9][0-9]{0,8})s$|^(0|[1-9][0-9]{0,7})m$|^(0|[1-9][0-9]{0,5})h$|^(0|[1-9][0-9]{0,4})d$`
	sizePattern     = `^(0|[1-9][0-9]{0,8})(KiB|MiB)?$`
	sharePattern    = `^([1-9][0-9]?|100)%$`
	timePattern     = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`
)

// A schemaMaker turns shapes into schemas. What the language has in several
// places stands once, under the path of the first of them.
type schemaMaker struct {
	uses  map[*shape]int
	names map[*shape]string
	defs  jsonProperties
}

// count finds the shapes that are used more than once.
func (m *schemaMaker) count(s *shape, path string) {
	if m.uses[s]++; m.uses[s] > 1 {
		return
	}
	m.names[s] = path
	for _, k := range s.keys {
		m.count(k.is, join(path, k.name))
	}
	for i, alt := range s.alts {
		m.count(alt, join(path, strconv.Itoa(i+1)))
	}
	if s.each != nil {
		m.count(s.each, join(path, "each"))
	}
}

// schema gives what a value of the shape must look like, or where that is
// said.
func (m *schemaMaker) schema(s *shape) *jsonSchema {
	large := s.kind == aMap || s.kind == anyMap || s.kind == oneKind
	if !large || m.uses[s] < 2 {
		return m.inline(s)
	}
	name := m.names[s]
	if !slices.ContainsFunc(m.defs, func(p jsonProperty) bool { return p.name == name }) {
		at := len(m.defs)
		m.defs = append(m.defs, jsonProperty{name: name})
		m.defs[at].is = m.inline(s)
	}
	return &jsonSchema{Ref: "#/$defs/" + name}
}

const largestNumber = 999_999_999 // of decimal

func (m *schemaMaker) inline(s *shape) *jsonSchema {
	least, most := 0, largestNumber
	switch s.kind {
	case aText:
		return s.suggesting()
	case aBool:
		return &jsonSchema{Type: jsonTypes{"boolean"}}
	case aNumber:
		return &jsonSchema{Type: jsonTypes{"integer"}, Minimum: &least, Maximum: &most}
	case aDuration:
		return &jsonSchema{Type: jsonTypes{"string"}, Pattern: durationPattern}
	case aSize:
		return &jsonSchema{Type: jsonTypes{"integer", "string"}, Pattern: sizePattern, Minimum: &least, Maximum: &most}
	case aShare:
		return &jsonSchema{Type: jsonTypes{"string"}, Pattern: sharePattern}
	case aTime:
		return &jsonSchema{Type: jsonTypes{"string"}, Pattern: timePattern}
	case aWord:
		return &jsonSchema{Enum: s.words}
	case aList:
		return &jsonSchema{Type: jsonTypes{"array"}, Items: m.schema(s.each)}
	case anyMap:
		made := &jsonSchema{Type: jsonTypes{"object"}, Additional: &jsonAdditional{m.schema(s.each)}}
		for _, name := range s.known() {
			made.Properties = append(made.Properties, jsonProperty{name, m.schema(s.each)})
		}
		return made
	case oneKind:
		made := &jsonSchema{}
		for _, alt := range s.alts {
			made.AnyOf = append(made.AnyOf, m.schema(alt))
		}
		return made
	default:
		return m.object(s)
	}
}

// object gives the schema of a map with the shape's keys.
func (m *schemaMaker) object(s *shape) *jsonSchema {
	made := &jsonSchema{Type: jsonTypes{"object"}, Additional: &jsonAdditional{}}
	for _, k := range s.keys {
		if k.required {
			made.Required = append(made.Required, k.name)
		}
		is := m.schema(k.is)
		is.Description = k.doc
		if value, ok := k.is.literal(k.initial); ok {
			is.Default = value
		} else if k.initial != "" {
			is.Description += ". Default: " + k.initial
		}
		made.Properties = append(made.Properties, jsonProperty{k.name, is})
	}
	return made
}

// suggesting gives text for which editors offer what is known, and take all
// else.
func (s *shape) suggesting() *jsonSchema {
	if names := s.known(); len(names) > 0 {
		return &jsonSchema{AnyOf: []*jsonSchema{{Enum: names}, {Type: jsonTypes{"string"}}}}
	}
	return &jsonSchema{Type: jsonTypes{"string"}}
}

func (s *shape) known() []string {
	if s.suggest == nil {
		return nil
	}
	return s.suggest()
}

// literal reads the documented default of a key as a value, where it is one
// and not a sentence.
func (s *shape) literal(initial string) (json.RawMessage, bool) {
	var document yaml.Node
	if yaml.Unmarshal([]byte(initial), &document) != nil || len(document.Content) != 1 {
		return nil, false
	}
	n := node{yaml: document.Content[0]}
	switch s.kind {
	case aBool, aNumber:
		return json.RawMessage(initial), s.takes(n)
	case aDuration, aShare, aSize, aTime:
		return json.RawMessage(strconv.Quote(initial)), s.takes(n)
	case aWord:
		return json.RawMessage(strconv.Quote(initial)), slices.Contains(s.words, initial)
	default:
		return nil, false
	}
}
