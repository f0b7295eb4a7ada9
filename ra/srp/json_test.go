// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestUsersComeBackFromJSON(t *testing.T) {
	one, two := newUser(t, "devices", "one", "3072"), newUser(t, "labs", "two", "2048")
	one.Created, two.Revoked, two.Salt, two.V = made, made.Add(time.Hour), nil, nil // as in a list
	text, err := json.Marshal(UsersJSON{one, two})
	if err != nil {
		t.Fatal(err)
	}
	var again UsersJSON
	if err := json.Unmarshal(text, &again); err != nil || len(again) != 2 || !reflect.DeepEqual(again[0], one) || again[1].State() != "revoked" || len(again[1].V) != 0 {
		t.Errorf("%v of %s", err, text)
	}
	for _, text := range []string{`{}`, `[{"realm":"devices","user":"one","group":"1024"}]`, `[{"user":1}]`} {
		if err := json.Unmarshal([]byte(text), &again); err == nil {
			t.Errorf("%s is read", text)
		}
	}
	if none, err := json.Marshal(UsersJSON(nil)); err != nil || strings.TrimSpace(string(none)) != "[]" {
		t.Errorf("no users are %s, %v", none, err)
	}
}
