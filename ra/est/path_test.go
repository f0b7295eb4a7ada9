// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
)

func TestOwns(t *testing.T) {
	for path, want := range map[string]bool{
		"/.well-known/est":              true,
		"/.well-known/est/":             true,
		"/.well-known/est/cacerts":      true,
		"/.well-known/est/../x":         true,
		"/.well-known/estcacerts":       false,
		"/.well-known/est2/cacerts":     false,
		"/.well-known":                  false,
		"/":                             false,
		"":                              false,
		"/x/.well-known/est/cacerts":    false,
		"/.WELL-KNOWN/EST/simpleenroll": false,
		"/.well-known/%2565st/cacerts":  false,
		"/.well-known/est2/../x":        false,
		"/.well-known/est%":             false,
		"*":                             false,
		// In other words.
		"/.well-known/%65st/cacerts":        true,
		"/.well-known%2Fest/cacerts":        true,
		"%2F.well-known%2fest%2Fcacerts":    true,
		"//.well-known/est/cacerts":         true,
		"/.well-known//est/cacerts":         true,
		"/./.well-known/est/cacerts":        true,
		"/x/../.well-known/est/cacerts":     true,
		"/x/%2e%2e/.well-known/est":         true,
		"/.well-known/est2/../est/csrattrs": true,
	} {
		if got := Owns(path); got != want {
			t.Errorf("Owns(%q) = %v", path, got)
		}
	}
}

func TestParsePath(t *testing.T) {
	for path, want := range map[string]target{
		"cacerts":                             {policy.CACerts, ""},
		"simpleenroll":                        {policy.SimpleEnroll, ""},
		"a/simplereenroll":                    {policy.SimpleReenroll, "a"},
		"Az09-._~/csrattrs":                   {policy.CSRAttrs, "Az09-._~"},
		".../csrattrs":                        {policy.CSRAttrs, "..."},
		"devices/fullcmc":                     {policy.FullCMC, "devices"},
		"serverkeygen":                        {policy.ServerKeygen, ""},
		"Cacerts/simpleenroll":                {policy.SimpleEnroll, "Cacerts"},
		".well-known/simpleenroll":            {policy.SimpleEnroll, ".well-known"},
		"est/simpleenroll":                    {policy.SimpleEnroll, "est"},
		strings.Repeat("a", 300) + "/cacerts": {policy.CACerts, strings.Repeat("a", 300)},
	} {
		if got, ok := parsePath(root + "/" + path); !ok || got != want {
			t.Errorf("%q: %+v %v", path, got, ok)
		}
	}
}

// wrongPaths are what is under the prefix and no [label/]operation.
var wrongPaths = map[string]string{
	"nothing":                                   "",
	"an unknown operation":                      "enroll",
	"another letter case":                       "SimpleEnroll",
	"a label alone":                             "devices",
	"a trailing slash":                          "simpleenroll/",
	"a trailing slash after a label":            "devices/simpleenroll/",
	"an empty label":                            "/simpleenroll",
	"two empty segments":                        "devices//simpleenroll",
	"two segments of label":                     "a/b/simpleenroll",
	"something after the operation":             "simpleenroll/x",
	"a label equal to an operation":             "cacerts/simpleenroll",
	"a label equal to an operation not offered": "fullcmc/simpleenroll",
	"the operation twice":                       "simpleenroll/simpleenroll",
	"a dot segment":                             "./simpleenroll",
	"two dots":                                  "../simpleenroll",
	"two dots after a label":                    "devices/../simpleenroll",
	"an encoded slash":                          "devices%2Fsimpleenroll",
	"an encoded slash in the label":             "a%2fb/simpleenroll",
	"an encoded dot segment":                    "%2e%2e/simpleenroll",
	"an escape that is not needed":              "%64evices/simpleenroll",
	"an escape in the operation":                "simpleenrol%6c",
	"an encoded NUL":                            "simpleenroll%00",
	"a space":                                   "devices%20/simpleenroll",
	"a percent sign":                            "devices%25/simpleenroll",
	"a plus":                                    "a+b/simpleenroll",
	"a semicolon":                               "simpleenroll;x=y",
	"an encoded question mark":                  "simpleenroll%3Fx",
	"a backslash":                               "devices%5Csimpleenroll",
	"a letter beyond ASCII":                     "d%C3%A9vices/simpleenroll",
}

func TestThreat_ParsePathRefusesEveryOtherSpelling(t *testing.T) {
	for name, path := range wrongPaths {
		if got, ok := parsePath(root + "/" + path); ok || got != (target{}) {
			t.Errorf("%s: %q is %+v", name, path, got)
		}
	}
	for _, path := range []string{
		"", "/", root, "/cacerts", root + "cacerts", "/" + root + "/cacerts", "/x/.." + root + "/cacerts",
		"/.well-known//est/cacerts", "/.well-known%2Fest/cacerts", "/.well-known/%65st/cacerts",
	} {
		if _, ok := parsePath(path); ok {
			t.Errorf("%q is a path of ours", path)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add(root + "/devices/simpleenroll")
	f.Add(root + "/cacerts")
	for _, path := range wrongPaths {
		f.Add(root + "/" + path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, ok := parsePath(path)
		if !ok {
			return
		}
		back := root + "/"
		if got.label != "" {
			back += got.label + "/"
		}
		if back += string(got.op); back != path || !Owns(path) {
			t.Fatalf("%q is read as %+v", path, got)
		}
		u, err := url.Parse(path)
		if err != nil || u.Path != path || u.JoinPath().Path != path {
			t.Fatalf("%q means something else to others", path)
		}
	})
}
