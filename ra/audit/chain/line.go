// SPDX-License-Identifier: Apache-2.0

// Package chain keeps audit records so that a change is found: each line has
// the hash of the one before, and every so often a line is signed. It knows
// nothing of what a record says.
//
// A chain is lines of JSON, each with exactly these bytes around what it holds:
//
//	{"seq":N,"prev":"HASH","record":…,"hash":"HASH"}
//	{"seq":N,"prev":"HASH","checkpoint":…,"sig":"SIGNATURE","hash":"HASH"}
//
// N counts from 1. A hash is SHA-256 in lower-case hexadecimal over the bytes
// of its line that stand before `,"hash"`; prev is the hash of the line before,
// and 64 zeros where there is none. A signature is Ed25519 in base64 over
// signed and the bytes before `,"sig"`, so over all that came before as well.
//
// A chain is kept in files, one after the other. Each begins with a checkpoint:
// what is left when the oldest are removed still begins with a signature.
package chain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Version is the version of the form of lines and checkpoints.
const Version = 1

// MaxRecord bounds a record in a line, in bytes.
const MaxRecord = 4 << 20

// signed goes before what is signed: a signature is for a checkpoint alone.
const signed = "estra audit checkpoint 1\n"

// The bytes around what a line holds.
const (
	beforeSeq        = `{"seq":`
	beforePrev       = `,"prev":"`
	beforeRecord     = `","record":`
	beforeCheckpoint = `","checkpoint":`
	beforeSig        = `,"sig":"`
	afterSig         = `"`
	beforeHash       = `,"hash":"`
	lineEnd          = "\"}\n"

	hashLen = 2 * sha256.Size
	tailLen = len(beforeHash) + hashLen + len(lineEnd)
)

var sigLen = base64.StdEncoding.EncodedLen(ed25519.SignatureSize)

// A Head is the last line of a chain. The zero value is that of an empty one.
type Head struct {
	Seq  uint64
	Hash [sha256.Size]byte
}

// String is the head as operators pass it on: SEQ:HASH.
func (h Head) String() string {
	return strconv.FormatUint(h.Seq, 10) + ":" + hex.EncodeToString(h.Hash[:])
}

// ParseHead reads what String gives.
func ParseHead(text string) (h Head, err error) {
	seq, hash, _ := bytes.Cut([]byte(text), []byte(":"))
	if h.Seq, err = strconv.ParseUint(string(seq), 10, 64); err != nil || h.Seq == 0 || len(hash) != hashLen {
		return Head{}, fmt.Errorf("%q is no head of a chain: want SEQ:HASH", text)
	}
	if _, err := hex.Decode(h.Hash[:], hash); err != nil {
		return Head{}, fmt.Errorf("%q is no head of a chain: %w", text, err)
	}
	return h, nil
}

// A Checkpoint is a line that is signed.
type Checkpoint struct {
	V int `json:"v"`
	// Chain is the chain's id, which is random.
	Chain string `json:"chain"`
	// Node is the server's name.
	Node string    `json:"node"`
	TS   time.Time `json:"ts"`
	Why  Reason    `json:"why"`
	// Key is the public key that verifies the signature.
	Key ed25519.PublicKey `json:"key"`
	// Cut is how many bytes of a line that wasn't finished were removed before:
	// the server had ended while it wrote.
	Cut int64 `json:"cut,omitempty"`
}

// A Reason is why a checkpoint was written.
type Reason string

// The reasons.
const (
	Started   Reason = "start"    // the server began to write
	Stopped   Reason = "stop"     // it ended
	Due       Reason = "due"      // by count or time
	Rotated   Reason = "rotate"   // the last line of a file, or the first of the next
	Recovered Reason = "recover"  // nothing could be written before
	Rekeyed   Reason = "settings" // another key or node name follows
)

func (h Head) begin(dst []byte) []byte {
	dst = strconv.AppendUint(append(dst, beforeSeq...), h.Seq+1, 10)
	return hex.AppendEncode(append(dst, beforePrev...), h.Hash[:])
}

// end puts the hash behind a line that begins at from.
func (h Head) end(dst []byte, from int) ([]byte, Head) {
	next := Head{Seq: h.Seq + 1, Hash: sha256.Sum256(dst[from:])}
	dst = hex.AppendEncode(append(dst, beforeHash...), next.Hash[:])
	return append(dst, lineEnd...), next
}

// checkRecord: a line holds one record, in JSON.
func checkRecord(record []byte) error {
	switch {
	case len(record) == 0 || len(record) > MaxRecord:
		return fmt.Errorf("a record has %d bytes, and may have 1 to %d", len(record), MaxRecord)
	case bytes.IndexByte(record, '\n') >= 0:
		return errors.New("a record has a line break")
	}
	return nil
}

// record appends the line of a record that checkRecord takes.
func (h Head) record(dst, record []byte) ([]byte, Head) {
	from := len(dst)
	dst = append(append(h.begin(dst), beforeRecord...), record...)
	return h.end(dst, from)
}

// checkpoint appends a signed line.
func (h Head) checkpoint(dst []byte, c Checkpoint, key ed25519.PrivateKey) ([]byte, Head, error) {
	c.V, c.Key = Version, Public(key)
	body, err := json.Marshal(c)
	if err != nil {
		return dst, h, err
	}
	from := len(dst)
	dst = append(append(h.begin(dst), beforeCheckpoint...), body...)
	sig := ed25519.Sign(key, append([]byte(signed), dst[from:]...))
	dst = base64.StdEncoding.AppendEncode(append(dst, beforeSig...), sig)
	dst = append(dst, afterSig...)
	dst, next := h.end(dst, from)
	return dst, next, nil
}

// A line is one that was read. Its slices are those of the text.
type line struct {
	head       Head // of the line itself
	prev       []byte
	record     []byte // or
	checkpoint []byte // with
	sig        []byte // over
	signs      []byte
}

var errForm = errors.New("it doesn't have the form of a line of the chain")

// parseLine reads a line with its line break, and checks its hash.
func parseLine(text []byte) (l line, err error) {
	if len(text) < tailLen || !bytes.HasSuffix(text, []byte(lineEnd)) {
		return l, errForm
	}
	body, tail := text[:len(text)-tailLen], text[len(text)-tailLen:]
	if !bytes.HasPrefix(tail, []byte(beforeHash)) {
		return l, errForm
	}
	l.head.Hash = sha256.Sum256(body)
	var hash [hashLen]byte
	hex.Encode(hash[:], l.head.Hash[:])
	if !bytes.Equal(hash[:], tail[len(beforeHash):len(beforeHash)+hashLen]) {
		return l, errors.New("its hash isn't that of its bytes: it was changed")
	}
	rest, ok := bytes.CutPrefix(body, []byte(beforeSeq))
	digits, rest, found := bytes.Cut(rest, []byte(beforePrev))
	if !ok || !found || len(rest) < hashLen {
		return l, errForm
	}
	if l.head.Seq, err = strconv.ParseUint(string(digits), 10, 64); err != nil || digits[0] == '0' || digits[0] == '+' {
		return l, errForm
	}
	l.prev, rest = rest[:hashLen], rest[hashLen:]
	if l.record, ok = bytes.CutPrefix(rest, []byte(beforeRecord)); ok {
		return l, nil
	}
	l.record = nil
	if rest, ok = bytes.CutPrefix(rest, []byte(beforeCheckpoint)); !ok {
		return l, errForm
	}
	sigTail := len(beforeSig) + sigLen + len(afterSig)
	if len(rest) < sigTail {
		return l, errForm
	}
	var sig []byte
	l.checkpoint, sig = rest[:len(rest)-sigTail], rest[len(rest)-sigTail:]
	if sig, ok = bytes.CutPrefix(sig, []byte(beforeSig)); !ok || !bytes.HasSuffix(sig, []byte(afterSig)) {
		return l, errForm
	}
	l.sig, l.signs = sig[:sigLen], body[:len(body)-sigTail]
	return l, nil
}

// signedBy reads the checkpoint of a line, and checks that its key signed it.
func (l line) signedBy() (c Checkpoint, err error) {
	dec := json.NewDecoder(bytes.NewReader(l.checkpoint))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("its checkpoint can't be read: %w", err)
	}
	if c.V != Version {
		return c, fmt.Errorf("its checkpoint has version %d, and this reads version %d", c.V, Version)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(string(l.sig))
	if err != nil || len(c.Key) != ed25519.PublicKeySize || !ed25519.Verify(c.Key, append([]byte(signed), l.signs...), sig) {
		return c, errors.New("its signature isn't that of its key: it was changed")
	}
	return c, nil
}
