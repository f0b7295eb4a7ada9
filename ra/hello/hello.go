// SPDX-License-Identifier: Apache-2.0

// Package hello reads of a TLS ClientHello what crypto/tls doesn't tell: which
// CAs the client says that it trusts.
//
// It is for the choice of a certificate alone. Whatever isn't understood here
// counts as not said, and the handshake goes on: crypto/tls judges it.
package hello

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// MaxSize bounds a ClientHello. One with the names of all CAs of the web has
// about 16 KiB; crypto/tls itself takes 64.
const MaxSize = 32 << 10

// MaxCAs bounds the CAs of one ClientHello, since a short name costs more to keep
// than to send. The web has about 150.
const MaxCAs = 512

// Extensions.
const (
	trustedCAKeys          = 3  // RFC 6066 section 6
	certificateAuthorities = 47 // RFC 8446 section 4.2.4
)

// A Hello is what one ClientHello says about CAs.
type Hello struct {
	// Names are distinguished names of CAs, DER, of either extension.
	Names [][]byte
	// KeyHashes and CertHashes are SHA-1 hashes, of trusted_ca_keys.
	KeyHashes  [][20]byte
	CertHashes [][20]byte
}

var errCut = errors.New("the ClientHello ends too soon")

// Parse reads a whole handshake message, with its header. What it keeps is
// bounded by MaxSize and MaxCAs.
func Parse(msg []byte) (*Hello, error) {
	if len(msg) > MaxSize {
		return nil, fmt.Errorf("the ClientHello has %d bytes; at most %d are read", len(msg), MaxSize)
	}
	s := cryptobyte.String(msg)
	var kind uint8
	var body, session, suites, compression, extensions cryptobyte.String
	if !s.ReadUint8(&kind) || kind != clientHello || !s.ReadUint24LengthPrefixed(&body) || !s.Empty() {
		return nil, errors.New("the message isn't one ClientHello")
	}
	if !body.Skip(2+32) || !body.ReadUint8LengthPrefixed(&session) || // legacy_version, random
		!body.ReadUint16LengthPrefixed(&suites) || !body.ReadUint8LengthPrefixed(&compression) {
		return nil, errCut
	}
	h := &Hello{}
	if body.Empty() { // TLS 1.2 allows a ClientHello without extensions
		return h, nil
	}
	if !body.ReadUint16LengthPrefixed(&extensions) || !body.Empty() {
		return nil, errCut
	}
	seen := map[uint16]bool{}
	for !extensions.Empty() {
		var id uint16
		var data cryptobyte.String
		if !extensions.ReadUint16(&id) || !extensions.ReadUint16LengthPrefixed(&data) {
			return nil, errCut
		}
		if seen[id] {
			return nil, fmt.Errorf("the extension %d stands twice", id) // RFC 8446 section 4.2
		}
		seen[id] = true
		if err := h.extension(id, data); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *Hello) extension(id uint16, data cryptobyte.String) error {
	var list cryptobyte.String
	switch id {
	case trustedCAKeys, certificateAuthorities:
		if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() {
			return fmt.Errorf("the list of extension %d has a wrong length", id)
		}
	default:
		return nil
	}
	read := h.authority
	if id == certificateAuthorities {
		read = h.name
	}
	for !list.Empty() {
		if !read(&list) {
			return fmt.Errorf("extension %d has a CA that can't be read", id)
		}
		if len(h.Names)+len(h.KeyHashes)+len(h.CertHashes) > MaxCAs {
			return fmt.Errorf("more than %d CAs are named", MaxCAs)
		}
	}
	return nil
}

// The IdentifierTypes of RFC 6066 section 6.
const (
	preAgreed    = 0
	keySHA1Hash  = 1
	x509Name     = 2
	certSHA1Hash = 3
)

// authority reads one TrustedAuthority.
func (h *Hello) authority(s *cryptobyte.String) bool {
	var kind uint8
	if !s.ReadUint8(&kind) {
		return false
	}
	var hash [20]byte
	switch kind {
	case preAgreed: // names nobody
		return true
	case x509Name:
		return h.name(s)
	case keySHA1Hash:
		ok := s.CopyBytes(hash[:])
		h.KeyHashes = append(h.KeyHashes, hash)
		return ok
	case certSHA1Hash:
		ok := s.CopyBytes(hash[:])
		h.CertHashes = append(h.CertHashes, hash)
		return ok
	}
	return false // of a length that nobody has said
}

// name reads one DistinguishedName; both extensions have the same.
func (h *Hello) name(s *cryptobyte.String) bool {
	var name cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&name) || name.Empty() {
		return false
	}
	h.Names = append(h.Names, append([]byte(nil), name...)) // not all of the message
	return true
}

// Empty says that the client names no CA.
func (h *Hello) Empty() bool {
	return h == nil || len(h.Names)+len(h.KeyHashes)+len(h.CertHashes) == 0
}
