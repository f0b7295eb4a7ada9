// SPDX-License-Identifier: Apache-2.0

package csr

import "crypto/sha256"

// Digest gives a hash that is the same for names that are Equal, and for those
// alone; a SAN without entries counts as none. It is false for names that are
// equal to nothing. It is kept over restarts: what it hashes doesn't change.
func (n Names) Digest() ([sha256.Size]byte, bool) {
	subject, ok := n.Subject.canonical()
	san, okToo := canonicalSAN(n.SAN)
	if !ok || !okToo {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256([]byte(frame(frame(subject...), frame(san...)))), true
}
