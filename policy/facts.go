// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Bounds of facts. To compare two values is one step of an expression, however
// much is in them.
const (
	maxFacts      = 64 << 10 // bytes of JSON
	maxFactsDepth = 8
	maxFactsCount = 2048 // values
)

// Facts are what somebody outside says about a request, as a JSON object: a
// webhook, or the claims of a token. Expressions read them as map(string, dyn).
// The zero value has none.
type Facts struct {
	source []byte
	values map[string]any
}

// ParseFacts reads a JSON object. Empty text and null are no facts.
func ParseFacts(source []byte) (Facts, error) {
	if len(source) > maxFacts {
		return Facts{}, fmt.Errorf("it has %d bytes, and %d is the most", len(source), maxFacts)
	}
	source = bytes.TrimSpace(source)
	if len(source) == 0 || bytes.Equal(source, []byte("null")) {
		return Facts{}, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(source))
	decoder.UseNumber()
	r := factsReader{decoder: decoder}
	value, err := r.value(0)
	if err != nil {
		return Facts{}, err
	}
	values, ok := value.(map[string]any)
	if !ok {
		return Facts{}, errors.New("it is JSON, and not an object")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return Facts{}, errors.New("something follows the JSON object")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, source); err != nil {
		return Facts{}, errNoJSON
	}
	return Facts{compact.Bytes(), values}, nil
}

// JSON gives the facts as they were read; nil for none.
func (f Facts) JSON() []byte { return bytes.Clone(f.source) }

// cel gives the facts as map(string, dyn), empty where there are none.
func (f Facts) cel() ref.Val {
	values := f.values
	if values == nil {
		values = map[string]any{}
	}
	return celProvider{Registry: types.NewEmptyRegistry(), facts: true}.NativeToValue(values)
}

// errNoJSON says no more: what isn't JSON may be anything.
var errNoJSON = errors.New("it is no JSON")

// A factsReader counts while it reads.
type factsReader struct {
	decoder *json.Decoder
	count   int
}

func (r *factsReader) value(depth int) (any, error) {
	if r.count++; r.count > maxFactsCount {
		return nil, fmt.Errorf("it has more than %d values", maxFactsCount)
	}
	if depth > maxFactsDepth {
		return nil, fmt.Errorf("it is more than %d levels deep", maxFactsDepth)
	}
	token, err := r.decoder.Token()
	if err != nil {
		return nil, errNoJSON
	}
	switch token := token.(type) {
	case json.Number:
		if n, err := token.Int64(); err == nil {
			return n, nil
		}
		n, err := token.Float64()
		if err != nil {
			return nil, errors.New("a number in it is too large")
		}
		return n, nil
	case json.Delim:
		if token == '[' {
			return r.list(depth)
		}
		return r.object(depth)
	default: // a text, true, false, null
		return token, nil
	}
}

func (r *factsReader) list(depth int) (any, error) {
	list := []any{}
	for r.decoder.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	_, err := r.decoder.Token()
	if err != nil {
		return nil, errNoJSON
	}
	return list, nil
}

// object refuses a name that stands twice: of two values nobody could say
// which one counts.
func (r *factsReader) object(depth int) (any, error) {
	object := map[string]any{}
	for r.decoder.More() {
		token, err := r.decoder.Token()
		name, isText := token.(string)
		if err != nil || !isText {
			return nil, errNoJSON
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("a name stands twice in an object of it: %s", quote(name))
		}
		if object[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	if _, err := r.decoder.Token(); err != nil {
		return nil, errNoJSON
	}
	return object, nil
}
