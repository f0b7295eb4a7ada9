// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/policy"
)

// Keys are stored in segments: a line that says what it is, then one line for
// each key with three fields in lower-case hexadecimal: the SHA-256 of the
// SubjectPublicKeyInfo, csr.Names.Digest of the names, and the serial number
// of the certificate, or - for none.
const (
	keysHead    = "estra keys 1\n"
	segmentKeys = 1024
)

// A keyID is the SHA-256 of a SubjectPublicKeyInfo.
type keyID [sha256.Size]byte

// A heldKey is what is kept of a key in memory. It has no pointers, so that
// half a million cost the garbage collector nothing.
type heldKey struct {
	names   [sha256.Size]byte
	serial  [20]byte // RFC 5280 section 4.1.2.2: at most 20 octets
	octets  uint8    // of the serial number
	segment uint32
}

// holder is what a policy is told of the key.
func (h heldKey) holder() *policy.KeyHolder {
	return &policy.KeyHolder{Names: h.names, Serial: hex.EncodeToString(h.serial[:h.octets])}
}

// holding keeps what a policy is told. A serial number that is none, or too
// long, is left out.
func holding(of policy.KeyHolder, segment uint32) heldKey {
	h := heldKey{names: of.Names, segment: segment}
	if serial, err := hex.DecodeString(of.Serial); err == nil && len(serial) <= len(h.serial) {
		h.octets = uint8(copy(h.serial[:], serial)) //nolint:gosec // G115: at most 20
	}
	return h
}

// appendKey writes the line of a key.
func appendKey(text []byte, id keyID, h heldKey) []byte {
	text = append(hex.AppendEncode(text, id[:]), ' ')
	text = append(hex.AppendEncode(text, h.names[:]), ' ')
	if h.octets == 0 {
		text = append(text, '-')
	}
	return append(hex.AppendEncode(text, h.serial[:h.octets]), '\n')
}

// readSegment reads a segment, each key in the order written. Lines that can't
// be read are passed over, and counted in the error with the first of them:
// one bad line must not hold up the start, nor lose the other keys.
func readSegment(src []byte, each func(keyID, heldKey)) error {
	rest, ok := bytes.CutPrefix(src, []byte(keysHead))
	if !ok {
		return errors.New("it doesn't begin with " + strconv.Quote(strings.TrimSpace(keysHead)))
	}
	number, first, bad := 1, 0, 0
	for line := range bytes.Lines(rest) {
		number++
		id, held, ok := readKey(line)
		if ok {
			each(id, held)
			continue
		}
		if bad++; bad == 1 {
			first = number
		}
	}
	if bad > 0 {
		return errors.New(strconv.Itoa(bad) + " lines can't be read, the first is line " + strconv.Itoa(first))
	}
	return nil
}

func readKey(line []byte) (id keyID, h heldKey, ok bool) {
	line, ended := bytes.CutSuffix(line, []byte("\n"))
	fields := bytes.Split(line, []byte(" "))
	if !ended || len(fields) != 3 || len(fields[0]) != 2*len(id) || len(fields[1]) != 2*len(h.names) {
		return id, h, false
	}
	if _, err := hex.Decode(id[:], fields[0]); err != nil {
		return id, h, false
	}
	if _, err := hex.Decode(h.names[:], fields[1]); err != nil {
		return id, h, false
	}
	if string(fields[2]) == "-" {
		return id, h, true
	}
	if len(fields[2]) > 2*len(h.serial) || len(fields[2]) == 0 {
		return id, h, false
	}
	n, err := hex.Decode(h.serial[:], fields[2])
	h.octets = uint8(n) //nolint:gosec // G115: at most 20
	return id, h, err == nil
}
