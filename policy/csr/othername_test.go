// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func octets(s string) []byte { return Text(4, s) }

var deviceNames = map[string]struct {
	name   []byte
	want   string // empty: names no device
	device bool   // AllDeviceNames
}{
	"hardwareModuleName": {
		OtherName(csr.OIDHardwareModuleName, SEQ(OID("1.2.3"), octets("\x01\xab"))),
		"hardwareModuleName:1.2.3:01ab", true},
	"hardwareModuleName with an empty serial number": {
		OtherName(csr.OIDHardwareModuleName, SEQ(OID("1.2.3"), octets(""))), "", false},
	"hardwareModuleName with a third field": {
		OtherName(csr.OIDHardwareModuleName, SEQ(OID("1.2.3"), octets("a"), INTEGER(1))), "", false},
	"hardwareModuleName that is a string": {
		OtherName(csr.OIDHardwareModuleName, UTF8("1.2.3")), "", false},
	"permanentIdentifier with both fields": {
		OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("SN-1"), OID("1.2.3"))),
		"permanentIdentifier:1.2.3:SN-1", true},
	"permanentIdentifier without an assigner": {
		OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("SN-1"))), "permanentIdentifier::SN-1", true},
	"permanentIdentifier that points at the subject": {
		OtherName(csr.OIDPermanentIdentifier, SEQ(OID("1.2.3"))), "", true},
	"permanentIdentifier with a NUL": {
		OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("SN\x00"))), "", false},
	"permanentIdentifier with more": {
		OtherName(csr.OIDPermanentIdentifier, SEQ(UTF8("a"), OID("1.2.3"), OID("1.2.3"))), "", false},
	"permanentIdentifier of another string type": {
		OtherName(csr.OIDPermanentIdentifier, SEQ(IA5("a"))), "", false},
	"permanentIdentifier that is a string": {
		OtherName(csr.OIDPermanentIdentifier, UTF8("a")), "", false},
	"any other otherName": {OtherName("1.2.3", UTF8("a")), "", true},
	"a dNSName":           {DNS("a.example"), "", false},
	"a directoryName":     {DirectoryName(CN("a")), "", false},
}

func TestDeviceIdentity(t *testing.T) {
	for name, test := range deviceNames {
		t.Run(name, func(t *testing.T) {
			g := parse(t, New(t, SAN(test.name))).Names.SAN[0]
			if got, ok := g.DeviceIdentity(); got != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %t", got, ok)
			}
		})
	}
	if _, ok := (csr.GeneralName{}).DeviceIdentity(); ok {
		t.Error("the zero value names a device")
	}
}

func TestAllDeviceNames(t *testing.T) {
	good := OtherName("1.2.3", UTF8("a"))
	for name, test := range deviceNames {
		t.Run(name, func(t *testing.T) {
			if got := csr.AllDeviceNames(SEQ(test.name)); got != test.device {
				t.Errorf("alone: %t", got)
			}
			if got := csr.AllDeviceNames(SEQ(good, test.name)); got != test.device {
				t.Errorf("after another otherName: %t", got)
			}
		})
	}
	for name, san := range map[string][]byte{
		"nothing":           nil,
		"an empty SEQUENCE": SEQ(),
		"trailing bytes":    append(SEQ(good), 0),
		"two values":        SEQ(ConstructedName(0, OID("1.2.3"), ConstructedName(0, UTF8("a"), UTF8("b")))),
		"no value":          SEQ(ConstructedName(0, OID("1.2.3"))),
	} {
		if csr.AllDeviceNames(san) {
			t.Errorf("%s: true", name)
		}
	}
}
