// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // G505: the lists of Debian have it
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
)

// A List is a set of keys by their hashes. The zero value is empty.
type List struct {
	spki [][sha256.Size]byte // sorted
	rsa  [][rsaTail]byte     // sorted
}

// rsaTail is the length of what openssl-blacklist keeps of a SHA-1.
const rsaTail = 10

// mostMistakes are what is said of one list.
const mostMistakes = 10

// A Mistake is a line of a list that can't be read. Lines and columns count
// from 1.
type Mistake struct {
	Line, Col int
	Message   string
}

// ParseSPKIList reads a list with the SHA-256 of one SubjectPublicKeyInfo on
// each line, in 64 hexadecimal digits. A # begins a comment. After ten mistakes
// the rest isn't read.
func ParseSPKIList(src []byte) (List, []Mistake) { return parseList(src, false) }

// ParseDebianList reads a list of RSA keys. A line has what openssl-blacklist
// has, 20 hexadecimal digits: the last of the SHA-1 of "Modulus=", the modulus
// in upper-case hexadecimal and a line feed, which is what `openssl rsa
// -modulus -noout` prints. It may also have all 40 digits of that, or the
// SHA-256 of a SubjectPublicKeyInfo in 64. A # begins a comment. After ten
// mistakes the rest isn't read.
func ParseDebianList(src []byte) (List, []Mistake) { return parseList(src, true) }

func parseList(src []byte, debian bool) (List, []Mistake) {
	var list List
	var mistakes []Mistake
	number := 0
	for line := range bytes.Lines(src) {
		number++
		text, _, _ := bytes.Cut(line, []byte("#"))
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		if message := list.add(text, debian); message != "" {
			mistakes = append(mistakes, Mistake{number, 1 + bytes.Index(line, text), message})
			if len(mistakes) == mostMistakes {
				break // it is likely no list at all
			}
		}
	}
	slices.SortFunc(list.spki, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	slices.SortFunc(list.rsa, func(a, b [rsaTail]byte) int { return bytes.Compare(a[:], b[:]) })
	return list, mistakes
}

// add reads one line, and says what is wrong with it.
func (l *List) add(text []byte, debian bool) string {
	if len(text) > 2*sha256.Size {
		return fmt.Sprintf("%s, and this has %d characters", wants(debian), len(text))
	}
	var digest [sha256.Size]byte
	n, err := hex.Decode(digest[:], text)
	switch {
	case err != nil:
		return fmt.Sprintf("%s, and this is %q", wants(debian), text)
	case n == sha256.Size:
		l.spki = append(l.spki, digest)
	case debian && (n == rsaTail || n == sha1.Size):
		l.rsa = append(l.rsa, [rsaTail]byte(digest[n-rsaTail:n]))
	default:
		return fmt.Sprintf("%s, and this has %d", wants(debian), len(text))
	}
	return ""
}

func wants(debian bool) string {
	if debian {
		return "a line has 20, 40 or 64 hexadecimal digits: the end or the whole of the SHA-1 that openssl-blacklist has, or a key's SPKI SHA-256"
	}
	return "a line has the 64 hexadecimal digits of a key's SPKI SHA-256"
}

// Len gives the number of hashes, those that stand twice counted twice.
func (l List) Len() int { return len(l.spki) + len(l.rsa) }

// HasSPKI tells whether the list has a key by the SHA-256 of its
// SubjectPublicKeyInfo.
func (l List) HasSPKI(sum [sha256.Size]byte) bool {
	_, found := slices.BinarySearchFunc(l.spki, sum, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	return found
}

// HasModulus tells whether the list has an RSA key by its modulus.
func (l List) HasModulus(n *big.Int) bool {
	if len(l.rsa) == 0 || !isModulus(n) {
		return false
	}
	sum := sha1.Sum(fmt.Appendf(nil, "Modulus=%X\n", n.Bytes())) //nolint:gosec // G401: as the list has it
	_, found := slices.BinarySearchFunc(l.rsa, [rsaTail]byte(sum[sha1.Size-rsaTail:]),
		func(a, b [rsaTail]byte) int { return bytes.Compare(a[:], b[:]) })
	return found
}
