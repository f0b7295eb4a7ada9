// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	encasn1 "encoding/asn1"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// TLV encodes the parts, one after the other, under a tag with its length.
// Nothing is checked: that is the point of it.
func TLV(tag asn1.Tag, parts ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(c *cryptobyte.Builder) {
		for _, p := range parts {
			c.AddBytes(p)
		}
	})
	return b.BytesOrPanic()
}

// SEQ is a SEQUENCE of DER parts.
func SEQ(parts ...[]byte) []byte { return TLV(asn1.SEQUENCE, parts...) }

// SET is a SET of DER parts, in the order given.
func SET(parts ...[]byte) []byte { return TLV(asn1.SET, parts...) }

// OID is an OBJECT IDENTIFIER; it panics on text that is none.
func OID(dotted string) []byte {
	return TLV(asn1.OBJECT_IDENTIFIER, oidContent(dotted))
}

func oidContent(dotted string) []byte {
	var oid encasn1.ObjectIdentifier
	n, start := 0, 0
	for i := 0; i <= len(dotted); i++ {
		if i < len(dotted) && dotted[i] != '.' {
			n = n*10 + int(dotted[i]-'0')
			continue
		}
		if i == start {
			panic("csrtest: not an OID: " + dotted)
		}
		oid = append(oid, n)
		n, start = 0, i+1
	}
	der, err := encasn1.Marshal(oid)
	if err != nil {
		panic("csrtest: not an OID: " + dotted)
	}
	return content(der)
}

// INTEGER is an INTEGER.
func INTEGER(n int64) []byte {
	var b cryptobyte.Builder
	b.AddASN1Int64(n)
	return b.BytesOrPanic()
}

// BITS is a BIT STRING with its unused bits counted in the first argument.
func BITS(unused byte, bits ...byte) []byte {
	return TLV(asn1.BIT_STRING, []byte{unused}, bits)
}

// Text is a string of the universal tag given: 12 UTF8String, 19
// PrintableString, 20 TeletexString, 22 IA5String, 28 UniversalString, 30
// BMPString. The bytes of s are written as they are.
func Text(tag int, s string) []byte { return TLV(asn1.Tag(tag), []byte(s)) }

// UTF8 is a UTF8String.
func UTF8(s string) []byte { return Text(12, s) }

// Printable is a PrintableString.
func Printable(s string) []byte { return Text(19, s) }

// IA5 is an IA5String.
func IA5(s string) []byte { return Text(22, s) }

// Name is an RDNSequence.
func Name(rdns ...[]byte) []byte { return SEQ(rdns...) }

// RDN is a RelativeDistinguishedName of one or more attributes, as made by
// ATV, in the order given.
func RDN(attributes ...[]byte) []byte { return SET(attributes...) }

// ATV is an AttributeTypeAndValue; value is DER.
func ATV(oid string, value []byte) []byte { return SEQ(OID(oid), value) }

// CN is an RDN with a common name in UTF8String.
func CN(s string) []byte { return RDN(ATV("2.5.4.3", UTF8(s))) }

// O is an RDN with an organization name in UTF8String.
func O(s string) []byte { return RDN(ATV("2.5.4.10", UTF8(s))) }

// SerialNumber is an RDN with a serialNumber in PrintableString.
func SerialNumber(s string) []byte { return RDN(ATV("2.5.4.5", Printable(s))) }

// GeneralName is a GeneralName of any tag with primitive content.
func GeneralName(tag uint8, primitive []byte) []byte {
	return TLV(asn1.Tag(tag).ContextSpecific(), primitive)
}

// ConstructedName is a GeneralName of any tag with constructed content.
func ConstructedName(tag uint8, parts ...[]byte) []byte {
	return TLV(asn1.Tag(tag).ContextSpecific().Constructed(), parts...)
}

// OtherName is an otherName with one explicit value in DER.
func OtherName(oid string, value []byte) []byte {
	return ConstructedName(0, OID(oid), ConstructedName(0, value))
}

// Email is an rfc822Name.
func Email(s string) []byte { return GeneralName(1, []byte(s)) }

// DNS is a dNSName.
func DNS(s string) []byte { return GeneralName(2, []byte(s)) }

// X400 is an x400Address with no meaning.
func X400() []byte { return ConstructedName(3, SEQ()) }

// DirectoryName is a directoryName of RDNs. The tag is explicit, since Name
// is a CHOICE.
func DirectoryName(rdns ...[]byte) []byte { return ConstructedName(4, Name(rdns...)) }

// EDIParty is an ediPartyName with a partyName.
func EDIParty(s string) []byte { return ConstructedName(5, ConstructedName(1, UTF8(s))) }

// URI is a uniformResourceIdentifier.
func URI(s string) []byte { return GeneralName(6, []byte(s)) }

// IP is an iPAddress from its text; it panics on text that is none.
func IP(s string) []byte { return GeneralName(7, netip.MustParseAddr(s).AsSlice()) }

// RegisteredID is a registeredID.
func RegisteredID(dotted string) []byte { return GeneralName(8, oidContent(dotted)) }
