// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// maxCapabilities bounds a list; clients name about ten.
const maxCapabilities = 64

// readCapabilities reads SMIMECapabilities (RFC 8551 section 2.5.2): algorithms,
// of which one may come several times with other parameters.
func readCapabilities(capabilities []byte) ([]algorithm, error) {
	capabilities, err := DER(capabilities)
	if err != nil {
		return nil, err
	}
	input, body := cryptobyte.String(capabilities), cryptobyte.String(nil)
	if !input.ReadASN1(&body, der.SEQUENCE) {
		return nil, errors.New("they are no SEQUENCE")
	}
	var list []algorithm
	for !body.Empty() {
		a, ok := readAlgorithm(&body, der.SEQUENCE)
		if !ok || len(list) == maxCapabilities {
			return nil, fmt.Errorf("capability %d is malformed, or there are more than %d", len(list)+1, maxCapabilities)
		}
		list = append(list, a)
	}
	return list, nil
}

// Choose takes algorithms for the recipient from its SMIMECapabilities, in DER
// or BER, and from nowhere else. Of those that both sides have it takes our
// first: content by AES-256-GCM, AES-128-GCM, AES-256-CBC, AES-128-CBC; an RSA
// key by OAEP with SHA-256, SHA-384, SHA-512, SHA-1, then PKCS #1 v1.5; ECDH
// with the hash of the curve's strength, then SHA-256, SHA-384, SHA-512; AES-256
// key wrap, then AES-128. A symmetric key is an AES key of its own length: its
// wrap must be among the capabilities. Where nothing fits the error is
// [ErrAlgorithm] and says what is missing.
func (r Recipient) Choose(capabilities []byte) (Algorithms, error) {
	list, err := readCapabilities(capabilities)
	if err != nil {
		return Algorithms{}, fmt.Errorf("SMIMECapabilities: %w", err)
	}
	a, err := r.choose(list)
	if err != nil {
		return Algorithms{}, fmt.Errorf("SMIMECapabilities: %w", err)
	}
	return a, nil
}

func (r Recipient) choose(list []algorithm) (Algorithms, error) {
	var a Algorithms
	for _, offered := range list {
		// A GCM capability has no parameters, or the usual ones: the message
		// says what it uses.
		if c, ok := cipherOf(offered.oid); ok && (a.Content == 0 || c < a.Content) {
			a.Content = c
		}
	}
	if a.Content == 0 {
		return a, missing("a content cipher", list, AES256GCM.String(), AES128GCM.String(), AES256CBC.String(), AES128CBC.String())
	}
	var err error
	switch {
	case r.rsa != nil:
		err = a.chooseTransport(list)
	case r.ecdh != nil:
		err = a.chooseAgreement(list, r.strength())
	default:
		err = a.chooseWrap(list, len(r.kek))
	}
	return a, err
}

func (a *Algorithms) chooseTransport(list []algorithm) error {
	for _, offered := range list {
		if t, err := transportOf(offered); err == nil && (a.Transport == 0 || t < a.Transport) {
			a.Transport = t
		}
	}
	if a.Transport == 0 {
		return missing("a key transport", list, "RSA-OAEP", PKCS1v15.String())
	}
	return nil
}

// chooseAgreement finds a pair. RFC 5753 section 7.2 has the wrap as parameter
// of the agreement; where that is left out, one that is named by itself is
// meant.
func (a *Algorithms) chooseAgreement(list []algorithm, first crypto.Hash) error {
	var alone Wrap
	for _, offered := range list {
		if w, ok := wrapOf(offered); ok && (alone == 0 || w < alone) {
			alone = w
		}
	}
	for _, offered := range list {
		kdf, ok := kdfOf(offered.oid)
		if !ok {
			continue
		}
		wrap := alone
		if !offered.plain() {
			params := cryptobyte.String(offered.params)
			inner, ok := readAlgorithm(&params, der.SEQUENCE)
			if wrap, ok = wrapIf(inner, ok); !ok {
				continue
			}
		}
		if wrap != 0 && (a.KDF == 0 || better(kdf, wrap, *a, first)) {
			a.KDF, a.Wrap = kdf, wrap
		}
	}
	if a.KDF == 0 {
		return missing("a key agreement with a key wrap", list, "dhSinglePass-stdDH-sha256kdf, -sha384kdf or -sha512kdf with AES-256 or AES-128 key wrap")
	}
	return nil
}

func wrapIf(a algorithm, ok bool) (Wrap, bool) {
	if !ok {
		return 0, false
	}
	return wrapOf(a)
}

// better puts the hash of the curve first, then the wrap, then SHA-256,
// SHA-384, SHA-512.
func better(kdf crypto.Hash, wrap Wrap, than Algorithms, first crypto.Hash) bool {
	if (kdf == first) != (than.KDF == first) {
		return kdf == first
	}
	if wrap != than.Wrap {
		return wrap < than.Wrap
	}
	return kdf < than.KDF
}

func (a *Algorithms) chooseWrap(list []algorithm, size int) error {
	for _, offered := range list {
		if w, ok := wrapOf(offered); ok && wraps[w].key == size {
			a.Wrap = w
			return nil
		}
	}
	return missing("the key wrap of the key", list, fmt.Sprintf("AES-%d key wrap", 8*size))
}

// missing says what would be wanted.
func missing(what string, list []algorithm, want ...string) error {
	return fmt.Errorf("%w: none of the %d capabilities is %s that is known here: %s", ErrAlgorithm, len(list), what, strings.Join(want, ", "))
}
