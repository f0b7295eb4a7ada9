// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Capabilities are the SMIMECapabilities, in DER, of who opens messages with a
// key by [Enveloped.Open]: what is preferred comes first.
func (k Key) Capabilities() ([]byte, error) {
	list, err := k.able()
	if err != nil {
		return nil, err
	}
	for c := AES256GCM; c <= AES128CBC; c++ {
		list = append(list, algorithm{oid: ciphers[c].oid})
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, a := range list {
			a.add(b, der.SEQUENCE)
		}
	})
	return b.Bytes()
}

// able are the key transports, key agreements or key wraps of the key.
func (k Key) able() (list []algorithm, err error) {
	switch {
	case k.RSA != nil:
		for t := OAEPSHA256; t <= PKCS1v15; t++ {
			a, err := t.algorithm()
			if err != nil {
				return nil, err
			}
			list = append(list, a)
		}
	case k.ECDH != nil:
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			for w := AES256Wrap; w <= AES128Wrap; w++ {
				var params cryptobyte.Builder
				algorithm{oid: wraps[w].oid}.add(&params, der.SEQUENCE)
				inner, err := params.Bytes()
				if err != nil {
					return nil, err
				}
				list = append(list, algorithm{oid: agreements[hash], params: inner})
			}
		}
	default:
		for w := AES256Wrap; w <= AES128Wrap; w++ {
			if wraps[w].key == len(k.KEK) {
				list = append(list, algorithm{oid: wraps[w].oid})
			}
		}
	}
	if len(list) == 0 {
		return nil, errors.New("there is no key that opens messages: an AES key has 16 or 32 bytes")
	}
	return list, nil
}
