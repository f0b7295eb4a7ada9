// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A Verifier reads the files of one chain in their order, and tells the first
// thing that is wrong. What it has read it doesn't keep.
type Verifier struct {
	// Keys may sign checkpoints; none: each checkpoint's own key does, which
	// only shows that nobody without such a key has changed anything.
	Keys []ed25519.PublicKey
	// Want is a head that is known of the chain; the zero value: none is. A
	// chain that doesn't have it was cut or written anew.
	Want Head

	report Report
	head   Head
	file   place
	had    bool // it has what is wanted
}

// place is where a Verifier is.
type place struct {
	name   string
	line   int
	offset int64
}

// A Report is what a Verifier has found in what was good.
type Report struct {
	// Chain and Node are of the last checkpoint.
	Chain, Node string
	// First and Last are numbers of lines. First is above 1 where older files
	// were removed.
	First, Last          uint64
	Records, Checkpoints uint64
	// Unsigned are the records after the last checkpoint. Who can write the file
	// could have changed or removed them.
	Unsigned uint64
	// Signed is when the last checkpoint was made.
	Signed time.Time
	// Keys have signed, in the order of their first use.
	Keys []ed25519.PublicKey
	// Cuts are lines before which the server had ended while it wrote.
	Cuts []uint64
}

// A Damage is why a chain isn't good.
type Damage struct {
	File   string
	Line   int   // in the file, from 1
	Offset int64 // of the line in the file
	After  uint64
	Err    error
}

// Error is for operators.
func (d *Damage) Error() string {
	return fmt.Sprintf("%s:%d (byte %d, after seq %d): %v", d.File, d.Line, d.Offset, d.After, d.Err)
}

// Unwrap returns the cause.
func (d *Damage) Unwrap() error { return d.Err }

// ErrCut is the cause of a Damage where a file ends within a line: a server had
// ended while it wrote, or is writing, or somebody cut the file.
var ErrCut = errors.New("the file ends within this line")

// Read reads one file. progress, if not nil, is told of bytes that were read.
// The error is a *Damage, or of reading.
func (v *Verifier) Read(name string, file io.Reader, progress func(bytes int)) error {
	v.file = place{name: name}
	batches, stop := readBatches(file)
	defer stop()
	for b := range batches {
		<-b.parsed
		for i, text := range b.texts {
			v.file.line++
			if b.errs[i] != nil {
				return v.damage(b.errs[i])
			}
			if err := v.line(b.lines[i]); err != nil {
				return v.damage(err)
			}
			v.file.offset += int64(len(text))
			if progress != nil {
				progress(len(text))
			}
		}
		switch {
		case b.damage != nil:
			v.file.line++
			return v.damage(b.damage)
		case b.err != nil:
			return fmt.Errorf("%s: %w", name, b.err)
		}
	}
	return nil
}

func (v *Verifier) damage(err error) error {
	return &Damage{File: v.file.name, Line: v.file.line, Offset: v.file.offset, After: v.head.Seq, Err: err}
}

func (v *Verifier) line(l line) error {
	if err := v.follows(l); err != nil {
		return err
	}
	switch {
	case l.checkpoint != nil:
		if err := v.checkpoint(l); err != nil {
			return err
		}
	case v.file.line == 1:
		return errors.New("a file of the chain begins with a checkpoint, and this is a record")
	default:
		v.report.Records++
		v.report.Unsigned++
	}
	if v.report.First == 0 {
		v.report.First = l.head.Seq
	}
	v.head, v.report.Last = l.head, l.head.Seq
	if l.head.Seq == v.Want.Seq {
		if l.head != v.Want {
			return fmt.Errorf("its hash is %x, and the known one %x: the chain was written anew", l.head.Hash, v.Want.Hash)
		}
		v.had = true
	}
	return nil
}

// follows compares a line with the one before. The first of all may have any
// number, since older files may have been removed.
func (v *Verifier) follows(l line) error {
	var prev [hashLen]byte
	hex.Encode(prev[:], v.head.Hash[:])
	switch {
	case v.head.Seq == 0 && l.head.Seq > 1:
		return nil
	case l.head.Seq != v.head.Seq+1:
		return fmt.Errorf("its seq is %d, and %d is next: lines are missing, doubled or in another order", l.head.Seq, v.head.Seq+1)
	case !bytes.Equal(l.prev, prev[:]):
		return errors.New("its prev isn't the hash of the line before: one of them was changed, or is of another chain")
	}
	return nil
}

func (v *Verifier) checkpoint(l line) error {
	c, err := l.signedBy()
	if err != nil {
		return err
	}
	same := func(k ed25519.PublicKey) bool { return k.Equal(c.Key) }
	switch {
	case len(v.Keys) > 0 && !slices.ContainsFunc(v.Keys, same):
		return fmt.Errorf("its checkpoint is signed by the key %s, which isn't one of those that may", Fingerprint(c.Key))
	case v.report.Chain != "" && v.report.Chain != c.Chain:
		return fmt.Errorf("its checkpoint is of the chain %s, and this is %s", c.Chain, v.report.Chain)
	}
	if !slices.ContainsFunc(v.report.Keys, same) {
		v.report.Keys = append(v.report.Keys, c.Key)
	}
	if c.Cut > 0 {
		v.report.Cuts = append(v.report.Cuts, l.head.Seq)
	}
	v.report.Chain, v.report.Node, v.report.Signed = c.Chain, c.Node, c.TS
	v.report.Checkpoints++
	v.report.Unsigned = 0
	return nil
}

// End tells what was found once all files are read. It is an error that the
// head which is known isn't there.
func (v *Verifier) End() (Report, error) {
	switch {
	case v.Want.Seq == 0 || v.had:
		return v.report, nil
	case v.Want.Seq < v.report.First:
		return v.report, fmt.Errorf("the chain begins at seq %d: it no longer has the known seq %d", v.report.First, v.Want.Seq)
	default:
		return v.report, fmt.Errorf("the chain ends at seq %d, and seq %d is known: its end was cut off", v.report.Last, v.Want.Seq)
	}
}

// Fingerprint names a key: SHA-256 in lower-case hexadecimal.
func Fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}
