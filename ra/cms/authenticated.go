// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Password is a secret that both sides have.
type Password struct {
	// Secret is what the key is derived from. For CMC it is the identifier, in
	// UTF-8, and the shared secret after it (RFC 5272 section 3.2).
	Secret []byte
	// MAC is SHA-256, which 0 is too, or SHA-1 for clients that have nothing
	// else (RFC 5274 section 4.1), of HMAC and of PBKDF2.
	MAC crypto.Hash
	// Iterations of PBKDF2, 1 to 100000, which 0 is too.
	Iterations int
	// PWRIKEK wraps the key as RFC 3211 has it, which is all that Bouncy Castle
	// knows, and not by AES-256 key wrap, which RFC 5274 section 4.1 wants.
	PWRIKEK bool
}

// macKeySize is a key of full strength for HMAC-SHA-256.
const macKeySize = 32

// Authenticate makes an AuthenticatedData (RFC 5652 section 9.1) in DER with a
// PasswordRecipientInfo. The MAC has a fresh key and covers the attributes
// content-type and message-digest, by SHA-256.
func Authenticate(c Content, p Password, unauthenticated ...Attribute) ([]byte, error) {
	message, err := authenticate(c, p, unauthenticated)
	if err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return message, nil
}

func authenticate(c Content, p Password, unauthenticated []Attribute) ([]byte, error) {
	if len(p.Secret) == 0 {
		return nil, errors.New("there is no secret")
	}
	mac := algorithm{oid: idHMACWithSHA256}
	hash := crypto.SHA256
	switch p.MAC {
	case 0, crypto.SHA256:
	case crypto.SHA1:
		hash, mac.oid = crypto.SHA1, idHMACSHA1
	default:
		return nil, fmt.Errorf("%w: HMAC with %v", ErrAlgorithm, p.MAC)
	}
	info, err := newPasswordInfo(p, hash)
	if err != nil {
		return nil, err
	}
	key := make([]byte, macKeySize)
	defer clear(key)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	attributes, err := contentAttributes(c, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	authenticated, err := marshalAttributes(attributes)
	if err != nil {
		return nil, err
	}
	outside, err := marshalAttributes(unauthenticated)
	if err != nil {
		return nil, err
	}
	return contentInfo(IDAuthenticatedData, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) { info.add(b, p.Secret, key) })
		mac.add(b, der.SEQUENCE)
		algorithm{oid: idSHA256}.add(b, explicit(1))
		c.add(b)
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddBytes(authenticated) })
		b.AddASN1OctetString(hmacSum(hash, key, asSet(authenticated)))
		if len(outside) > 0 {
			b.AddASN1(explicit(3), func(b *cryptobyte.Builder) { b.AddBytes(outside) })
		}
	})
}

func hmacSum(hash crypto.Hash, key, message []byte) []byte {
	h := hmac.New(hash.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// Authenticated is an AuthenticatedData that nobody has verified. It gives
// nothing away: the content comes from [Authenticated.Verify].
type Authenticated struct {
	content         Content
	info            *passwordInfo
	mac             crypto.Hash
	digest          crypto.Hash // or 0: without attributes
	authenticated   cryptobyte.String
	value           []byte
	unauthenticated []Attribute
}

// ReadAuthenticated reads an AuthenticatedData with one PasswordRecipientInfo,
// which RFC 5272 section 3.2 wants, in DER or BER, through [DER]. It verifies
// nothing. An error are another key management, more than 100000 iterations,
// and another MAC than HMAC with SHA-1 or SHA-256.
func ReadAuthenticated(message []byte) (*Authenticated, error) {
	a, err := readAuthenticated(message)
	if err != nil {
		return nil, fmt.Errorf("authenticated message: %w", err)
	}
	return a, nil
}

func readAuthenticated(message []byte) (*Authenticated, error) {
	content, err := ofPeer.open(message, IDAuthenticatedData)
	if err != nil {
		return nil, err
	}
	var body, recipients cryptobyte.String
	var version int64
	if !content.ReadASN1(&body, der.SEQUENCE) || !content.Empty() || !body.ReadASN1Integer(&version) ||
		!body.SkipOptionalASN1(explicit(0)) || !body.ReadASN1(&recipients, der.SET) {
		return nil, errors.New("it has no version or no recipients")
	}
	if version < 0 || version > 3 {
		return nil, fmt.Errorf("version %d is unknown", version)
	}
	a := new(Authenticated)
	var info cryptobyte.String
	if !recipients.ReadASN1(&info, explicit(3)) || !recipients.Empty() {
		return nil, fmt.Errorf("%w: its recipient is not one password", ErrAlgorithm)
	}
	if a.info, err = readPasswordInfo(info); err != nil {
		return nil, err
	}
	mac, ok := readAlgorithm(&body, der.SEQUENCE)
	if !ok {
		return nil, errors.New("its MAC algorithm is malformed")
	}
	if a.mac, err = mac.hmac(); err != nil {
		return nil, err
	}
	if body.PeekASN1Tag(explicit(1)) {
		sum, ok := readAlgorithm(&body, explicit(1))
		if !ok {
			return nil, errors.New("its digest algorithm is malformed")
		}
		if a.digest, err = sum.hash(); err != nil {
			return nil, err
		}
	}
	if a.content, err = readEncapsulated(&body); err != nil {
		return nil, err
	}
	return a, a.readRest(body)
}

// readRest reads what follows the content.
func (a *Authenticated) readRest(body cryptobyte.String) error {
	var unauthenticated, value cryptobyte.String
	var has, hasOutside bool
	if !body.ReadOptionalASN1(&a.authenticated, &has, explicit(2)) || !body.ReadASN1(&value, der.OCTET_STRING) ||
		!body.ReadOptionalASN1(&unauthenticated, &hasOutside, explicit(3)) || !body.Empty() {
		return errors.New("what follows the content is malformed")
	}
	a.value = value
	// RFC 5652 section 9.1: both or none, and both unless it is data.
	if has != (a.digest != 0) {
		return errors.New("of digest algorithm and authenticated attributes one is missing")
	}
	if !has && a.content.Type != IDData {
		return fmt.Errorf("a content of type %s needs authenticated attributes", nameOf(a.content.Type))
	}
	var err error
	if hasOutside {
		a.unauthenticated, err = readAttributes(unauthenticated)
	}
	return err
}

// Verify verifies the MAC (RFC 5652 section 9.3) with the secret that find
// gives. What find sees is not verified: it is there to find the secret by, such
// as by the identification control of a PKIData. The error is [ErrVerify] or
// that of find, wrapped, or says what is malformed.
func (a *Authenticated) Verify(find func(unverified Content) (secret []byte, err error)) (*Verified, error) {
	v, err := a.verify(find)
	if err != nil {
		return nil, fmt.Errorf("authenticated message: %w", err)
	}
	return v, nil
}

func (a *Authenticated) verify(find func(Content) ([]byte, error)) (*Verified, error) {
	message := a.content.Bytes
	if a.digest != 0 {
		list, err := readAttributes(a.authenticated)
		if err != nil {
			return nil, fmt.Errorf("authenticated attributes: %w", err)
		}
		if !sorted(a.authenticated) {
			return nil, errors.New("authenticated attributes: they are not in the order of DER")
		}
		if err := checkAttributes(list, a.content.Type, digest(a.digest, a.content.Bytes)); err != nil {
			return nil, fmt.Errorf("authenticated attributes: %w", err)
		}
		message = asSet(a.authenticated)
	} else if readsAsAttributes(message) {
		return nil, fmt.Errorf("%w: the content is a set of attributes", ErrVerify)
	}
	secret, err := find(a.content)
	if err != nil {
		return nil, err
	}
	if len(secret) == 0 {
		return nil, fmt.Errorf("%w: there is no secret", ErrVerify)
	}
	key, err := a.info.key(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: the secret is another", ErrVerify)
	}
	defer clear(key)
	if !hmac.Equal(hmacSum(a.mac, key, message), a.value) {
		return nil, fmt.Errorf("%w: the MAC is wrong", ErrVerify)
	}
	return &Verified{content: a.content, unsigned: a.unauthenticated}, nil
}
