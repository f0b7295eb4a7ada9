// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var made = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newUser(t testing.TB, realm, user, group string) User {
	t.Helper()
	v, err := New(rand.Reader, mustGroup(t, group), realm, user, "word")
	if err != nil {
		t.Fatal(err)
	}
	return User{Verifier: v, Note: "of " + user}
}

func newFile(t testing.TB, users ...User) *File {
	t.Helper()
	f := NewFile(filepath.Join(t.TempDir(), "users"), rand.Reader)
	if err := f.Add(t.Context(), users, false, made); err != nil {
		t.Fatal(err)
	}
	return f
}

// stateOf is how a user is found.
func stateOf(t testing.TB, f *File, realm, user string) string {
	t.Helper()
	e, err := f.Find(t.Context(), realm, user)
	switch {
	case err != nil:
		return err.Error()
	case len(e.V) == 0:
		return "unknown"
	case e.Revoked:
		return "revoked"
	default:
		return "active"
	}
}

func TestAFileHasItsUsersAfterItWasReadAnew(t *testing.T) {
	one := newUser(t, "devices", "one", "2048")
	f := newFile(t, one, newUser(t, "devices", "two", "2048"), newUser(t, "labs", "one", "3072"))
	if err := f.Revoke(t.Context(), "devices", []string{"two"}, made.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	again := NewFile(f.path, rand.Reader)
	got, err := again.Find(t.Context(), "devices", "one")
	if err != nil || !bytes.Equal(got.V, one.V) || !bytes.Equal(got.Salt, one.Salt) || got.Group != "2048" || got.Revoked || len(got.Seed) != SeedLength {
		t.Fatalf("found %+v, %v", got, err)
	}
	for user, want := range map[string]string{"one": "active", "two": "revoked", "three": "unknown"} {
		if state := stateOf(t, again, "devices", user); state != want {
			t.Errorf("%s is %s, want %s", user, state, want)
		}
	}
	list, err := again.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, u := range list {
		if len(u.V)+len(u.Salt) > 0 {
			t.Errorf("the list has the verifier of %s", u.User)
		}
		lines = append(lines, fmt.Sprint(u.Realm, "/", u.User, " ", u.Group.Name(), " ", u.State(), " ", u.Note, " ", u.Created.Equal(made)))
	}
	if got := strings.Join(lines, "\n"); got != "devices/one 2048 active of one true\ndevices/two 2048 revoked of two true\nlabs/one 3072 active of one true" {
		t.Errorf("the list is\n%s", got)
	}
	if list, err := again.List(t.Context(), "labs"); err != nil || len(list) != 1 {
		t.Errorf("labs has %d users, %v", len(list), err)
	}
	if mode, err := os.Stat(f.path); err != nil || mode.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("the mode is %v, %v", mode.Mode(), err)
	}
}

func TestWhatCantBeChangedLeavesTheFileAlone(t *testing.T) {
	f := newFile(t, newUser(t, "devices", "one", "2048"))
	before, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		do    func() error
		wrong string
		is    error
	}{
		{"a name that is there", func() error {
			return f.Add(t.Context(), []User{newUser(t, "devices", "two", "2048"), newUser(t, "devices", "one", "2048")}, false, made)
		}, "one: the user is there already", ErrTaken},
		{"another group than the realm's", func() error {
			return f.Add(t.Context(), []User{newUser(t, "devices", "two", "3072")}, false, made)
		}, `the user "two" has the group 3072, and the realm "devices" has 2048`, nil},
		{"a user without a verifier", func() error {
			return f.Add(t.Context(), []User{{Verifier: Verifier{Realm: "devices", User: "two", Group: groups[0]}}}, false, made)
		}, "that of no password", nil},
		{"revoking one of two that isn't there", func() error {
			return f.Revoke(t.Context(), "devices", []string{"one", "two"}, made)
		}, "devices/two: there is no such user", ErrUnknown},
		{"revoking in a realm that isn't there", func() error { return f.Revoke(t.Context(), "labs", []string{"one"}, made) }, "labs/one", ErrUnknown},
	} {
		err := c.do()
		if err == nil || !strings.Contains(err.Error(), c.wrong) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if after, err := os.ReadFile(f.path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed, %v", err)
	}
}

func TestAReplacedUserHasANewVerifierAndIsActive(t *testing.T) {
	f := newFile(t, newUser(t, "devices", "one", "2048"))
	if err := f.Revoke(t.Context(), "devices", []string{"one"}, made); err != nil {
		t.Fatal(err)
	}
	again := newUser(t, "devices", "one", "2048")
	if err := f.Add(t.Context(), []User{again}, true, made); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Find(t.Context(), "devices", "one"); err != nil || got.Revoked || !bytes.Equal(got.V, again.V) {
		t.Errorf("revoked %v, %v", got.Revoked, err)
	}
}

// Nobody needs a restart, and a file that is broken lets nobody in.
func TestAChangedFileIsReadAgain(t *testing.T) {
	f := newFile(t, newUser(t, "devices", "one", "2048"))
	reader := NewFile(f.path, rand.Reader)
	if state := stateOf(t, reader, "devices", "two"); state != "unknown" {
		t.Fatal(state)
	}
	if err := f.Add(t.Context(), []User{newUser(t, "devices", "two", "2048")}, false, made); err != nil {
		t.Fatal(err)
	}
	if state := stateOf(t, reader, "devices", "two"); state != "active" {
		t.Errorf("after it was added: %s", state)
	}
	good, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text []byte, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(f.path, text, 0o600), os.Chmod(f.path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write(append(good, "nonsense\n"...), 0o600)
	if state := stateOf(t, reader, "devices", "one"); !strings.Contains(state, "users:5: this is no line of `caddy est srp`") {
		t.Errorf("with a broken line: %s", state)
	}
	if runtime.GOOS != "windows" {
		write(append(good, '\n'), 0o640)
		if state := stateOf(t, reader, "devices", "one"); !strings.Contains(state, "mode 640") {
			t.Errorf("when others can read it: %s", state)
		}
	}
	write(append(good, "\n\n"...), 0o600)
	if state := stateOf(t, reader, "devices", "one"); state != "active" {
		t.Errorf("after it was mended: %s", state)
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if state := stateOf(t, reader, "devices", "one"); !strings.Contains(state, "no such file") {
		t.Errorf("after it was removed: %s", state)
	}
}

func TestAFileIsLoadedForARealm(t *testing.T) {
	f := newFile(t, newUser(t, "devices", "one", "2048"), newUser(t, "labs", "one", "2048"))
	if err := f.Load("devices"); err != nil {
		t.Error(err)
	}
	if err := f.Load("lab"); err == nil || !strings.Contains(err.Error(), `there is no realm "lab" in it, but: devices, labs`) {
		t.Error(err)
	}
	if err := NewFile(f.path+"x", nil).Load("devices"); err == nil {
		t.Error("a file that isn't there")
	}
}

func TestChangesAtOnceAreAllKept(t *testing.T) {
	f := newFile(t, newUser(t, "devices", "one", "2048"))
	var group sync.WaitGroup
	for i := range 8 {
		u := newUser(t, "devices", fmt.Sprint("user-", i), "2048")
		group.Go(func() {
			if err := NewFile(f.path, rand.Reader).Add(t.Context(), []User{u}, false, made); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if list, err := f.List(t.Context(), "devices"); err != nil || len(list) != 9 {
		t.Errorf("%d users, %v", len(list), err)
	}
}

func TestALineOfAFileIsReadOrRefused(t *testing.T) {
	f := newFile(t, newUser(t, "devices", "one", "2048"))
	good, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(good), "\n")
	realm, user := lines[1], lines[2]
	fields := strings.Split(user, "\t")
	change := func(field int, text string) string {
		other := append([]string(nil), fields...)
		other[field] = text
		return realm + strings.Join(other, "\t")
	}
	for _, c := range []struct{ name, text, wrong string }{
		{"nothing", "", ""},
		{"what was written", string(good), ""},
		{"with line ends of Windows", strings.ReplaceAll(string(good), "\n", "\r\n"), ""},
		{"a user before its realm", user + realm, "f:1: the realm \"devices\" has no line above"},
		{"a realm twice", realm + realm, "f:2: the realm \"devices\" is there twice"},
		{"a user twice", realm + user + user, "f:3: the user \"one\" is there twice"},
		{"a small group", strings.Replace(realm, "2048", "1536", 1), "the group 1536 is too small"},
		{"a seed that was cut off", realm[:len(realm)-3] + "\n", "was it cut off?"},
		{"a realm that can't be", strings.Replace(realm, "devices", "De vices", 1), "the realm can't be"},
		{"a salt that is none", change(3, "xyz"), "the salt of the user \"one\" can't be read"},
		{"a salt of another length", change(3, "aabb"), "the salt has 2 bytes"},
		{"a verifier that is none", change(4, "xyz"), "the verifier of the user \"one\" can't be read"},
		{"a verifier that was cut off", change(4, fields[4][2:]), "the verifier has 255 bytes, want 256"},
		{"a verifier of zero", change(4, strings.Repeat("00", 256)), "that of no password"},
		{"no time", change(5, "-"), "the time of making of the user \"one\" can't be read"},
		{"a revoked user", change(6, "2026-11-01T12:00:00Z"), ""},
		{"a user with a space", change(2, "o ne"), "the user can't be"},
		{"a note with a control character", change(7, "a\x01\n"), "the note can't be"},
		{"a line of OpenSSL", opensslLine, "f:1: this is a line of OpenSSL's srp.vfile"},
		{"too few fields", "user\tdevices\n", "this is no line of"},
	} {
		_, err := parseFile("f", []byte(c.text))
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && strings.Contains(err.Error(), fields[4][2:40]) {
			t.Errorf("%s: the message shows the verifier: %v", c.name, err)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	good, err := os.ReadFile(newFile(f, newUser(f, "devices", "one", "2048"), newUser(f, "labs", "two", "3072")).path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("realm\tdevices\t2048\t" + strings.Repeat("00", SeedLength) + "\nuser\tdevices\tone\t\t\t\t\t\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := parseFile("f", src)
		if err != nil {
			return
		}
		text := d.text()
		again, err := parseFile("f", text)
		if err != nil || !bytes.Equal(again.text(), text) {
			t.Fatalf("what was written is read otherwise: %v", err)
		}
	})
}
