// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/caddy-est/estra/policy/weakkey"
)

// mostListBytes bounds a list of keys: half a million of them.
const mostListBytes = 32 << 20

// A keyList is a list of keys in a file beside the policy.
type keyList struct {
	spot spot
	name string
	keys weakkey.List
}

// A ListFile is a file with a list of keys that a policy has read.
type ListFile struct {
	Name   string // as the policy has it
	SHA256 string // of its bytes, in hexadecimal
	Keys   int
}

// ListFiles gives the files that the policy has read, in file order.
func (p *Policy) ListFiles() []ListFile { return slices.Clone(p.lists) }

// noFiles is a folder without files.
type noFiles struct{}

// Open finds nothing.
func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// keyLists reads the files that a value names, one or several.
func (c *compiler) keyLists(n node, parse func([]byte) (weakkey.List, []weakkey.Mistake)) []keyList {
	if n.isList() && len(n.items()) == 0 {
		c.add(n.at, "`%s` names no file", n.path)
	}
	var lists []keyList
	for _, name := range n.oneOrMore() {
		if c.files == nil {
			continue // Parse looks at the policy file alone
		}
		src, err := readList(c.files, name.value())
		if err != nil {
			c.add(name.at, "the file %s of `%s` can't be used: %v", quote(name.value()), n.path, err)
			continue
		}
		keys, mistakes := parse(src)
		for _, m := range mistakes {
			at := Pos{File: filepath.Join(filepath.Dir(name.at.File), name.value()), Line: m.Line, Col: m.Col}
			c.add(at, "%s", m.Message)
		}
		sum := sha256.Sum256(src)
		c.policy.lists = append(c.policy.lists, ListFile{name.value(), hex.EncodeToString(sum[:]), keys.Len()})
		lists = append(lists, keyList{spot{name.at, n.path}, name.value(), keys})
	}
	return lists
}

func readList(files fs.FS, name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, errors.New("it must stand in the folder of the policy file or below it, and be written from there, without `..`; a link to it may")
	}
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() { // reading a pipe could wait for ever
		return nil, errors.New("it is not a file")
	}
	file, err := files.Open(name)
	if err != nil {
		return nil, cause(err)
	}
	defer func() { _ = file.Close() }() // it was read
	src, err := io.ReadAll(io.LimitReader(file, mostListBytes+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(src) > mostListBytes {
		return nil, fmt.Errorf("it is larger than %d MiB", mostListBytes>>20)
	}
	return src, nil
}

// cause leaves out the operation and the name, which stand in the message.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
