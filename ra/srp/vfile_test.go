// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"bytes"
	"strings"
	"testing"
)

// What OpenSSL 3.0 wrote of the user dev1 with the password hunter2.
const (
	opensslV = "" +
		"0pttacELIXAbHrk/5bDe6Bk.0atvWN1mEGgPqzTxiO9skKc1994/yOgczwq7uSUkkxcsrC4z/sGjzRVoFOIPci" +
		"S6Z6y5KtGNxGp2mlYGEEKkt08h1rBwsalN0hWYYw.6ljqLeKVy4NIYeSzLQjw3ueN5zVyUhx2LKbhiQBFyIbV7" +
		"4trRVqVWql99lz95ijhUwuzCYzwoTsGhETQJhT6U82fgk74oezGpooZI8qKpouzDB/JHaqK9AAftoV6/7mF81j" +
		"BKLyTtc7zY9cxZGfQXhdwkGMt0skQlk6hetjk68uVbP4cenzAg7vUNT60JuJFhuo5rSZNZKX9EoADERgkD6F"
	opensslSalt = "EFmsQuckZxHSePKzxXfUxTmx5oy"
	opensslLine = "V\t" + opensslV + "\t" + opensslSalt + "\tdev1\t2048\ta note\n"
)

func TestAFileOfOpenSSLIsRead(t *testing.T) {
	users, err := ReadVFile("srp.vfile", "devices", []byte("# users\n\n"+opensslLine))
	if err != nil || len(users) != 1 {
		t.Fatalf("%d users, %v", len(users), err)
	}
	u := users[0]
	want, err := newVerifier(mustGroup(t, "2048"), "devices", "dev1", "hunter2", u.Salt)
	if err != nil {
		t.Fatal(err)
	}
	if u.User != "dev1" || u.Realm != "devices" || u.Group != want.Group || u.Note != "a note" || !bytes.Equal(u.V, want.V) || len(u.Salt) != saltLength {
		t.Errorf("got %q in %q, group %s, note %q, and the verifier is its own: %v", u.User, u.Realm, u.Group.Name(), u.Note, bytes.Equal(u.V, want.V))
	}
}

func vfileText(octets []byte) string {
	fill := (3 - len(octets)%3) % 3
	return vfileAlphabet.EncodeToString(append(make([]byte, fill), octets...))[fill:]
}

func TestAFileOfOpenSSLIsReadOrRefused(t *testing.T) {
	prime := vfileText(mustGroup(t, "2048").N())
	line := func(changes ...string) string { return strings.NewReplacer(changes...).Replace(opensslLine) }
	for _, c := range []struct{ name, text, wrong string }{
		{"a group of 1536 bits", line("2048", "1536"), "f:1: the user \"dev1\": the group 1536 is too small: want 2048 bits or more"},
		{"a group of 1024 bits in the third line", "#\n" + opensslLine + line("dev1", "dev2", "2048", "1024"), "f:3: "},
		{"a group that is nowhere", line("2048", "mine"), "there is no group \"mine\""},
		{"a line of its own for a good group", "I\t" + prime + "\t02\tmine\t\t\n" + line("2048", "mine"), ""},
		{"a line of its own with another generator", "I\t" + prime + "\t03\tmine\t\t\n" + line("2048", "mine"), "the group \"mine\" of this file is none of RFC 5054"},
		{"a good name for a small group of one's own", "I\t2F\t02\t2048\t\t\n" + opensslLine, "the group \"2048\" of this file is none"},
		{"a small group of its own that nobody uses", "I\t2F\t02\tsmall\t\t\n" + opensslLine, ""},
		{"a revoked user beside one", line("V\t", "R\t", "dev1", "dev2") + opensslLine, ""},
		{"nothing but a revoked user", line("V\t", "R\t"), "there is no user"},
		{"nothing", "", "there is no user"},
		{"a user twice", opensslLine + opensslLine, "f:2: the user \"dev1\" is on line 1 already"},
		{"a field less", line("\ta note", ""), "5 fields"},
		{"another kind of line", line("V\t", "X\t"), "begins with \"X\""},
		{"a verifier with letters of the other base64", line(opensslV, "ab+c"), "the verifier is not base64"},
		{"a verifier of one digit too few", line(opensslV, opensslV[:len(opensslV)-1]), "the verifier is not base64"},
		{"a verifier that is the prime", line(opensslV, prime), "not smaller than the prime"},
		{"a verifier of zero", line(opensslV, "0000"), "that of no password"},
		{"a verifier of one", line(opensslV, "0001"), "that of no password"},
		{"no verifier", line(opensslV, ""), "the verifier is not base64"},
		{"a salt of 12 bytes", line(opensslSalt, opensslSalt[:16]), "the salt has 12 bytes, want 20"},
		{"a user with a space", line("dev1", "dev 1"), "the user can't be"},
		{"line ends of Windows", line("\n", "\r\n"), ""},
	} {
		users, err := ReadVFile("f", "devices", []byte(c.text))
		if c.wrong == "" && (err != nil || len(users) != 1) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %d users, %v", c.name, len(users), err)
		}
		if err != nil && strings.Contains(err.Error(), opensslV[:20]) {
			t.Errorf("%s: the message shows the verifier: %v", c.name, err)
		}
	}
}

func TestAMessageNamesTenLinesAtMost(t *testing.T) {
	_, err := ReadVFile("f", "devices", []byte(strings.Repeat("X\n", 25)))
	if err == nil || strings.Count(err.Error(), "\n") != 10 || !strings.Contains(err.Error(), "f: 15 more lines are wrong") {
		t.Errorf("%v", err)
	}
}

func FuzzReadVFile(f *testing.F) {
	f.Add([]byte(opensslLine))
	f.Add([]byte("I\t2F\t02\tsmall\t\t\n" + opensslLine))
	f.Fuzz(func(t *testing.T, src []byte) {
		users, err := ReadVFile("f", "devices", src)
		if err == nil && len(users) == 0 {
			t.Fatal("no user and no error")
		}
		for _, u := range users {
			if CheckUser(u.User) != nil || checkNote(u.Note) != nil || checkSalt(u.Salt) != nil || u.Group == nil || len(u.V) != len(u.Group.N()) {
				t.Fatalf("the user %q is none that we would make", u.User)
			}
		}
	})
}
