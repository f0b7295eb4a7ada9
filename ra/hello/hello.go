// SPDX-License-Identifier: Apache-2.0

// Package hello reads of a TLS ClientHello what crypto/tls doesn't tell: which
// CAs the client says that it trusts, and whether it wants no certificate at all
// but a password that both sides know (SRP, RFC 5054).
//
// It is for the choice of a certificate and of who does the handshake. Whatever
// isn't understood here counts as not said, and the handshake goes on: crypto/tls
// judges it.
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
	serverName             = 0  // RFC 6066 section 3
	trustedCAKeys          = 3  // RFC 6066 section 6
	srpName                = 12 // RFC 5054 section 2.8.1
	encryptThenMAC         = 22 // RFC 7366
	extendedMasterSecret   = 23 // RFC 7627
	certificateAuthorities = 47 // RFC 8446 section 4.2.4
)

// The suites of RFC 5054 section 2.7 that take no certificate, and no 3DES.
const (
	SRPWithAES128 uint16 = 0xc01d // TLS_SRP_SHA_WITH_AES_128_CBC_SHA
	SRPWithAES256 uint16 = 0xc020 // TLS_SRP_SHA_WITH_AES_256_CBC_SHA
)

// A Hello is what one ClientHello says about CAs and about SRP.
type Hello struct {
	// Names are distinguished names of CAs, DER, of either extension.
	Names [][]byte
	// KeyHashes and CertHashes are SHA-1 hashes, of trusted_ca_keys.
	KeyHashes  [][20]byte
	CertHashes [][20]byte

	// ServerName is whom the client wants to reach; "" where it doesn't say.
	ServerName string
	// User is the name of SRP's user, 1 to 255 bytes; "" where there is none.
	User string
	// Passworded says that one of the suites without a certificate is offered.
	Passworded bool
	// EncryptThenMAC and ExtendedMasterSecret say that the client offers them.
	EncryptThenMAC, ExtendedMasterSecret bool
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
	for !suites.Empty() {
		var suite uint16
		if !suites.ReadUint16(&suite) {
			return nil, errCut
		}
		h.Passworded = h.Passworded || suite == SRPWithAES128 || suite == SRPWithAES256
	}
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
	case serverName:
		return h.server(data)
	case srpName:
		var user cryptobyte.String
		if !data.ReadUint8LengthPrefixed(&user) || !data.Empty() || user.Empty() {
			return errors.New("the user name of SRP has a wrong length")
		}
		h.User = string(user)
		return nil
	case encryptThenMAC:
		h.EncryptThenMAC = true
		return nil
	case extendedMasterSecret:
		h.ExtendedMasterSecret = true
		return nil
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

// server reads the server_name: of its list, the one host name.
func (h *Hello) server(data cryptobyte.String) error {
	const hostName = 0
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() {
		return errors.New("the list of server names has a wrong length")
	}
	for !list.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return errCut
		}
		if kind == hostName {
			h.ServerName = string(name)
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

// OffersSRP says that the client names a user, and takes a suite without a
// certificate.
func (h *Hello) OffersSRP() bool { return h != nil && h.User != "" && h.Passworded }

// Empty says that the client names no CA.
func (h *Hello) Empty() bool {
	return h == nil || len(h.Names)+len(h.KeyHashes)+len(h.CertHashes) == 0
}
