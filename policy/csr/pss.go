// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// RFC 4055 sections 2.1, 2.2 and 3.1.
const (
	oidPSS  = "1.2.840.113549.1.1.10"
	oidMGF1 = "1.2.840.113549.1.1.8"
)

var pssHashes = map[string]crypto.Hash{
	"2.16.840.1.101.3.4.2.1": crypto.SHA256,
	"2.16.840.1.101.3.4.2.2": crypto.SHA384,
	"2.16.840.1.101.3.4.2.3": crypto.SHA512,
}

type pssParams struct {
	hash crypto.Hash
	salt int // bytes
}

// parsePSS reads RSASSA-PSS-params (RFC 4055 section 3.1). The default of
// both hash fields is SHA-1, so both must be there.
func parsePSS(params []byte) (pssParams, error) {
	malformed := errors.New("its parameters are malformed")
	input := cryptobyte.String(params)
	var body, hash, mask, trailer cryptobyte.String
	var hasHash, hasMask bool
	salt := int64(20)
	if !input.ReadASN1(&body, der.SEQUENCE) || !input.Empty() ||
		!body.ReadOptionalASN1(&hash, &hasHash, explicit(0)) ||
		!body.ReadOptionalASN1(&mask, &hasMask, explicit(1)) ||
		!body.ReadOptionalASN1Integer(&salt, explicit(2), int64(20)) ||
		!body.ReadOptionalASN1(&trailer, nil, explicit(3)) || !body.Empty() {
		return pssParams{}, malformed
	}
	if !hasHash || !hasMask {
		return pssParams{}, errors.New("its hash is SHA-1")
	}
	h, err := readHash(&hash)
	if err != nil {
		return pssParams{}, err
	}
	mgf, mgfParams, err := readAlgorithm(&mask)
	if err != nil || mgf.String() != oidMGF1 || !mask.Empty() {
		return pssParams{}, errors.New("its mask generation function is not MGF1")
	}
	inner := cryptobyte.String(mgfParams)
	maskHash, err := readHash(&inner)
	if err != nil {
		return pssParams{}, err
	}
	if maskHash != h {
		return pssParams{}, errors.New("hash and mask generation use different hashes")
	}
	// To crypto/rsa a salt of 0 bytes means "any": so it needs at least one.
	if salt < 1 || salt > 512 {
		return pssParams{}, fmt.Errorf("its salt has %d bytes", salt)
	}
	// trailerField 1 is the only one; written out it isn't DER, but means the same.
	if len(trailer) > 0 && !bytes.Equal(trailer, []byte{2, 1, 1}) {
		return pssParams{}, malformed
	}
	return pssParams{hash: h, salt: int(salt)}, nil
}

func explicit(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }

// readHash reads a hash AlgorithmIdentifier and nothing after it. The
// parameters are absent or NULL (RFC 4055 section 2.1).
func readHash(s *cryptobyte.String) (crypto.Hash, error) {
	oid, params, err := readAlgorithm(s)
	if err != nil || !s.Empty() || len(params) > 0 && !bytes.Equal(params, asn1NULL) {
		return 0, errors.New("its hash is malformed")
	}
	hash, ok := pssHashes[oid.String()]
	if !ok {
		return 0, fmt.Errorf("its hash is %v, not SHA-256, SHA-384 or SHA-512", oid)
	}
	return hash, nil
}
