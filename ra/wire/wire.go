// SPDX-License-Identifier: Apache-2.0

// Package wire is how EST messages look in HTTP: media types and base64,
// read as a server reads them and written as real clients need them.
package wire

import "strings"

// Media types of EST messages (RFC 7030 section 3.2.4), spelled as clients
// compare them: libest demands TypeCertsOnly byte for byte, with one space.
const (
	// TypePKCS7 is the answer to /cacerts.
	TypePKCS7 = "application/pkcs7-mime"
	// TypeCertsOnly is the answer to an enrolment.
	TypeCertsOnly = "application/pkcs7-mime; smime-type=certs-only"
	// TypeCMCRequest and TypeCMCResponse are a Full PKI Request and Response. A
	// Simple PKI Response is TypeCertsOnly.
	TypeCMCRequest  = "application/pkcs7-mime; smime-type=CMC-request"
	TypeCMCResponse = "application/pkcs7-mime; smime-type=CMC-response"
	// TypePKCS10 is an enrolment request (RFC 5967).
	TypePKCS10 = "application/pkcs10"
	// TypeCSRAttrs is the answer to /csrattrs.
	TypeCSRAttrs = "application/csrattrs"
	// TypeText is an error's text, and goes with every empty body too: Go
	// would otherwise guess a type (RFC 8951 section 5.1).
	TypeText = "text/plain; charset=utf-8"
)

// IsPKCS10 says whether a Content-Type is application/pkcs10, in any letter
// case and with anything after a semicolon. A type that only begins like it and
// an empty one are not.
func IsPKCS10(contentType string) bool { return isType(contentType, TypePKCS10) }

// IsPKCS7 says whether a Content-Type is application/pkcs7-mime, with or
// without an smime-type.
func IsPKCS7(contentType string) bool { return isType(contentType, TypePKCS7) }

// IsCSRAttrs says whether a Content-Type is application/csrattrs.
func IsCSRAttrs(contentType string) bool { return isType(contentType, TypeCSRAttrs) }

// isType ignores the parameters, malformed and repeated ones too: no message
// of EST depends on one.
func isType(contentType, want string) bool {
	got, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(got), want)
}
