// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"encoding/asn1"
	"strconv"
	"strings"
)

// What is around a message, and attributes (RFC 5272 sections 3.2.1, 3.2.3 and
// 4.2.1).
const (
	OIDPKIData      = "1.3.6.1.5.5.7.12.2"
	OIDPKIResponse  = "1.3.6.1.5.5.7.12.3"
	OIDUnsignedData = "1.2.840.113549.1.9.16.2.34"
)

// The controls, and popLinkWitness, popLinkWitnessV2 and changeSubjectName,
// which stand in a certification request (RFC 5272 section 6, RFC 6402 section
// 2). RFC 6402's 2008 module has 33 and 34 the other way round; its own 1988
// module, RFC 5272 and what is deployed have them so.
const (
	OIDStatusInfo        = "1.3.6.1.5.5.7.7.1"
	OIDIdentification    = "1.3.6.1.5.5.7.7.2"
	OIDIdentityProof     = "1.3.6.1.5.5.7.7.3"
	OIDDataReturn        = "1.3.6.1.5.5.7.7.4"
	OIDTransactionID     = "1.3.6.1.5.5.7.7.5"
	OIDSenderNonce       = "1.3.6.1.5.5.7.7.6"
	OIDRecipientNonce    = "1.3.6.1.5.5.7.7.7"
	OIDAddExtensions     = "1.3.6.1.5.5.7.7.8"
	OIDEncryptedPOP      = "1.3.6.1.5.5.7.7.9"
	OIDDecryptedPOP      = "1.3.6.1.5.5.7.7.10"
	OIDLraPOPWitness     = "1.3.6.1.5.5.7.7.11" //nolint:gosec // G101 reads a password into it
	OIDGetCert           = "1.3.6.1.5.5.7.7.15"
	OIDGetCRL            = "1.3.6.1.5.5.7.7.16"
	OIDRevokeRequest     = "1.3.6.1.5.5.7.7.17"
	OIDRegInfo           = "1.3.6.1.5.5.7.7.18"
	OIDResponseInfo      = "1.3.6.1.5.5.7.7.19"
	OIDQueryPending      = "1.3.6.1.5.5.7.7.21"
	OIDPopLinkRandom     = "1.3.6.1.5.5.7.7.22"
	OIDPopLinkWitness    = "1.3.6.1.5.5.7.7.23"
	OIDConfirmCert       = "1.3.6.1.5.5.7.7.24"
	OIDStatusInfoV2      = "1.3.6.1.5.5.7.7.25"
	OIDTrustedAnchors    = "1.3.6.1.5.5.7.7.26"
	OIDAuthData          = "1.3.6.1.5.5.7.7.27"
	OIDBatchRequests     = "1.3.6.1.5.5.7.7.28"
	OIDBatchResponses    = "1.3.6.1.5.5.7.7.29"
	OIDPublishCert       = "1.3.6.1.5.5.7.7.30"
	OIDModCertTemplate   = "1.3.6.1.5.5.7.7.31"
	OIDControlProcessed  = "1.3.6.1.5.5.7.7.32"
	OIDPopLinkWitnessV2  = "1.3.6.1.5.5.7.7.33"
	OIDIdentityProofV2   = "1.3.6.1.5.5.7.7.34"
	OIDRAIdentityWitness = "1.3.6.1.5.5.7.7.35"
	OIDChangeSubjectName = "1.3.6.1.5.5.7.7.36"
	OIDResponseBody      = "1.3.6.1.5.5.7.7.37"
)

// names are the words of RFC 5272 table 1 and RFC 6402 sections 2.2 and 2.8.
var names = map[string]string{
	OIDStatusInfo: "statusInfo", OIDIdentification: "identification", OIDIdentityProof: "identityProof",
	OIDDataReturn: "dataReturn", OIDTransactionID: "transactionId", OIDSenderNonce: "senderNonce",
	OIDRecipientNonce: "recipientNonce", OIDAddExtensions: "addExtensions", OIDEncryptedPOP: "encryptedPOP",
	OIDDecryptedPOP: "decryptedPOP", OIDLraPOPWitness: "lraPOPWitness", OIDGetCert: "getCert", OIDGetCRL: "getCRL",
	OIDRevokeRequest: "revokeRequest", OIDRegInfo: "regInfo", OIDResponseInfo: "responseInfo",
	OIDQueryPending: "queryPending", OIDPopLinkRandom: "popLinkRandom", OIDPopLinkWitness: "popLinkWitness",
	OIDConfirmCert: "confirmCertAcceptance", OIDStatusInfoV2: "statusInfoV2", OIDTrustedAnchors: "trustedAnchors",
	OIDAuthData: "authData", OIDBatchRequests: "batchRequests", OIDBatchResponses: "batchResponses",
	OIDPublishCert: "publishCert", OIDModCertTemplate: "modCertTemplate", OIDControlProcessed: "controlProcessed",
	OIDPopLinkWitnessV2: "popLinkWitnessV2", OIDIdentityProofV2: "identityProofV2",
	OIDRAIdentityWitness: "raIdentityWitness", OIDChangeSubjectName: "changeSubjectName", OIDResponseBody: "responseBody",
}

// Name is the word for a control, such as "senderNonce"; the dotted OID of one
// that has none.
func Name(oid asn1.ObjectIdentifier) string {
	if name, ok := names[oid.String()]; ok {
		return name
	}
	return oid.String()
}

// oidOf reads one of our own constants.
func oidOf(dotted string) asn1.ObjectIdentifier {
	var oid asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(dotted, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil {
			panic("cmc: not an OID: " + dotted)
		}
		oid = append(oid, n)
	}
	return oid
}
