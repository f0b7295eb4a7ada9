// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// maxEntries bounds each list in a request: RDNs, attributes in one RDN,
// GeneralNames, PKCS #10 attributes, values of one, extensions. The size of
// the whole is the caller's to bound.
const maxEntries = 256

// Parse decodes a PKCS #10 CertificationRequest (RFC 2986 section 4.2) in
// DER. Only the order within a SET is not insisted upon, since many clients
// leave it as it comes. Errors are of type *ParseError. The request shares no
// memory with raw.
func Parse(raw []byte) (*Request, error) {
	r := &Request{Raw: bytes.Clone(raw)}
	if err := r.parse(r.readKey, r.parseSignature); err != nil {
		return nil, err
	}
	return r, nil
}

// parse reads Raw. readKey takes what stands where the key does, and
// readSignature what follows the CertificationRequestInfo.
func (r *Request) parse(readKey func([]byte) error, readSignature func(*cryptobyte.String) error) error {
	input := cryptobyte.String(r.Raw)
	var outer, info cryptobyte.String
	if !input.ReadASN1(&outer, der.SEQUENCE) {
		return bad("not a CertificationRequest in DER")
	}
	if !input.Empty() {
		return bad("%d trailing bytes after the CertificationRequest", len(input))
	}
	if !outer.ReadASN1Element(&info, der.SEQUENCE) {
		return bad("no CertificationRequestInfo")
	}
	r.RawInfo = info
	if err := r.parseInfo(info, readKey); err != nil {
		return err
	}
	if err := readSignature(&outer); err != nil {
		return within("signature", err)
	}
	return nil
}

// readKey reads the SubjectPublicKeyInfo.
func (r *Request) readKey(element []byte) (err error) {
	r.RawSPKI = element
	r.Key, err = parseKey(element)
	return err
}

func (r *Request) parseInfo(element cryptobyte.String, readKey func(element []byte) error) error {
	var info, subject, spki, attributes cryptobyte.String
	var version int64
	if !element.ReadASN1(&info, der.SEQUENCE) || !info.ReadASN1Integer(&version) {
		return within("version", bad("not an INTEGER"))
	}
	if version != 0 {
		return within("version", bad("%d, where RFC 2986 has only 0", version))
	}
	if !info.ReadASN1Element(&subject, der.SEQUENCE) {
		return within("subject", bad("not a Name"))
	}
	if !info.ReadAnyASN1Element(&spki, nil) {
		return within("key", bad("not a SubjectPublicKeyInfo"))
	}
	if !info.ReadASN1(&attributes, der.Tag(0).ContextSpecific().Constructed()) {
		return within("attributes", bad("no [0] SET after the key"))
	}
	if !info.Empty() {
		return bad("%d trailing bytes in the CertificationRequestInfo", len(info))
	}
	r.RawSubject = subject
	var err error
	if r.Names.Subject, err = parseName(subject); err != nil {
		return within("subject", err)
	}
	if err := readKey(spki); err != nil {
		return within("key", err)
	}
	if err := r.parseAttributes(attributes); err != nil {
		return err
	}
	r.Names.SAN, r.Names.HasSAN, err = sanOf(r.Extensions)
	return err
}

func (r *Request) parseSignature(outer *cryptobyte.String) error {
	var err error
	if r.SignatureOID, r.SignatureParams, err = readAlgorithm(outer); err != nil {
		return err
	}
	if !outer.ReadASN1BitStringAsBytes(&r.Signature) {
		return bad("not a BIT STRING of whole bytes")
	}
	if !outer.Empty() {
		return bad("%d trailing bytes after it", len(*outer))
	}
	return nil
}

// readAlgorithm reads an AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
// Absent parameters are nil.
func readAlgorithm(s *cryptobyte.String) (oid asn1.ObjectIdentifier, params []byte, err error) {
	var algorithm, element cryptobyte.String
	if !s.ReadASN1(&algorithm, der.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) {
		return nil, nil, bad("not an AlgorithmIdentifier")
	}
	if algorithm.Empty() {
		return oid, nil, nil
	}
	if !algorithm.ReadAnyASN1Element(&element, nil) || !algorithm.Empty() {
		return nil, nil, bad("AlgorithmIdentifier with malformed parameters")
	}
	return oid, element, nil
}

// SPKISHA256 is the SHA-256 of the SubjectPublicKeyInfo, in lower-case hex;
// empty in a request without a key (see Keyless).
func (r *Request) SPKISHA256() string {
	if len(r.RawSPKI) == 0 {
		return ""
	}
	return hexSHA256(r.RawSPKI)
}

// SHA256 is the SHA-256 of the whole request, in lower-case hex.
func (r *Request) SHA256() string { return hexSHA256(r.Raw) }

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
