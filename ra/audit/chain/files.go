// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra/flush"
)

// fileName is the name of the file that begins with a line.
func fileName(seq uint64) string { return fmt.Sprintf("audit-%020d.jsonl", seq) }

// Files are those of the chain in a folder, in their order.
func Files(folder string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(escape(folder), "audit-????????????????????.jsonl"))
	slices.Sort(names)
	return names, err
}

// escape keeps what a pattern would mean something by.
func escape(folder string) string {
	var out []byte
	for _, c := range []byte(folder) {
		if slices.Contains([]byte(`*?[\`), c) && runtime.GOOS != "windows" {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out)
}

// resume finds the end of the chain, and signs that it goes on. A line that
// isn't finished is of a request that nobody answered: the server ended while it
// wrote. It is removed, and the checkpoint says so. Any other damage is for
// people to look at.
func (j *Journal) resume() error {
	names, err := Files(j.folder)
	if err != nil {
		return err
	}
	for len(names) > 0 {
		last := names[len(names)-1]
		report, cut, err := j.readEnd(last)
		if err != nil {
			return fmt.Errorf("the chain can't go on: %w. Look into it (caddy est audit verify), then move the files out of the folder: a new chain begins", err)
		}
		if report.Last == 0 { // not even its first line was finished
			if err := os.Remove(last); err != nil {
				return err
			}
			names = names[:len(names)-1]
			continue
		}
		j.id = report.Chain
		return j.goOn(last, cut)
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	j.id = hex.EncodeToString(id[:])
	return j.next(Started)
}

// readEnd reads the last file. cut is how many bytes at its end are no line.
func (j *Journal) readEnd(name string) (r Report, cut int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return r, 0, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return r, 0, err
	}
	var v Verifier
	if err := v.Read(name, file, nil); err != nil && !errors.Is(err, ErrCut) {
		return r, 0, err
	}
	j.head, j.size = v.head, v.file.offset
	return v.report, info.Size() - j.size, nil
}

func (j *Journal) goOn(name string, cut int64) error {
	file, err := j.open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	j.file, j.path = file, name
	if cut > 0 {
		if err := file.Truncate(j.size); err != nil {
			return err
		}
	}
	return j.checkpoint(Checkpoint{Why: Started, Cut: cut})
}

// rotate signs the end of a file and begins the next. What is older than it
// need be goes: the next one's first line is signed.
func (j *Journal) rotate() error {
	if err := j.checkpoint(Checkpoint{Why: Rotated}); err != nil {
		return err
	}
	if err := j.next(Rotated); err != nil {
		return err
	}
	if removed, err := j.prune(); removed > 0 || err != nil {
		j.settings.Pruned(removed, err)
	}
	return nil
}

// next begins a file.
func (j *Journal) next(why Reason) error {
	path := filepath.Join(j.folder, fileName(j.head.Seq+1))
	// What is there by this name has no line that counts.
	made, err := j.open(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if err := flush.Folder(j.folder); err != nil {
		return errors.Join(err, made.Close())
	}
	if j.file != nil {
		_ = j.file.Close() // all of it is on the disk
	}
	j.file, j.path, j.size = made, path, 0
	return j.checkpoint(Checkpoint{Why: why})
}

// steadyFor is how long the clock must not have jumped before files go: the next
// time that one begins is soon enough.
const steadyFor = 30 * time.Minute

// prune removes the oldest files.
func (j *Journal) prune() (removed int, err error) {
	if j.settings.Keep <= 0 || !j.clock.Steady(time.Now(), steadyFor) {
		return 0, nil
	}
	names, err := Files(j.folder)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return removed, err
		}
		if name == j.path || time.Since(info.ModTime()) < j.settings.Keep {
			return removed, nil // the younger ones stay
		}
		if err := os.Remove(name); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
