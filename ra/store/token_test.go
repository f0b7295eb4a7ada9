// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-est/estra/ra/secret"
)

func TestAPasswordIsReadAsItWasMade(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id, word, text, err := newToken(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, typed := range []secret.Text{text, secret.Text(strings.ToUpper(string(text)))} {
			gotID, gotWord, ok := parseToken(typed)
			if !ok || gotID != id || gotWord != word {
				t.Fatalf("another password is read from %q", string(typed))
			}
		}
		if len(string(text)) > 255 {
			t.Error("RFC 7894 section 3.1 has at most 255 bytes")
		}
		if seen[string(word)] {
			t.Fatal("a secret came twice")
		}
		seen[string(word)] = true
	}
	if _, _, _, err := newToken(iotest.ErrReader(errors.New("dry"))); err == nil {
		t.Error("a password was made without randomness")
	}
}

func TestEveryBitOfASecretIsRandom(t *testing.T) {
	id, word, _, err := newToken(bytes.NewReader(bytes.Repeat([]byte{0xff}, 64)))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("7", idLength+secretText); id+string(word) != want {
		t.Errorf("got %s%s, want %s", id, string(word), want)
	}
	if secretText*5 < 128 {
		t.Error("a fast hash wants a secret of 128 bits")
	}
}

func TestTheHashDependsOnSecretSaltAndID(t *testing.T) {
	hash := func(id, word, salt string) string {
		h, err := hashOf(id, secret.Text(word), []byte(salt))
		if err != nil || len(h) != hashLength {
			t.Fatal(err)
		}
		return string(h)
	}
	all := map[string]bool{
		hash("a", "w", "s"): true, hash("b", "w", "s"): true, hash("a", "v", "s"): true, hash("a", "w", "t"): true,
	}
	if len(all) != 4 {
		t.Error("two hashes are the same")
	}
}

func FuzzToken(f *testing.F) {
	f.Add("otp-abcdefghij-abcdefghijklmnopqrstuvwxyz")
	f.Add("OTP-2222222222-22222222222222222222222222")
	f.Add("otp-abcdefghi--abcdefghijklmnopqrstuvwxyz")
	f.Add("otp-abcdefghij-abcdefghijklmnopqrstuvwx\u212a")
	f.Fuzz(func(t *testing.T, text string) {
		id, word, ok := parseToken(secret.Text(text))
		if !ok {
			if id != "" || word != "" {
				t.Error("a part of what is no password")
			}
			return
		}
		if again := tokenPrefix + id + "-" + string(word); again != strings.ToLower(text) {
			t.Errorf("%q is read from %q", again, text)
		}
	})
}
