// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"hash"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// Digest gives a hash that is the same for plans of the same certificate, and
// for those alone: names as csr.Names.Digest compares them, usages and
// extensions in any order. Validity isn't in it, which a certificate authority
// that ends soon may shorten from one second to the next. It is kept over
// restarts: what it hashes doesn't change. The error tells that the names can't
// be encoded.
func (p Plan) Digest() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	put(h, []byte("plan 1"))
	if err := putNames(h, p.Names); err != nil {
		return sum, err
	}
	flags := []byte{0}
	if p.SANCritical {
		flags[0] = 1
	}
	put(h, flags, binary.BigEndian.AppendUint64(nil, uint64(p.KeyUsage))) //nolint:gosec // a set of bits
	putSorted(h, p.ExtKeyUsage, asn1.ObjectIdentifier.String)
	putSorted(h, p.Extensions, told)
	put(h, []byte(p.Upstream))
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// told tells extensions apart: an OID has no space.
func told(e csr.Extension) string {
	critical := " - "
	if e.Critical {
		critical = " critical "
	}
	return e.ID.String() + critical + string(e.Value)
}

// putNames hashes names. Those that are equal to none but themselves are told
// by their bytes.
func putNames(h hash.Hash, n csr.Names) error {
	if sum, ok := n.Digest(); ok {
		put(h, []byte("equal"), sum[:])
		return nil
	}
	subject, err := n.Subject.MarshalDER()
	if err != nil {
		return err
	}
	var san []byte
	if len(n.SAN) > 0 {
		if san, err = csr.MarshalSAN(n.SAN); err != nil {
			return err
		}
	}
	put(h, []byte("exact"), subject, san)
	return nil
}

// put hashes parts so that none of them runs into the next.
func put(h hash.Hash, parts ...[]byte) {
	for _, part := range parts {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash gives no error
		_, _ = h.Write(part)
	}
}

func putSorted[T any](h hash.Hash, all []T, text func(T) string) {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = text(one)
	}
	slices.Sort(texts)
	put(h, binary.BigEndian.AppendUint64(nil, uint64(len(texts))))
	for _, t := range texts {
		put(h, []byte(t))
	}
}
