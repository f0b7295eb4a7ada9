// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestThreat_ASecretIsNotFormatted(t *testing.T) {
	const word = "hunter2"
	s := Text(word)
	holder := struct {
		S  Text
		P  *Text
		In map[string]Text
		L  []Text
	}{s, &s, map[string]Text{"k": s}, []Text{s}}
	var out strings.Builder
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", s, holder)
	}
	fmt.Fprintln(&out, errors.New(fmt.Sprint(s)), s, holder)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
		if text, err := marshal(s); err == nil {
			out.Write(text)
		}
	}
	text, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "secret", s, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "secret", s, "holder", holder)
	// %x of the word, too.
	for _, shown := range []string{word, "68756e74657232", "68756E74657232", "aHVudGVyMg"} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("the secret shows as %s in:\n%s", shown, out.String())
		}
	}
	if !strings.Contains(out.String(), hidden) {
		t.Error("nothing says that a secret was there")
	}
}
