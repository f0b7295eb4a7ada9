// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"encoding/asn1"
	"math"
	"strconv"
	"strings"
)

// OIDs of PKCS #10 attributes and of extensions, in dotted form.
const (
	OIDChallengePassword = "1.2.840.113549.1.9.7"  // RFC 2985 section 5.4.1
	OIDExtensionRequest  = "1.2.840.113549.1.9.14" // RFC 2985 section 5.4.2
	OIDChangeSubjectName = "1.3.6.1.5.5.7.7.36"    // RFC 6402 section 2.8

	OIDDirectoryAttributes  = "2.5.29.9"  // subjectDirectoryAttributes, RFC 5280 section 4.2.1.8
	OIDSubjectKeyIdentifier = "2.5.29.14" // RFC 5280 section 4.2.1.2
	OIDKeyUsage             = "2.5.29.15" // RFC 5280 section 4.2.1.3
	OIDSubjectAltName       = "2.5.29.17" // RFC 5280 section 4.2.1.6
	OIDBasicConstraints     = "2.5.29.19" // RFC 5280 section 4.2.1.9
	OIDCertificatePolicies  = "2.5.29.32" // RFC 5280 section 4.2.1.4
	OIDExtKeyUsage          = "2.5.29.37" // RFC 5280 section 4.2.1.12

	OIDPermanentIdentifier = "1.3.6.1.5.5.7.8.3" // RFC 4043 section 2
	OIDHardwareModuleName  = "1.3.6.1.5.5.7.8.4" // RFC 4108 section 5
	// OIDUserPrincipalName is szOID_NT_PRINCIPAL_NAME of Microsoft: a
	// UTF8String such as anna@corp.example.
	OIDUserPrincipalName = "1.3.6.1.4.1.311.20.2.3"

	// szOID_CERT_EXTENSIONS of Microsoft: extensionRequest under another OID.
	oidMicrosoftExtensions = "1.3.6.1.4.1.311.2.1.14"
)

// attributeTypes are the attribute types that have a name here. tag is the
// only string type that the attribute's syntax allows; 0 is DirectoryString,
// or no string at all.
var attributeTypes = []struct {
	name string
	oid  asn1.ObjectIdentifier
	tag  int
}{
	// RFC 5280 appendix A.1 and RFC 4519.
	{"CN", asn1.ObjectIdentifier{2, 5, 4, 3}, 0},
	{"SN", asn1.ObjectIdentifier{2, 5, 4, 4}, 0}, // surname
	{"serialNumber", asn1.ObjectIdentifier{2, 5, 4, 5}, tagPrintable},
	{"C", asn1.ObjectIdentifier{2, 5, 4, 6}, tagPrintable},
	{"L", asn1.ObjectIdentifier{2, 5, 4, 7}, 0},
	{"ST", asn1.ObjectIdentifier{2, 5, 4, 8}, 0},
	{"STREET", asn1.ObjectIdentifier{2, 5, 4, 9}, 0},
	{"O", asn1.ObjectIdentifier{2, 5, 4, 10}, 0},
	{"OU", asn1.ObjectIdentifier{2, 5, 4, 11}, 0},
	{"title", asn1.ObjectIdentifier{2, 5, 4, 12}, 0},
	{"description", asn1.ObjectIdentifier{2, 5, 4, 13}, 0},
	{"businessCategory", asn1.ObjectIdentifier{2, 5, 4, 15}, 0},
	{"postalCode", asn1.ObjectIdentifier{2, 5, 4, 17}, 0},
	{"name", asn1.ObjectIdentifier{2, 5, 4, 41}, 0},
	{"GN", asn1.ObjectIdentifier{2, 5, 4, 42}, 0}, // givenName
	{"initials", asn1.ObjectIdentifier{2, 5, 4, 43}, 0},
	{"generationQualifier", asn1.ObjectIdentifier{2, 5, 4, 44}, 0},
	{"dnQualifier", asn1.ObjectIdentifier{2, 5, 4, 46}, tagPrintable},
	{"pseudonym", asn1.ObjectIdentifier{2, 5, 4, 65}, 0},
	{"UID", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, 0},
	{"DC", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, tagIA5},
	// X.520 (10/2019) section 6.6.2.
	{"organizationIdentifier", asn1.ObjectIdentifier{2, 5, 4, 97}, 0},
	// CA/Browser Forum EV Guidelines section 7.1.4.2.
	{"jurisdictionL", asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 1}, 0},
	{"jurisdictionST", asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 2}, 0},
	{"jurisdictionC", asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 3}, tagPrintable},
	// RFC 2985: some stand in names (Cisco IOS writes unstructuredName),
	// the others are PKCS #10 attributes.
	{"emailAddress", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, tagIA5},
	{"unstructuredName", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 2}, 0},
	{"challengePassword", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}, 0},
	{"unstructuredAddress", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 8}, 0},
	{"extensionRequest", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, 0},
	{"smimeCapabilities", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 15}, 0},
	{"friendlyName", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20}, 0},
	// RFC 2307 section 3, wanted by the example of RFC 7030 section 4.5.2.
	{"macAddress", asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}, tagIA5},
	// RFC 4108 and RFC 7030 section 4.4.1.
	{"decryptKeyID", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 37}, 0},
	{"asymmDecryptKeyID", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 54}, 0},
	// RFC 7894 section 3.
	{"otpChallenge", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 56}, 0},
	{"revocationChallenge", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 57}, 0},
	{"estIdentityLinking", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 58}, 0},
}

// TypeName gives the short name of an attribute type, such as CN, or its
// dotted form when it has none here.
func TypeName(oid asn1.ObjectIdentifier) string {
	for _, t := range attributeTypes {
		if t.oid.Equal(oid) {
			return t.name
		}
	}
	return oid.String()
}

// TypeNames gives all short names that TypeOID takes.
func TypeNames() []string {
	names := make([]string, len(attributeTypes))
	for i, t := range attributeTypes {
		names[i] = t.name
	}
	return names
}

// TypeOID is the other way round: it takes a short name in the letter case
// that TypeName gives, or a dotted OID.
func TypeOID(name string) (asn1.ObjectIdentifier, bool) {
	for _, t := range attributeTypes {
		if t.name == name {
			return append(asn1.ObjectIdentifier(nil), t.oid...), true
		}
	}
	return parseOID(name)
}

// onlyTag gives the one string type that an attribute type allows, or 0.
func onlyTag(oid asn1.ObjectIdentifier) int {
	for _, t := range attributeTypes {
		if t.oid.Equal(oid) {
			return t.tag
		}
	}
	return 0
}

// parseOID reads a dotted OID. Each number is written in one way only, and
// fits the 31 bits that the decoder takes.
func parseOID(dotted string) (asn1.ObjectIdentifier, bool) {
	arcs := strings.Split(dotted, ".")
	oid := make(asn1.ObjectIdentifier, 0, len(arcs))
	for _, arc := range arcs {
		n, err := strconv.ParseUint(arc, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != arc {
			return nil, false
		}
		oid = append(oid, int(n))
	}
	if len(oid) < 2 || oid[0] > 2 || oid[0] < 2 && oid[1] >= 40 || oid[1] > math.MaxInt32-80 {
		return nil, false
	}
	return oid, true
}
