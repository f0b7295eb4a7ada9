// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// OIDs of the attributes by which a request to /serverkeygen says for which key
// the private key is to be encrypted, and how (RFC 7030 section 4.4.1).
const (
	OIDDecryptKeyID      = "1.2.840.113549.1.9.16.2.37" // RFC 4108 section 2.2.5
	OIDAsymmDecryptKeyID = "1.2.840.113549.1.9.16.2.54" // RFC 7030 section 4.4.1.2
	OIDSMIMECapabilities = "1.2.840.113549.1.9.15"      // RFC 2633 section 2.5.2
)

// maxDecryptKeyID bounds an identifier, in bytes. A key identifier of RFC 5280
// has 20.
const maxDecryptKeyID = 128

// A DecryptKey is the key that a client has to decrypt the private key with
// which is made for it. The zero value is none: the private key is asked for in
// clear, inside TLS.
type DecryptKey struct {
	// ID is the value of DecryptKeyIdentifier or AsymmetricDecryptKeyIdentifier.
	ID []byte
	// Asymmetric tells the latter.
	Asymmetric bool
	// Capabilities is the SMIMECapabilities in DER; none: the client says of no
	// algorithm that it would take it.
	Capabilities []byte
}

// Asked tells a key from none.
func (k DecryptKey) Asked() bool { return len(k.ID) > 0 }

// DecryptKey gives the key for which the private key is to be encrypted. What
// can't be read is an error of type *ParseError, and so are two identifiers:
// RFC 7030 doesn't say which one would count.
func (r *Request) DecryptKey() (DecryptKey, error) {
	symmetric, isSymmetric := r.Attribute(OIDDecryptKeyID)
	asymmetric, isAsymmetric := r.Attribute(OIDAsymmDecryptKeyID)
	var k DecryptKey
	var err error
	switch {
	case isSymmetric && isAsymmetric:
		return k, bad("both decryptKeyID and asymmDecryptKeyID are there: which of the two keys is meant can't be told")
	case isSymmetric:
		k.ID, err = readDecryptKeyID(symmetric)
	case isAsymmetric:
		k.Asymmetric = true
		k.ID, err = readDecryptKeyID(asymmetric)
	}
	if err != nil {
		return DecryptKey{}, err
	}
	if a, ok := r.Attribute(OIDSMIMECapabilities); ok {
		if k.Capabilities, err = singleValue(a); err != nil {
			return DecryptKey{}, err
		}
	}
	return k, nil
}

func readDecryptKeyID(a Attribute) ([]byte, error) {
	value, err := singleValue(a)
	if err != nil {
		return nil, err
	}
	input := cryptobyte.String(value)
	var id cryptobyte.String
	if !input.ReadASN1(&id, der.OCTET_STRING) || !input.Empty() || len(id) == 0 || len(id) > maxDecryptKeyID {
		return nil, within("attribute "+TypeName(a.Type), bad("not an OCTET STRING of 1 to %d bytes", maxDecryptKeyID))
	}
	return id, nil
}

// singleValue: the three attributes are single-valued.
func singleValue(a Attribute) ([]byte, error) {
	if len(a.Values) != 1 {
		return nil, within("attribute "+TypeName(a.Type), bad("%d values, where there must be one", len(a.Values)))
	}
	return a.Values[0], nil
}
