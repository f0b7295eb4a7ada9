// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

const userKeys = "user,decrypt_key_id,decrypt_key\nhttp_basic:depot,6b31,AAAAAAAAAAAAAAAAAAAAAA==\n"

func TestAFileOfKeysIsForItsOwnerAlone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.csv")
	for what, c := range map[string]struct {
		text string
		mode os.FileMode
		err  string
	}{
		"good":                      {userKeys, 0o600, ""},
		"others can read it":        {userKeys, 0o640, "chmod 600"},
		"a line without a key":      {"user,decrypt_key_id,decrypt_key\nhttp_basic:depot,,\n", 0o600, "line 2"},
		"a user without a method":   {strings.Replace(userKeys, "http_basic:", "", 1), 0o600, "METHOD:USER"},
		"a column of a device list": {"serial_number\n1\n", 0o600, "serial_number"},
	} {
		if err := os.WriteFile(name, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, c.mode); err != nil {
			t.Fatal(err)
		}
		list, err := (&DecryptKeysConfig{File: name}).read()
		if c.err == "" && (err != nil || len(list) != 1) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %d keys, %v", what, len(list), err)
		}
	}
}

func TestAKeyOfAnAccountIsThatAccounts(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.csv")
	if err := os.WriteFile(name, []byte(userKeys), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := (&DecryptKeysConfig{File: name}).read()
	if err != nil {
		t.Fatal(err)
	}
	keys := &decryptKeys{users: users}
	for what, c := range map[string]struct {
		account policy.Account
		wanted  csr.DecryptKey
		found   bool
	}{
		"its own":                {policy.Account{Method: "http_basic", User: "depot"}, csr.DecryptKey{ID: []byte("k1")}, true},
		"another identifier":     {policy.Account{Method: "http_basic", User: "depot"}, csr.DecryptKey{ID: []byte("k2")}, false},
		"asymmetric":             {policy.Account{Method: "http_basic", User: "depot"}, csr.DecryptKey{ID: []byte("k1"), Asymmetric: true}, false},
		"another account":        {policy.Account{Method: "http_basic", User: "other"}, csr.DecryptKey{ID: []byte("k1")}, false},
		"that of another method": {policy.Account{Method: "digest", User: "depot"}, csr.DecryptKey{ID: []byte("k1")}, false},
	} {
		_, err := keys.DecryptKey(t.Context(), policy.Identity{Accounts: []policy.Account{c.account}}, c.wanted)
		if c.found != (err == nil) || !c.found && !errors.Is(err, ra.ErrNoDecryptKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := keys.DecryptKey(t.Context(), policy.Identity{}, csr.DecryptKey{ID: []byte("k1")}); !errors.Is(err, ra.ErrNoDecryptKey) {
		t.Errorf("nobody has a key: %v", err)
	}
}
