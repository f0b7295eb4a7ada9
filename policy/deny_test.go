// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
)

// A profile that takes any name, so that only the guardrail refuses.
const open = `version: 1
name: open
default: all
guardrails:
  deny:
    dns: ["**.corp.example", "localhost"]
    ip: ["10.0.0.0/8", "fe80::/10"]
    email: ["admin@corp.example", "**@Root.example", "**@**.root.example"]
    uri: ["https://h.example/Admin", "https://h.example/caf%c3%A9", "http://h.example:80", "https://h.example:8443/x"]
profiles:
  all:
    enroll: {who: [{http_basic: {users: [anna]}}], linking: if_present}
    subject: {CN: {require: true}, emailAddress: {require: true}}
    san: {dns: {require: true}, ip: {require: true}, email: {require: true}, uri: {require: true}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestADeniedNameIsDeniedInEverySpelling(t *testing.T) {
	profile, _ := mustCompile(t, "p.yaml", []byte(open)).Profile("")
	for _, test := range []struct {
		form    string
		refused []string
		taken   []string
	}{
		{"email:",
			[]string{"admin@corp.example", "ADMIN@corp.example", "Admin@CORP.example", "x@root.example"},
			[]string{"admin2@corp.example", "admin@mail.corp.example"}},
		{"uri:",
			[]string{"https://h.example/Admin", "HTTPS://H.example/Admin", "https://h.example:443/Admin", "https://h.example/Admin?x",
				"https://h.example/Admin#x", "https://h.example/%41dmin", "https://h.example/caf%C3%a9", "http://h.example", "http://h.example/",
				"http://h.example:80/", "https://h.example:8443/x", "https://h.example/%", "https://h.example/%4", "https://h.example/x?%7e"},
			[]string{"https://h.example/admin", "https://h.example/Admin/x", "https://h.example:8443/Admin", "http://h.example/Admin",
				"https://h.example/a%20b", "https://h.example", "https://h.example/x"}},
		{"cn:",
			[]string{"x.corp.example", "X.Corp.example.", "x.corp.example:443", "x.corp.example.:443", "x.corp.example:", "*.corp.example:443",
				"https://x.corp.example", "https://x.corp.example/", "https://u:p@x.corp.example:8443/a", "//x.corp.example/a", "x.corp.example/a",
				"x_1.corp.example", "localhost:80", "10.1.2.3", "::ffff:10.0.0.1", "10.1.2.3:443", "http://10.1.2.3/", "[::ffff:a00:1]:443",
				"[fe80::1]", "fe80::1%eth0", "admin@corp.example", "https://h.example/Admin",
				"xn--a.corp.example", "xn--.corp.example:443", "-a.corp.example", "b\u00fccher.corp.example", "x\uff0ecorp\uff0eexample", "\u24e7.Corp.example", "\u2665.corp.example",
				"loc\u1d43lhost", "root@xn--a.root.example", "https://xn--a.corp.example/"},
			[]string{"corp.example", "x.corp.example.net", "corp.example:443", "11.0.0.1", "2001:db8::1", "Anna (x.corp.example)", "anna@x.corp.example",
				"00:11:22:33:44:55", "https://x.example/corp.example", "x.corp.example:a"}},
		{"emailAddress:", []string{"ADMIN@corp.example"}, []string{"anna@corp.example"}},
	} {
		for _, name := range test.refused {
			if refused(t, profile, test.form+name) == "" {
				t.Errorf("%s%s is taken", test.form, name)
			}
		}
		for _, name := range test.taken {
			if why := refused(t, profile, test.form+name); why != "" {
				t.Errorf("%s%s is refused: %s", test.form, name, why)
			}
		}
	}
}

// refused gives what a profile has against a name.
func refused(t *testing.T, profile *Profile, name string) string {
	t.Helper()
	names := "san " + name
	if value, ok := strings.CutPrefix(name, "cn:"); ok {
		names = `subject CN="` + value + `"`
	} else if value, ok := strings.CutPrefix(name, "emailAddress:"); ok {
		names = "subject emailAddress=" + value
	}
	for _, f := range profile.Decide(parseRequest(t, names)).Findings {
		if f.Effect == Refused && f.Class == ByPolicy {
			return f.String()
		}
	}
	return ""
}

func TestPatternsOfURIsAreInNormalForm(t *testing.T) {
	for _, text := range []string{"https://h.example/%61dmin", "https://h.example/%7e*", "https://h.example/%2E", "https://h.example/%4*", "urn:x:%61"} {
		if _, err := compileURI(text); err == nil {
			t.Errorf("the pattern %s can't match, and compiles", text)
		}
	}
	if !uriForm.takes(t, "https://h.example/%c3%a9*", "https://h.example/%C3%a9t%C3%A9") {
		t.Error("the letter case of percent-encodings counts")
	}
}
