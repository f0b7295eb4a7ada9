// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/filelock"
	"github.com/caddy-est/estra/ra/secret"
)

// A File has users without a store. It is read again when it has changed. It is
// Users, and safe for concurrent use.
type File struct {
	path   string
	random io.Reader

	mu   sync.Mutex
	read directory
	info fs.FileInfo // of what was read; nil: nothing was
}

// NewFile gives a file that may not be there yet: Add makes it.
func NewFile(path string, random io.Reader) *File { return &File{path: path, random: random} }

// Load reads the file, and says why it can't be used for a realm.
func (f *File) Load(realm string) error {
	d, err := f.current()
	if err != nil {
		return err
	}
	_, err = f.realm(d, realm)
	return err
}

func (f *File) realm(d directory, name string) (*fileRealm, error) {
	r, there := d[name]
	if !there {
		return nil, fmt.Errorf("%s: there is no realm %q in it, but: %s", f.path, name, strings.Join(slices.Sorted(maps.Keys(d)), ", "))
	}
	return r, nil
}

// Find implements Source. While the file can't be read nobody is found.
func (f *File) Find(_ context.Context, realm, user string) (Entry, error) {
	d, err := f.current()
	if err != nil {
		return Entry{}, err
	}
	r, err := f.realm(d, realm)
	if err != nil {
		return Entry{}, err
	}
	u := r.users[user] // the zero user has no verifier
	return Entry{Group: r.group.Name(), Seed: r.seed, Salt: u.Salt, V: u.V, Revoked: !u.Revoked.IsZero()}, nil
}

// current is what the file says now.
func (f *File) current() (directory, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	if f.info != nil && os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime()) && info.Size() == f.info.Size() {
		return f.read, nil
	}
	f.info = nil
	if f.read, err = readFile(f.path, info); err != nil {
		return nil, err
	}
	f.info = info
	return f.read, nil
}

func readFile(path string, info fs.FileInfo) (directory, error) {
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s: others than its owner can read it (mode %o), and it has verifiers: `chmod 600` it", path, mode)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseFile(path, src)
}

// Add implements Users.
func (f *File) Add(_ context.Context, users []User, replace bool, now time.Time) error {
	return f.change(true, func(d directory) error {
		for _, u := range users {
			if err := d.add(u, replace, now, f.random); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d directory) add(u User, replace bool, now time.Time, random io.Reader) error {
	if err := u.Check(); err != nil {
		return err
	}
	r := d[u.Realm]
	if r == nil {
		seed, err := NewSeed(random)
		if err != nil {
			return err
		}
		r = &fileRealm{group: u.Group, seed: seed, users: map[string]User{}}
		d[u.Realm] = r
	}
	if u.Group != r.group {
		return OtherGroup(u, r.group.Name())
	}
	if _, there := r.users[u.User]; there && !replace {
		return fmt.Errorf("%s: %w", u.User, ErrTaken)
	}
	u.Created, u.Revoked = now.UTC().Truncate(time.Second), time.Time{}
	r.users[u.User] = u
	return nil
}

// List implements Users.
func (f *File) List(_ context.Context, realm string) (all []User, err error) {
	d, err := f.current()
	if err != nil {
		return nil, err
	}
	d.each(func(u User) {
		if realm == "" || u.Realm == realm {
			u.Salt, u.V = nil, nil
			all = append(all, u)
		}
	})
	return all, nil
}

// Revoke implements Users.
func (f *File) Revoke(_ context.Context, realm string, users []string, now time.Time) error {
	return f.change(false, func(d directory) error {
		for _, name := range users {
			r := d[realm]
			if r == nil || len(r.users[name].V) == 0 {
				return fmt.Errorf("%s/%s: %w", realm, name, ErrUnknown)
			}
			if u := r.users[name]; u.Revoked.IsZero() { // one that was revoked before keeps its time
				u.Revoked = now.UTC().Truncate(time.Second)
				r.users[name] = u
			}
		}
		return nil
	})
}

// mostWait is how long a change waits for another one.
const mostWait = 5 * time.Second

// change reads the file, changes what it says, and puts it in its place: all of it
// or nothing. Whoever reads meanwhile has the old one or the new one.
func (f *File) change(create bool, do func(directory) error) (err error) {
	lock, err := f.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	d := directory{}
	info, err := os.Stat(f.path)
	switch {
	case err == nil:
		if d, err = readFile(f.path, info); err != nil {
			return err
		}
	case !create || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := do(d); err != nil {
		return err
	}
	return writeFile(f.path, d.text())
}

func (f *File) lock() (io.Closer, error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		lock, err := filelock.Take(f.path + ".lock")
		if err == nil {
			return lock, nil
		}
		if time.Since(began) > mostWait {
			return nil, fmt.Errorf("%s: somebody else changes it: %w", f.path, err)
		}
	}
}

func writeFile(path string, text []byte) error {
	made, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // with the mode 0600
	if err != nil {
		return err
	}
	_, err = made.Write(text)
	err = errors.Join(err, made.Sync(), made.Close())
	if err == nil {
		err = os.Rename(made.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(made.Name()))
	}
	return nil
}

// A directory is what a file says: realms by name.
type directory map[string]*fileRealm

type fileRealm struct {
	group *Group
	seed  secret.Bytes
	users map[string]User
}

// each goes through all users in order.
func (d directory) each(do func(User)) {
	for _, realm := range slices.Sorted(maps.Keys(d)) {
		for _, name := range slices.Sorted(maps.Keys(d[realm].users)) {
			do(d[realm].users[name])
		}
	}
}

const fileHead = "# Users of certificate-less TLS. It is secret; `caddy est srp` changes it.\n"

// text is the file. It holds verifiers and seeds.
func (d directory) text() []byte {
	out := bytes.NewBufferString(fileHead)
	for _, name := range slices.Sorted(maps.Keys(d)) {
		fields := []string{"realm", name, d[name].group.Name(), hex.EncodeToString(d[name].seed)}
		out.WriteString(strings.Join(fields, "\t") + "\n")
	}
	d.each(func(u User) {
		fields := []string{"user", u.Realm, u.User, hex.EncodeToString(u.Salt), hex.EncodeToString(u.V), fileTime(u.Created), fileTime(u.Revoked), u.Note}
		out.WriteString(strings.Join(fields, "\t") + "\n")
	})
	return out.Bytes()
}

// never stands in the place of a time.
const never = "-"

func fileTime(t time.Time) string {
	if t.IsZero() {
		return never
	}
	return t.UTC().Format(time.RFC3339)
}
