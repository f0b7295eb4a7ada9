// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

// Media types of the answer to /serverkeygen (RFC 7030 section 4.4.2).
const (
	// TypePKCS8 is a private key in clear: PrivateKeyInfo (RFC 5958).
	TypePKCS8 = "application/pkcs8"
	// TypeServerKey is one that is encrypted.
	TypeServerKey = "application/pkcs7-mime; smime-type=server-generated-key"

	// TypePKCS12 is a private key and its certificate under a password, in the
	// place of two parts (RFC 8295 section 8.3.2).
	TypePKCS12 = "application/pkcs12"

	typeMultipart = "multipart/mixed"
)

// A Part is one part of a multipart/mixed answer.
type Part struct {
	Type string
	DER  []byte
}

// Errors of DecodeParts. None tells what the body holds, which is a private
// key.
var (
	ErrNotMultipart = errors.New("the answer is not multipart/mixed with a boundary (RFC 7030 section 4.4.2)")
	ErrParts        = errors.New("the answer is not a private key and a certificate, one of each (RFC 7030 section 4.4.2)")
)

// frame is more than what stands around a part.
const frame = 160

// EncodeParts writes a multipart/mixed body (RFC 2046 section 5.1), and its
// Content-Type. Lines end with CRLF, those of base64 too. The parts have
// Content-Transfer-Encoding, by which Bouncy Castle decodes them.
func EncodeParts(parts []Part, wrapped bool) (contentType string, body []byte, err error) {
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", nil, err
	}
	// No line of base64 begins with a hyphen, so that no boundary is in a part.
	boundary := "estra-" + hex.EncodeToString(random[:])
	size := frame
	for _, p := range parts {
		size += frame + len(p.Type) + encodedRoom(len(p.DER))
	}
	// Room for all of it: no key is left behind in memory by growing.
	out := make([]byte, 0, size)
	for _, p := range parts {
		out = fmt.Appendf(out, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, p.Type)
		out = appendBase64(out, p.DER, wrapped, "\r\n")
	}
	out = fmt.Appendf(out, "--%s--\r\n", boundary)
	return typeMultipart + "; boundary=" + boundary, out, nil
}

// IsPKCS12 tells whether an answer has the type of a PKCS #12.
func IsPKCS12(contentType string) bool { return isType(contentType, TypePKCS12) }

// A KeyAnswer is what /serverkeygen answers.
type KeyAnswer struct {
	// Key is PrivateKeyInfo, or CMS where Encrypted says so.
	Key       []byte
	Encrypted bool
	// Certificates is a certs-only bag.
	Certificates []byte
}

// mostParts bounds an answer; there are two.
const mostParts = 8

// DecodeParts reads the answer to /serverkeygen. The parts are told apart by
// their types, in any order; what stands before the first boundary and after the
// last is ignored, and so are parts of other types. The size of body is for the
// caller to bound.
func DecodeParts(contentType string, body []byte) (KeyAnswer, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.EqualFold(media, typeMultipart) || params["boundary"] == "" {
		return KeyAnswer{}, ErrNotMultipart
	}
	reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	var a KeyAnswer
	for range mostParts {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			if a.Key == nil || a.Certificates == nil {
				return KeyAnswer{}, ErrParts
			}
			return a, nil
		}
		if err != nil {
			return KeyAnswer{}, errors.New("the multipart body is malformed, or cut short")
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return KeyAnswer{}, errors.New("the multipart body is cut short")
		}
		if err := a.take(part.Header.Get("Content-Type"), text); err != nil {
			return KeyAnswer{}, err
		}
	}
	return KeyAnswer{}, ErrParts
}

func (a *KeyAnswer) take(contentType string, text []byte) error {
	_, params, _ := mime.ParseMediaType(contentType)
	isKey := isType(contentType, TypePKCS8)
	encrypted := IsPKCS7(contentType) && strings.EqualFold(params["smime-type"], "server-generated-key")
	if !isKey && !IsPKCS7(contentType) {
		return nil
	}
	der, armoured, err := DecodeBody(text)
	if err != nil || armoured {
		return errors.New("a part of the answer is not base64")
	}
	switch {
	case (isKey || encrypted) && a.Key == nil:
		a.Key, a.Encrypted = der, encrypted
	case !isKey && !encrypted && a.Certificates == nil:
		a.Certificates = der
	default:
		return ErrParts
	}
	return nil
}
