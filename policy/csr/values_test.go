// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"encoding/asn1"
	"slices"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

var macAddress = asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}

func TestCheckDERTakesOneValueAndNothingElse(t *testing.T) {
	deep := UTF8("x")
	for range 40 {
		deep = SEQ(deep)
	}
	for name, test := range map[string]struct {
		value []byte
		good  bool
	}{
		"a string":                    {UTF8("x"), true},
		"NULL":                        {[]byte{5, 0}, true},
		"a SEQUENCE of values":        {SEQ(OID("1.2.3"), SET(INTEGER(7)), ConstructedName(0, IA5("x"))), true},
		"nothing":                     {nil, false},
		"half a string":               {UTF8("abc")[:3], false},
		"two strings":                 {append(UTF8("a"), UTF8("b")...), false},
		"a length in too many bytes":  {[]byte{12, 0x81, 1, 'x'}, false},
		"an indefinite length":        {[]byte{0x30, 0x80, 0, 0}, false},
		"a broken value in a SET":     {SEQ(SET([]byte{12, 5})), false},
		"bytes after a value inside":  {SEQ(append(INTEGER(7), 0xff)), false},
		"forty SEQUENCEs in each":     {deep, false},
		"a tag in more than one byte": {[]byte{0x1f, 0x21, 0}, false},
	} {
		if err := csr.CheckDER(test.value); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValueOfKeepsTheBytes(t *testing.T) {
	v, err := csr.ValueOf(macAddress, IA5("00:11:22:33:44:55"))
	if err != nil || !v.Text || v.Value != "00:11:22:33:44:55" || v.Tag != 22 || !v.Type.Equal(macAddress) {
		t.Errorf("%+v, %v", v, err)
	}
	if der, err := (csr.Name{{v}}).MarshalDER(); err != nil || !bytes.Equal(der, Name(RDN(ATV("1.3.6.1.1.1.1.22", IA5("00:11:22:33:44:55"))))) {
		t.Errorf("the name is %x, %v", der, err)
	}
	if v, err := csr.ValueOf(macAddress, INTEGER(7)); err != nil || v.Text || !bytes.Equal(v.Raw, INTEGER(7)) {
		t.Errorf("an INTEGER: %+v, %v", v, err)
	}
	for _, broken := range [][]byte{nil, {12, 5}, append(UTF8("a"), 0)} {
		if _, err := csr.ValueOf(macAddress, broken); err == nil {
			t.Errorf("%x is a value", broken)
		}
	}
}

func TestDirectoryAttributesAreSortedAndNeverEmpty(t *testing.T) {
	value, err := csr.MarshalDirectoryAttributes([]csr.Attribute{
		{Type: macAddress, Values: [][]byte{IA5("bb"), IA5("a")}},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 65}, Values: [][]byte{UTF8("anon")}},
	})
	want := SEQ(SEQ(OID("1.3.6.1.1.1.1.22"), SET(IA5("a"), IA5("bb"))), SEQ(OID("2.5.4.65"), SET(UTF8("anon"))))
	if err != nil || !bytes.Equal(value, want) {
		t.Errorf("%x, %v, want %x", value, err, want)
	}
	for name, broken := range map[string][]csr.Attribute{
		"no attribute":          nil,
		"an attribute of none":  {{Type: macAddress}},
		"a value that isn't":    {{Type: macAddress, Values: [][]byte{{12, 5}}}},
		"an OID that has no OK": {{Type: asn1.ObjectIdentifier{9, 9}, Values: [][]byte{UTF8("x")}}},
	} {
		if _, err := csr.MarshalDirectoryAttributes(broken); err == nil {
			t.Errorf("%s is encoded", name)
		}
	}
}

func TestPoliciesAreReadWithTheirQualifiers(t *testing.T) {
	oids := []asn1.ObjectIdentifier{{1, 2, 3}, {2, 23, 140, 1, 2, 1}}
	value, err := csr.MarshalPolicies(oids)
	if want := SEQ(SEQ(OID("1.2.3")), SEQ(OID("2.23.140.1.2.1"))); err != nil || !bytes.Equal(value, want) {
		t.Errorf("%x, %v, want %x", value, err, want)
	}
	qualified := SEQ(SEQ(OID("1.2.3"), SEQ(SEQ(OID("1.3.6.1.5.5.7.2.1"), IA5("https://cps.example")))), SEQ(OID("2.23.140.1.2.1")))
	got, err := csr.ParsePolicies(qualified)
	if err != nil || !slices.EqualFunc(got, oids, asn1.ObjectIdentifier.Equal) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := csr.MarshalPolicies(nil); err == nil {
		t.Error("no policy is encoded")
	}
	for _, broken := range [][]byte{nil, SEQ(), SEQ(OID("1.2.3")), SEQ(SEQ(OID("1.2.3"), OID("1.2.3"))), append(value, 0)} {
		if _, err := csr.ParsePolicies(broken); err == nil {
			t.Errorf("%x has policies", broken)
		}
	}
}

// FuzzValues looks for panics, and checks that what is read is encoded as it
// came where DER leaves no choice.
func FuzzValues(f *testing.F) {
	for _, seed := range [][]byte{
		nil, SEQ(), UTF8("x"), SEQ(SEQ(OID("1.2.3"))), SEQ(SEQ(OID("1.2.3"), SET(UTF8("a"), UTF8("b")))),
		SEQ(SEQ(OID("1.2.3"), SEQ(OID("1.2.3")))), SET(SEQ(SET(SEQ(INTEGER(1))))),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if csr.CheckDER(value) == nil {
			if _, err := csr.ValueOf(macAddress, value); err != nil {
				t.Errorf("%x is DER and no value: %v", value, err)
			}
		}
		if policies, err := csr.ParsePolicies(value); err == nil {
			if _, err := csr.MarshalPolicies(policies); err != nil {
				t.Error(err)
			}
		}
		attributes, err := csr.ParseDirectoryAttributes(value)
		if err != nil {
			return
		}
		sorted := true
		for _, a := range attributes {
			sorted = sorted && slices.IsSortedFunc(a.Values, bytes.Compare)
		}
		again, err := csr.MarshalDirectoryAttributes(attributes)
		if err != nil || sorted && !bytes.Equal(again, value) {
			t.Errorf("%x is encoded as %x, %v", value, again, err)
		}
	})
}
