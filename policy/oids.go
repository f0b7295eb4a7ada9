// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// keyUsages are the bits of RFC 5280 section 4.2.1.3, in their order.
var keyUsages = []struct {
	name string
	bit  x509.KeyUsage
}{
	{"digitalSignature", x509.KeyUsageDigitalSignature},
	{"contentCommitment", x509.KeyUsageContentCommitment},
	{"nonRepudiation", x509.KeyUsageContentCommitment}, // its name before X.509 (2000)
	{"keyEncipherment", x509.KeyUsageKeyEncipherment},
	{"dataEncipherment", x509.KeyUsageDataEncipherment},
	{"keyAgreement", x509.KeyUsageKeyAgreement},
	{"keyCertSign", x509.KeyUsageCertSign},
	{"cRLSign", x509.KeyUsageCRLSign},
	{"encipherOnly", x509.KeyUsageEncipherOnly},
	{"decipherOnly", x509.KeyUsageDecipherOnly},
}

// A named is an OID with its name in the policy language.
type named struct{ name, oid string }

// extKeyUsages: RFC 5280 section 4.2.1.12, RFC 6402 section 2.10 and others.
var extKeyUsages = []named{
	{"anyExtendedKeyUsage", "2.5.29.37.0"},
	{"serverAuth", "1.3.6.1.5.5.7.3.1"},
	{"clientAuth", "1.3.6.1.5.5.7.3.2"},
	{"codeSigning", "1.3.6.1.5.5.7.3.3"},
	{"emailProtection", "1.3.6.1.5.5.7.3.4"},
	{"ipsecEndSystem", "1.3.6.1.5.5.7.3.5"},
	{"ipsecTunnel", "1.3.6.1.5.5.7.3.6"},
	{"ipsecUser", "1.3.6.1.5.5.7.3.7"},
	{"timeStamping", "1.3.6.1.5.5.7.3.8"},
	{"OCSPSigning", "1.3.6.1.5.5.7.3.9"},
	{"eapOverPPP", "1.3.6.1.5.5.7.3.13"},
	{"eapOverLAN", "1.3.6.1.5.5.7.3.14"},
	{"ipsecIKE", "1.3.6.1.5.5.7.3.17"},
	{"secureShellClient", "1.3.6.1.5.5.7.3.21"},
	{"secureShellServer", "1.3.6.1.5.5.7.3.22"},
	{"cmcCA", "1.3.6.1.5.5.7.3.27"},
	{"cmcRA", "1.3.6.1.5.5.7.3.28"},
	{"cmcArchive", "1.3.6.1.5.5.7.3.29"},
	{"smartcardLogon", "1.3.6.1.4.1.311.20.2.2"},
}

// The attributes of RFC 7894 section 3.
const (
	otpChallenge        = "1.2.840.113549.1.9.16.2.56"
	revocationChallenge = "1.2.840.113549.1.9.16.2.57"
	estIdentityLinking  = "1.2.840.113549.1.9.16.2.58"
)

// popLinkWitnessV2 ties a request to the secret that the CMC message around it
// proves (RFC 5272 section 6.3.1.1).
const popLinkWitnessV2 = "1.3.6.1.5.5.7.7.33"

// changeSubjectName asks for other names than the CSR has (RFC 6402 section
// 2.8, RFC 7030 section 4.2.2).
const changeSubjectName = csr.OIDChangeSubjectName

// notEnforced are attributes that ask for what this version can't do, and
// where they stand. A profile can only ignore them.
var notEnforced = map[string]string{
	revocationChallenge: "RFC 7894",
	// extensionRequest under an OID of Microsoft: an extension in it would
	// stand in no rule's sight.
	"1.3.6.1.4.1.311.2.1.14": "Microsoft's form of extensionRequest",
}

// moreAttributes have names here beside those that csr knows.
var moreAttributes = []named{
	{"localKeyId", "1.2.840.113549.1.9.21"},         // RFC 2985 section 5.5.2
	{"signingDescription", "1.2.840.113549.1.9.13"}, // RFC 2985 section 5.3.5
	{"changeSubjectName", changeSubjectName},
	{"osVersion", "1.3.6.1.4.1.311.13.2.3"},           // Microsoft, as the next three
	{"enrollmentCSP", "1.3.6.1.4.1.311.13.2.2"},       //
	{"requestClientInfo", "1.3.6.1.4.1.311.21.20"},    //
	{"enrollmentNameValue", "1.3.6.1.4.1.311.13.2.1"}, // may ask for a template, so it is not bookkeeping
}

// attributeOID reads the name of an attribute, of a subject or of PKCS #10,
// or a dotted OID.
func attributeOID(name string) (asn1.ObjectIdentifier, bool) {
	if oid, ok := csr.TypeOID(name); ok {
		return oid, true
	}
	return oidOf(moreAttributes, name)
}

// subjectNames are the names of the attributes that stand in subjects.
func subjectNames() []string {
	return slices.DeleteFunc(csr.TypeNames(), func(name string) bool {
		return slices.Contains([]string{
			"challengePassword", "extensionRequest", "smimeCapabilities", "friendlyName", "macAddress",
			"decryptKeyID", "asymmDecryptKeyID", "otpChallenge", "revocationChallenge", "estIdentityLinking",
		}, name)
	})
}

func attributeName(oid asn1.ObjectIdentifier) string {
	if dotted := oid.String(); csr.TypeName(oid) == dotted {
		return nameOf(moreAttributes, dotted)
	}
	return csr.TypeName(oid)
}

// bookkeeping are attributes in which Microsoft's clients tell about
// themselves. They ask for nothing.
var bookkeeping = []string{
	"1.3.6.1.4.1.311.13.2.2", // ENROLLMENT_CSP_PROVIDER
	"1.3.6.1.4.1.311.13.2.3", // OS_VERSION
	"1.3.6.1.4.1.311.21.20",  // REQUEST_CLIENT_INFO
	"1.3.6.1.4.1.311.2.2.10", // CSP and key attributes of certreq
}

// Extensions of RFC 5280 section 4.2.1. The last four are for certificates of
// CAs alone.
const (
	authorityKeyIdentifier = "2.5.29.35"
	nameConstraints        = "2.5.29.30"
	policyMappings         = "2.5.29.33"
	policyConstraints      = "2.5.29.36"
	inhibitAnyPolicy       = "2.5.29.54"
)

// Extensions of Microsoft that more hangs on than they seem to say.
const (
	ntdsSecurity            = "1.3.6.1.4.1.311.25.2"
	applicationCertPolicies = "1.3.6.1.4.1.311.21.10"
)

// telling are extensions that say more than it seems, and what it means that a
// request decides them.
var telling = map[string]string{
	ntdsSecurity:            "it names the Windows account that the certificate logs on, by its SID",
	applicationCertPolicies: "Windows reads it as extended key usage",
}

var extensionNames = []named{
	{"subjectKeyIdentifier", csr.OIDSubjectKeyIdentifier},
	{"keyUsage", csr.OIDKeyUsage},
	{"subjectAltName", csr.OIDSubjectAltName},
	{"basicConstraints", csr.OIDBasicConstraints},
	{"authorityKeyIdentifier", authorityKeyIdentifier},
	{"extKeyUsage", csr.OIDExtKeyUsage},
	{"issuerAltName", "2.5.29.18"},
	{"certificatePolicies", csr.OIDCertificatePolicies},
	{"subjectDirectoryAttributes", csr.OIDDirectoryAttributes},
	{"privateKeyUsagePeriod", "2.5.29.16"},
	{"subjectInfoAccess", "1.3.6.1.5.5.7.1.11"},
	{"tlsFeature", "1.3.6.1.5.5.7.1.24"},                 // RFC 7633
	{"netscapeCertType", "2.16.840.1.113730.1.1"},        // old clients of OpenSSL
	{"netscapeComment", "2.16.840.1.113730.1.13"},        // likewise
	{"certificateTemplateName", "1.3.6.1.4.1.311.20.2"},  // Microsoft, version 1 templates
	{"certificateTemplate", "1.3.6.1.4.1.311.21.7"},      // Microsoft, version 2
	{"applicationCertPolicies", applicationCertPolicies}, // Microsoft
	{"ntdsSecurity", ntdsSecurity},                       // Microsoft, szOID_NTDS_CA_SECURITY_EXT
	{"cRLDistributionPoints", "2.5.29.31"},
	{"nameConstraints", nameConstraints},
	{"policyMappings", policyMappings},
	{"policyConstraints", policyConstraints},
	{"inhibitAnyPolicy", inhibitAnyPolicy},
	{"authorityInfoAccess", "1.3.6.1.5.5.7.1.1"},
	{"qcStatements", "1.3.6.1.5.5.7.1.3"},     // RFC 3739 section 3.2.6
	{"ipAddrBlocks", "1.3.6.1.5.5.7.1.7"},     // RFC 3779 section 2
	{"autonomousSysIds", "1.3.6.1.5.5.7.1.8"}, // RFC 3779 section 3
	{"ocspNoCheck", "1.3.6.1.5.5.7.48.1.5"},   // RFC 6960 section 4.2.2.2.1
}

// knownAttributes are the names that attributeOID knows.
func knownAttributes() []string { return append(csr.TypeNames(), namesOf(moreAttributes)...) }

func knownExtensions() []string { return namesOf(extensionNames) }

func nameOf(table []named, oid string) string {
	for _, entry := range table {
		if entry.oid == oid {
			return entry.name
		}
	}
	return oid
}

func namesOf(table []named) []string {
	names := make([]string, len(table))
	for i, entry := range table {
		names[i] = entry.name
	}
	return names
}

// oidOf reads a name of the table, or a dotted OID.
func oidOf(table []named, text string) (asn1.ObjectIdentifier, bool) {
	for _, entry := range table {
		if entry.name == text {
			return parseOID(entry.oid)
		}
	}
	return parseOID(text)
}

// parseOID reads a dotted OID. csr decides which ones are OIDs; none of its
// names begins with a digit.
func parseOID(text string) (asn1.ObjectIdentifier, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' {
		return nil, false
	}
	return csr.TypeOID(text)
}

func mustOID(dotted string) asn1.ObjectIdentifier {
	oid, _ := parseOID(dotted)
	return oid
}

func extKeyUsageOID(text string) (asn1.ObjectIdentifier, bool) { return oidOf(extKeyUsages, text) }

func extKeyUsageName(oid asn1.ObjectIdentifier) string { return nameOf(extKeyUsages, oid.String()) }

func extKeyUsageNames() []string { return namesOf(extKeyUsages) }

func keyUsageBit(name string) (x509.KeyUsage, bool) {
	for _, entry := range keyUsages {
		if entry.name == name {
			return entry.bit, true
		}
	}
	return 0, false
}

func knownKeyUsages() []string {
	names := make([]string, len(keyUsages))
	for i, entry := range keyUsages {
		names[i] = entry.name
	}
	return names
}

// KeyUsageNames gives the names of the bits in the order of RFC 5280 section
// 4.2.1.3, such as digitalSignature. Nil when there are none.
func KeyUsageNames(bits x509.KeyUsage) []string {
	var names []string
	for _, entry := range keyUsages {
		if bits&entry.bit != 0 && entry.name != "nonRepudiation" {
			names = append(names, entry.name)
		}
	}
	return names
}

func keyUsageText(bits x509.KeyUsage) string {
	if names := KeyUsageNames(bits); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "nothing"
}

func extensionOID(text string) (asn1.ObjectIdentifier, bool) { return oidOf(extensionNames, text) }

func extensionName(oid asn1.ObjectIdentifier) string { return nameOf(extensionNames, oid.String()) }
