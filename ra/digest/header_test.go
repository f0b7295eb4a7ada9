// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"strings"
	"testing"
)

// full is a header with all that it needs.
const full = `username="a", realm="r", nonce="n", uri="/", response="00", cnonce="c", qop=auth, nc=00000001`

func TestAHeaderIsReadAsClientsWriteIt(t *testing.T) {
	for name, c := range map[string]struct{ header, user string }{
		"plain":                           {"Digest " + full, "a"},
		"in small letters":                {"digest " + full, "a"},
		"with tabs and empty elements":    {"Digest ,\t," + strings.ReplaceAll(full, ", ", " ,\t ,") + ",", "a"},
		"with names in capitals":          {"Digest " + strings.ReplaceAll(full, "username", "UserName"), "a"},
		"with qop and nc quoted":          {"Digest " + strings.NewReplacer("qop=auth", `qop="auth"`, "nc=00000001", `nc="00000001"`).Replace(full), "a"},
		"with an escaped quote":           {"Digest " + strings.Replace(full, `"a"`, `"a\"b\\c"`, 1), `a"b\c`},
		"with a comma within quotes":      {"Digest " + strings.Replace(full, `"a"`, `"a, realm=b"`, 1), "a, realm=b"},
		"with a user name in UTF-8":       {"Digest " + strings.Replace(full, `username="a"`, `username*=UTF-8''J%C3%A4s%C3%B8n`, 1), "Jäsøn"},
		"with a plain user name, said so": {"Digest " + full + ", userhash=false", "a"},
		"with parameters nobody knows":    {"Digest " + full + `, more="x"`, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := parse(c.header)
			if err != nil || a.user != c.user || a.realm != "r" || a.nc != "00000001" || a.qop != "auth" {
				t.Errorf("%+v: %v", a, err)
			}
			if user, ok := ClaimedUser(c.header); !ok || user != c.user {
				t.Errorf("claimed: %q %v", user, ok)
			}
		})
	}
}

func TestAHeaderThatIsNotOneIsRefused(t *testing.T) {
	for name, header := range map[string]string{
		"nothing":                  "",
		"the scheme alone":         "Digest",
		"no parameter":             "Digest ",
		"another scheme":           "Basic " + full,
		"a name twice":             "Digest " + full + `, username="b"`,
		"two kinds of user name":   "Digest " + full + `, username*=UTF-8''b`,
		"a hashed user name":       "Digest " + full + ", userhash=true",
		"a quote that is open":     "Digest " + full + `, x="y`,
		"an escape at the end":     `Digest username="a\`,
		"no comma between two":     "Digest " + strings.Replace(full, ", ", " ", 1),
		"no value":                 "Digest " + full + ", x=",
		"no equals sign":           "Digest " + full + ", x",
		"a control character":      "Digest " + strings.Replace(full, `"a"`, "\"a\x00\"", 1),
		"too many parameters":      "Digest " + full + strings.Repeat(", x", 1) + strings.Repeat(", y=z", 30),
		"too long":                 "Digest " + full + `, x="` + strings.Repeat("y", maxHeader) + `"`,
		"without nc, as RFC 2069":  "Digest " + strings.Replace(full, ", nc=00000001", "", 1),
		"without cnonce":           "Digest " + strings.Replace(full, `cnonce="c", `, "", 1),
		"without qop":              "Digest " + strings.Replace(full, "qop=auth, ", "", 1),
		"Latin-1 in username*":     "Digest " + strings.Replace(full, `username="a"`, `username*=ISO-8859-1''%E4`, 1),
		"no UTF-8 in username*":    "Digest " + strings.Replace(full, `username="a"`, `username*=UTF-8''%E4`, 1),
		"an empty user":            "Digest " + strings.Replace(full, `"a"`, `""`, 1),
		"a token with a semicolon": "Digest " + full + ", x=a;b",
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := parse(header); err == nil {
				t.Errorf("taken: %+v", a)
			}
		})
	}
}

// What is read is read again from what is written of it.
func FuzzHeader(f *testing.F) {
	f.Add("Digest " + full)
	f.Add(`Digest username*=UTF-8''%C3%A4, realm="r"`)
	f.Add(`digest ,,a="\"",b=c`)
	f.Fuzz(func(t *testing.T, header string) {
		a, err := parse(header)
		user, ok := ClaimedUser(header)
		if err != nil {
			if user != "" {
				t.Errorf("the user %q of a header that can't be read", user)
			}
			return
		}
		if !ok || user != a.user {
			t.Errorf("claimed %q, read %q", user, a.user)
		}
		quote := func(text string) string {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
		}
		if strings.ContainsFunc(a.user, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return // username* can hold what quotes can't
		}
		again := "Digest username=" + quote(a.user) + ", realm=" + quote(a.realm) + ", nonce=" + quote(a.nonce) + ", uri=" + quote(a.uri) +
			", response=" + quote(a.response) + ", cnonce=" + quote(a.cnonce) + ", qop=" + quote(a.qop) + ", nc=" + quote(a.nc)
		if len(again) > maxHeader {
			return
		}
		b, err := parse(again)
		if a.algorithm, a.opaque = "", nil; err != nil || a != b {
			t.Errorf("%+v became %+v: %v", a, b, err)
		}
	})
}
