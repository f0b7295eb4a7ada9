// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"encoding/asn1"
	"encoding/hex"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// otherName is the content of an OtherName (RFC 5280 section 4.2.1.6).
type otherName struct {
	typeID asn1.ObjectIdentifier
	value  []byte // one element, DER
}

func parseOtherName(content []byte) (otherName, error) {
	input := cryptobyte.String(content)
	var o otherName
	var explicit, value cryptobyte.String
	if !input.ReadASN1ObjectIdentifier(&o.typeID) {
		return otherName{}, bad("no type-id")
	}
	if !input.ReadASN1(&explicit, der.Tag(0).ContextSpecific().Constructed()) || !input.Empty() ||
		!explicit.ReadAnyASN1Element(&value, nil) || !explicit.Empty() {
		return otherName{}, bad("%v: not exactly one [0] EXPLICIT value", o.typeID)
	}
	o.value = value
	return o, nil
}

// DeviceIdentity gives the device that a hardwareModuleName (RFC 4108 section
// 5: "hardwareModuleName:", type, ":", serial number in hex) or a
// permanentIdentifier (RFC 4043 section 2: "permanentIdentifier:", assigner or
// nothing, ":", value) names. It is false for any other name, for one that is
// malformed, and for a permanentIdentifier without a value, which points at
// the subject instead.
func (g GeneralName) DeviceIdentity() (string, bool) {
	content, ok := g.content()
	if !ok || g.Form != OtherName {
		return "", false
	}
	other, err := parseOtherName(content)
	if err != nil {
		return "", false
	}
	switch other.typeID.String() {
	case OIDHardwareModuleName:
		if hwType, serial, ok := hardwareModuleName(other.value); ok {
			return "hardwareModuleName:" + hwType.String() + ":" + hex.EncodeToString(serial), true
		}
	case OIDPermanentIdentifier:
		if value, assigner, ok := permanentIdentifier(other.value); ok && value != "" {
			return "permanentIdentifier:" + assigner.String() + ":" + value, true
		}
	}
	return "", false
}

// AllDeviceNames reports that the value of a subjectAltName extension holds
// nothing but well-formed otherNames. crypto/x509 calls such an extension
// unhandled when it is critical, as it is in an IDevID (IEEE 802.1AR) whose
// subject is empty; this is the handling that it lacks.
func AllDeviceNames(san []byte) bool {
	names, err := parseSAN(san)
	if err != nil {
		return false
	}
	for _, g := range names {
		content, ok := g.content()
		if !ok || g.Form != OtherName {
			return false
		}
		other, err := parseOtherName(content)
		if err != nil || !other.wellFormed() {
			return false
		}
	}
	return true
}

// wellFormed checks the value where the type is one that we know.
func (o otherName) wellFormed() bool {
	ok := true
	switch o.typeID.String() {
	case OIDHardwareModuleName:
		_, _, ok = hardwareModuleName(o.value)
	case OIDPermanentIdentifier:
		_, _, ok = permanentIdentifier(o.value)
	}
	return ok
}

func hardwareModuleName(value []byte) (hwType asn1.ObjectIdentifier, serial []byte, ok bool) {
	input := cryptobyte.String(value)
	var body cryptobyte.String
	ok = input.ReadASN1(&body, der.SEQUENCE) && input.Empty() &&
		body.ReadASN1ObjectIdentifier(&hwType) &&
		body.ReadASN1Bytes(&serial, der.OCTET_STRING) && body.Empty() && len(serial) > 0
	return hwType, serial, ok
}

func permanentIdentifier(value []byte) (identifier string, assigner asn1.ObjectIdentifier, ok bool) {
	input := cryptobyte.String(value)
	var body, text cryptobyte.String
	var present bool
	if !input.ReadASN1(&body, der.SEQUENCE) || !input.Empty() || !body.ReadOptionalASN1(&text, &present, der.UTF8String) {
		return "", nil, false
	}
	if present {
		if identifier, ok = decodeText(tagUTF8, text); !ok {
			return "", nil, false
		}
	}
	if !body.Empty() && !body.ReadASN1ObjectIdentifier(&assigner) {
		return "", nil, false
	}
	return identifier, assigner, body.Empty()
}

// readWholeOID reads one OBJECT IDENTIFIER and nothing after it.
func readWholeOID(element []byte) (asn1.ObjectIdentifier, bool) {
	input := cryptobyte.String(element)
	var oid asn1.ObjectIdentifier
	ok := input.ReadASN1ObjectIdentifier(&oid) && input.Empty()
	return oid, ok
}
