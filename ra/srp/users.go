// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A User is a verifier with what is known of it.
type User struct {
	Verifier
	Note    string
	Created time.Time
	Revoked time.Time // zero: not
}

// State says in a word whether the user may log in.
func (u User) State() string {
	if u.Revoked.IsZero() {
		return "active"
	}
	return "revoked"
}

// Users are those of realms: in the store, or in a file.
type Users interface {
	Source
	// Add puts users into their realms, all or none. A name that is there already
	// is ErrTaken, also one that was revoked, unless it is replaced: then what it had
	// before counts no more. The first user of a realm decides its group.
	Add(ctx context.Context, users []User, replace bool, now time.Time) error
	// List gives the users of a realm, or of all, in order, without salt and
	// verifier.
	List(ctx context.Context, realm string) ([]User, error)
	// Revoke shuts users out. ErrUnknown tells that one isn't there, and then
	// nothing has changed.
	Revoke(ctx context.Context, realm string, users []string, now time.Time) error
}

// Errors that callers ask for.
var (
	ErrUnknown = errors.New("there is no such user")
	ErrTaken   = errors.New("the user is there already")
	// ErrGroup: a user has another group than its realm.
	ErrGroup = errors.New("one group for all, else it tells who is a user")
)

// Check says why a user isn't one that Add takes.
func (u User) Check() error {
	if err := errors.Join(CheckRealm(u.Realm), CheckUser(u.User), checkNote(u.Note)); err != nil {
		return err
	}
	if u.Group == nil {
		return errors.New("the user has no group")
	}
	if v, err := u.Group.element(u.V); err != nil {
		return err
	} else if len(v) != len(u.V) {
		return fmt.Errorf("the verifier has %d bytes, want %d", len(u.V), len(v))
	}
	return checkSalt(u.Salt)
}

// checkSalt: a salt of another length than ours would tell that there is such a
// user. Three zeros in front don't come by chance.
func checkSalt(salt []byte) error {
	if len(salt) < saltLength-3 || len(salt) > saltLength || salt[0] == 0 {
		return fmt.Errorf("the salt has %d bytes, want %d: another length would tell who is a user", len(salt), saltLength)
	}
	return nil
}

// mostNote is the longest note.
const mostNote = 200

// checkNote says why a text can't be a note: it is on one line of lists.
func checkNote(note string) error {
	if len(note) > mostNote || !utf8.ValidString(note) || strings.ContainsFunc(note, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("the note can't be %.300q: want up to %d bytes that can be printed, on one line", note, mostNote)
	}
	return nil
}

// OtherGroup is the error of a user whose group isn't its realm's.
func OtherGroup(u User, realm string) error {
	return fmt.Errorf("the user %q has the group %s, and the realm %q has %s: %w", u.User, u.Group.Name(), u.Realm, realm, ErrGroup)
}
