// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"crypto/aes"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Enveloped is an EnvelopedData or an AuthEnvelopedData that nobody has opened.
type Enveloped struct {
	kind       string // of the content
	cipher     Cipher
	iv         []byte // or nonce
	encrypted  []byte // with GCM, and the tag
	tag        int    // its length, or 0
	additional []byte // what GCM authenticates beside
	recipients []recipientInfo
}

// recipientInfo is for one recipient.
type recipientInfo struct {
	RecipientInfo
	algorithm algorithm
	encrypted []byte
	// of kari:
	originatorAlgorithm algorithm
	originator          []byte // empty unless it is an ephemeral key
	ukm                 []byte
}

// RecipientInfo says for which key a message is (RFC 5652 section 6.2).
type RecipientInfo struct {
	// Kind is "ktri" for RSA, "kari" for ECDH, "kekri" for a symmetric key, or
	// "other", which can't be opened.
	Kind string
	// ID names the key. Of kekri, KeyID is the keyIdentifier.
	ID Identifier
}

// ReadEnveloped reads an EnvelopedData (RFC 5652 section 6.1) or an
// AuthEnvelopedData (RFC 5083) with its content, in DER or BER, through [DER].
// It decrypts nothing. A content cipher that is not one of [Cipher] is
// [ErrAlgorithm]. Certificates and attributes that no key covers are skipped.
func ReadEnveloped(message []byte) (*Enveloped, error) {
	e, err := readEnveloped(message)
	if err != nil {
		return nil, fmt.Errorf("encrypted message: %w", err)
	}
	return e, nil
}

func readEnveloped(message []byte) (*Enveloped, error) {
	message, err := DER(message)
	if err != nil {
		return nil, err
	}
	kind, content, err := readContentInfo(message)
	if err != nil {
		return nil, err
	}
	if kind != IDEnvelopedData && kind != IDAuthEnvelopedData {
		return nil, fmt.Errorf("its content type is %s, want EnvelopedData or AuthEnvelopedData", nameOf(kind))
	}
	var body, recipients cryptobyte.String
	var version int64
	if !content.ReadASN1(&body, der.SEQUENCE) || !content.Empty() || !body.ReadASN1Integer(&version) ||
		!body.SkipOptionalASN1(explicit(0)) || !body.ReadASN1(&recipients, der.SET) {
		return nil, errors.New("it has no version or no recipients")
	}
	if version < 0 || version > 4 {
		return nil, fmt.Errorf("version %d is unknown", version)
	}
	e := new(Enveloped)
	if e.recipients, err = readRecipients(recipients); err != nil {
		return nil, err
	}
	params, err := e.readEncrypted(&body)
	if err != nil {
		return nil, err
	}
	if ciphers[e.cipher].gcm != (kind == IDAuthEnvelopedData) {
		return nil, fmt.Errorf("%w: %v in %s", ErrAlgorithm, e.cipher, nameOf(kind))
	}
	if kind == IDEnvelopedData {
		return e, e.readCBC(body, params)
	}
	return e, e.readGCM(body, params)
}

// readEncrypted reads an EncryptedContentInfo. In BER the content may be in
// pieces, whose tag says nothing of it.
func (e *Enveloped) readEncrypted(s *cryptobyte.String) (params []byte, err error) {
	var body, content, piece cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) || !readOID(&body, &e.kind) {
		return nil, errors.New("it has no encrypted content")
	}
	a, ok := readAlgorithm(&body, der.SEQUENCE)
	if !ok {
		return nil, errors.New("the content cipher is malformed")
	}
	if e.cipher, ok = cipherOf(a.oid); !ok {
		return nil, fmt.Errorf("%w: content cipher %s", ErrAlgorithm, a.oid)
	}
	switch {
	case body.PeekASN1Tag(implicit(0)):
		if !body.ReadASN1(&content, implicit(0)) {
			return nil, errors.New("the encrypted content is malformed")
		}
		e.encrypted = content
	case body.ReadASN1(&content, explicit(0)):
		for !content.Empty() {
			if !content.ReadASN1(&piece, der.OCTET_STRING) {
				return nil, errors.New("a piece of the encrypted content is malformed")
			}
			e.encrypted = append(e.encrypted, piece...)
		}
	default:
		return nil, errors.New("the encrypted content is not in the message")
	}
	if !body.Empty() {
		return nil, errors.New("bytes follow the encrypted content")
	}
	return a.params, nil
}

func (e *Enveloped) readCBC(rest cryptobyte.String, params cryptobyte.String) error {
	var iv cryptobyte.String
	if !params.ReadASN1(&iv, der.OCTET_STRING) || !params.Empty() || len(iv) != aes.BlockSize {
		return errors.New("the initialization vector is malformed")
	}
	if !rest.SkipOptionalASN1(explicit(1)) || !rest.Empty() {
		return errors.New("what follows the encrypted content is malformed")
	}
	e.iv = iv
	return nil
}

// gcmNonce is what RFC 5084 section 3.2 recommends, and what everybody takes.
const gcmNonce = 12

func (e *Enveloped) readGCM(rest cryptobyte.String, params cryptobyte.String) error {
	var body, nonce, attributes, mac cryptobyte.String
	e.tag = 12
	if !params.ReadASN1(&body, der.SEQUENCE) || !params.Empty() || !body.ReadASN1(&nonce, der.OCTET_STRING) ||
		!body.Empty() && !body.ReadASN1Integer(&e.tag) || !body.Empty() || len(nonce) != gcmNonce || e.tag < 12 || e.tag > gcmTag {
		return errors.New("the parameters of AES-GCM are malformed")
	}
	var has bool
	if !rest.ReadOptionalASN1(&attributes, &has, explicit(1)) || !rest.ReadASN1(&mac, der.OCTET_STRING) ||
		!rest.SkipOptionalASN1(explicit(2)) || !rest.Empty() || len(mac) != e.tag {
		return errors.New("what follows the encrypted content is malformed")
	}
	if has {
		list, err := readAttributes(attributes)
		if err != nil {
			return err
		}
		if err := checkAttributes(list, e.kind, nil); err != nil {
			return err
		}
		if !sorted(attributes) {
			return errors.New("the authenticated attributes are not in the order of DER")
		}
		e.additional = asSet(attributes)
	} else if e.kind != IDData {
		return fmt.Errorf("a content of type %s needs authenticated attributes", nameOf(e.kind))
	}
	e.iv = nonce
	e.encrypted = append(append([]byte(nil), e.encrypted...), mac...)
	return nil
}

func readRecipients(set cryptobyte.String) ([]recipientInfo, error) {
	var list []recipientInfo
	for n := 1; !set.Empty(); n++ {
		more, err := readRecipient(&set)
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", n, err)
		}
		if list = append(list, more...); len(list) > maxRecipients {
			return nil, fmt.Errorf("more than %d recipients", maxRecipients)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("it is for nobody")
	}
	return list, nil
}

func readRecipient(s *cryptobyte.String) ([]recipientInfo, error) {
	var body cryptobyte.String
	var tag der.Tag
	if !s.ReadAnyASN1(&body, &tag) {
		return nil, errors.New("it is malformed")
	}
	var one recipientInfo
	var err error
	switch tag {
	case der.SEQUENCE:
		one, err = readTransport(body)
	case explicit(1):
		return readAgreement(body)
	case explicit(2):
		one, err = readWrap(body)
	default:
		one.Kind = "other"
	}
	return []recipientInfo{one}, err
}

// readTransport reads a KeyTransRecipientInfo.
func readTransport(body cryptobyte.String) (recipientInfo, error) {
	info := recipientInfo{RecipientInfo: RecipientInfo{Kind: "ktri"}}
	var version int64
	var err error
	if !body.ReadASN1Integer(&version) || version != 0 && version != 2 {
		return info, errors.New("ktri: its version is neither 0 nor 2")
	}
	if info.ID, err = readIdentifier(&body); err != nil {
		return info, fmt.Errorf("ktri: %w", err)
	}
	return info, info.readKey(&body)
}

// readKey reads the algorithm and the encrypted key, which end an info.
func (info *recipientInfo) readKey(body *cryptobyte.String) error {
	var ok bool
	var encrypted cryptobyte.String
	if info.algorithm, ok = readAlgorithm(body, der.SEQUENCE); !ok || !body.ReadASN1(&encrypted, der.OCTET_STRING) || !body.Empty() {
		return fmt.Errorf("%s: its algorithm or key is malformed", info.Kind)
	}
	info.encrypted = encrypted
	return nil
}

// readWrap reads a KEKRecipientInfo.
func readWrap(body cryptobyte.String) (recipientInfo, error) {
	info := recipientInfo{RecipientInfo: RecipientInfo{Kind: "kekri"}}
	var version int64
	var id, key cryptobyte.String
	if !body.ReadASN1Integer(&version) || version != 4 {
		return info, errors.New("kekri: its version is not 4")
	}
	if !body.ReadASN1(&id, der.SEQUENCE) || !id.ReadASN1(&key, der.OCTET_STRING) || len(key) == 0 || len(key) > maxKeyID {
		return info, errors.New("kekri: its key identifier is malformed")
	}
	info.ID = SubjectKeyID(key)
	return info, info.readKey(&body)
}

// readAgreement reads a KeyAgreeRecipientInfo: one for each of its keys.
func readAgreement(body cryptobyte.String) ([]recipientInfo, error) {
	common := recipientInfo{RecipientInfo: RecipientInfo{Kind: "kari"}}
	var version int64
	var originator, ukm, keys cryptobyte.String
	var hasUKM, ok bool
	if !body.ReadASN1Integer(&version) || version != 3 {
		return nil, errors.New("kari: its version is not 3")
	}
	if !body.ReadASN1(&originator, explicit(0)) || !body.ReadOptionalASN1(&ukm, &hasUKM, explicit(1)) {
		return nil, errors.New("kari: its originator is malformed")
	}
	if hasUKM {
		var octets cryptobyte.String
		if !ukm.ReadASN1(&octets, der.OCTET_STRING) || !ukm.Empty() {
			return nil, errors.New("kari: its user keying material is malformed")
		}
		common.ukm = octets
	}
	if err := common.readOriginator(originator); err != nil {
		return nil, err
	}
	if common.algorithm, ok = readAlgorithm(&body, der.SEQUENCE); !ok || !body.ReadASN1(&keys, der.SEQUENCE) || !body.Empty() {
		return nil, errors.New("kari: its algorithm or keys are malformed")
	}
	var list []recipientInfo
	for !keys.Empty() {
		one := common
		if err := one.readAgreed(&keys); err != nil {
			return nil, fmt.Errorf("kari: key %d: %w", len(list)+1, err)
		}
		if list = append(list, one); len(list) > maxRecipients {
			return nil, fmt.Errorf("kari: more than %d keys", maxRecipients)
		}
	}
	return list, nil
}

// readOriginator reads an ephemeral key. Another originator, which names a
// certificate, is left out: the info can't be opened.
func (info *recipientInfo) readOriginator(originator cryptobyte.String) error {
	if !originator.PeekASN1Tag(explicit(1)) {
		return nil
	}
	var key cryptobyte.String
	var ok bool
	if !originator.ReadASN1(&key, explicit(1)) || !originator.Empty() {
		return errors.New("kari: its originator is malformed")
	}
	if info.originatorAlgorithm, ok = readAlgorithm(&key, der.SEQUENCE); !ok || !key.ReadASN1BitStringAsBytes(&info.originator) || !key.Empty() {
		return errors.New("kari: its originator's key is malformed")
	}
	return nil
}

// readAgreed reads a RecipientEncryptedKey.
func (info *recipientInfo) readAgreed(keys *cryptobyte.String) error {
	var body, id, key, encrypted cryptobyte.String
	var err error
	if !keys.ReadASN1(&body, der.SEQUENCE) {
		return errors.New("it is malformed")
	}
	if body.PeekASN1Tag(explicit(0)) {
		if !body.ReadASN1(&id, explicit(0)) || !id.ReadASN1(&key, der.OCTET_STRING) || len(key) == 0 || len(key) > maxKeyID {
			return errors.New("its key identifier is malformed")
		}
		info.ID = SubjectKeyID(key)
	} else if info.ID, err = readIssuerAndSerial(&body); err != nil {
		return err
	}
	if !body.ReadASN1(&encrypted, der.OCTET_STRING) || !body.Empty() {
		return errors.New("its encrypted key is malformed")
	}
	info.encrypted = encrypted
	return nil
}

// Recipients says for which keys the message is.
func (e *Enveloped) Recipients() []RecipientInfo {
	list := make([]RecipientInfo, len(e.recipients))
	for i, r := range e.recipients {
		list[i] = r.RecipientInfo
	}
	return list
}

// agreement reads the agreement of a kari, and its wrap as it stands there.
func (info *recipientInfo) agreement() (crypto.Hash, Wrap, error) {
	kdf, ok := kdfOf(info.algorithm.oid)
	params := cryptobyte.String(info.algorithm.params)
	inner, wrapOK := readAlgorithm(&params, der.SEQUENCE)
	wrap, known := wrapIf(inner, wrapOK)
	if !ok || !known {
		return 0, 0, fmt.Errorf("%w: key agreement %s", ErrAlgorithm, info.algorithm.oid)
	}
	return kdf, wrap, nil
}
