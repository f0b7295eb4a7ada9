// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The types of our variables, by their names in CEL.
const (
	celCSRType     = "est.CSR"
	celSubjectType = "est.Subject"
	celSANType     = "est.SAN"
	celKeyType     = "est.Key"
	celWhoType     = "est.Who"     // without cert
	celWhoCertType = "est.WhoCert" // with cert
	celCertType    = "est.Cert"
	celReqType     = "est.Req"
	celPlanType    = "est.Plan"

	celPasswordType = "est.Password"
	celDeviceType   = "est.Device"
)

// A celField is one field of a type. What a request doesn't have is the zero
// value: "", an empty list, 0.
type celField struct {
	name string
	is   *cel.Type
	doc  string
	get  func(object any) any
}

// celOf makes a field of an object of one Go type.
func celOf[T any](name string, is *cel.Type, doc string, get func(T) any) celField {
	return celField{name, is, doc, func(object any) any {
		of, ok := object.(T)
		if !ok {
			return types.NewErr("not an object that has %s", name)
		}
		return get(of)
	}}
}

// celProvider gives CEL our types beside its own: no expression can name a
// field that isn't in the table, and no reflection is needed to read one.
type celProvider struct {
	*types.Registry
	facts bool // the texts are those of Facts
}

func celObject(name string) *cel.Type { return types.NewObjectType(name) }

func (p celProvider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := celTypes[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

func (p celProvider) FindStructFieldNames(name string) ([]string, bool) {
	fields, ok := celTypes[name]
	if !ok {
		return p.Registry.FindStructFieldNames(name)
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names, true
}

func (p celProvider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ok := celTypes[name]
	if !ok {
		return p.Registry.FindStructFieldType(name, field)
	}
	i := slices.IndexFunc(fields, func(f celField) bool { return f.name == field })
	if i < 0 {
		return nil, false
	}
	f := fields[i]
	return &types.FieldType{
		Type:    f.is,
		GetFrom: func(object any) (any, error) { return f.get(object), nil },
		IsSet: func(object any) bool {
			value := reflect.ValueOf(f.get(object))
			return value.IsValid() && !value.IsZero() && (value.Kind() != reflect.Slice || value.Len() > 0)
		},
	}, true
}

// NewValue: an expression reads our objects and makes none.
func (p celProvider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := celTypes[name]; ok {
		return types.NewErr("an expression can't make a %s", name)
	}
	return p.Registry.NewValue(name, fields)
}

func (p celProvider) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case celNative:
		return celValue{v}
	case string:
		if p.facts {
			return celFact(v)
		}
		return celText(v)
	case []string:
		return celTextList(v)
	case []any: // of Facts: read when they are asked for
		return types.NewDynamicList(p, v)
	case map[string]any:
		return types.NewStringInterfaceMap(p, v)
	}
	return p.Registry.NativeToValue(value)
}

// A celNative is a Go value that CEL sees as an object of ours.
type celNative interface{ celType() string }

// A celValue is such an object as a value of CEL.
type celValue struct{ native celNative }

// ConvertToNative implements ref.Val.
func (v celValue) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a %s is no %v", v.native.celType(), t)
}

// ConvertToType implements ref.Val.
func (v celValue) ConvertToType(t ref.Type) ref.Val {
	if t.TypeName() == types.TypeType.TypeName() {
		return types.NewObjectType(v.native.celType())
	}
	return types.NewErr("a %s can't become a %s", v.native.celType(), t.TypeName())
}

// Equal implements ref.Val. Two objects are never equal by themselves: what
// counts of them stands in their fields.
func (v celValue) Equal(ref.Val) ref.Val { return types.False }

// Type implements ref.Val.
func (v celValue) Type() ref.Type { return types.NewObjectType(v.native.celType()) }

// Value implements ref.Val.
func (v celValue) Value() any { return v.native }
