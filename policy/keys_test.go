// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

func TestHintsHaveTheSignatureThatIsPreferredForTheFirstKey(t *testing.T) {
	for name, test := range map[string]struct{ guard, key, want string }{
		"the usual one of P-384":         {"", "{ecdsa: [P-384, P-256]}", ecdsaWithSHA384},
		"the first that is written":      {"", "{ecdsa: [P-384], signatures: [ECDSA-SHA512, ECDSA-SHA384]}", ecdsaWithSHA512},
		"the first that fits the key":    {"", "{ed25519: true, rsa: [3072], signatures: [SHA256-RSAPSS, SHA256-RSA, Ed25519]}", ed25519},
		"PSS":                            {"", "{rsa: [3072], signatures: [SHA256-RSAPSS, SHA256-RSA]}", rsaPSS},
		"the guardrail's":                {"{signatures: [SHA512-RSA, ECDSA-SHA512, Ed25519]}", "{ecdsa: [P-256]}", ecdsaWithSHA512},
		"the profile's, of the allowed":  {"{signatures: [SHA512-RSA, SHA256-RSA, ECDSA-SHA256, Ed25519]}", "{rsa: [2048], signatures: [SHA256-RSA]}", sha256WithRSA},
		"the guardrail's, with its keys": {"{ecdsa: [P-256], rsa: [2048], signatures: [SHA256-RSA, ECDSA-SHA384]}", "{signatures: [ECDSA-SHA384, SHA256-RSA]}", ecdsaWithSHA384},
	} {
		t.Run(name, func(t *testing.T) {
			text := smallest + "    key: " + test.key + "\n"
			if test.guard != "" {
				text = strings.Replace(text, "profiles:", "guardrails: {keys: "+test.guard+"}\nprofiles:", 1)
			}
			profile, _ := mustCompile(t, "p.yaml", []byte(text)).Profile("")
			hints := profile.Hints(CSRAttrs)
			if got := hints.Signature.String(); got != test.want {
				t.Errorf("the signature is %s, want %s", got, test.want)
			}
			if !profile.hinted(test.want) {
				t.Error("a client that copies it into its request is refused")
			}
		})
	}
}

func TestWhatSwitchesHygieneOffIsAWarning(t *testing.T) {
	text := strings.Replace(smallest, "profiles:", `guardrails:
  hygiene:
    roca: false
    close_primes: true
    small_factors: false
    reuse: allow
profiles:`, 1)
	var lines []int
	for _, w := range mustCompile(t, "p.yaml", []byte(text)).Warnings() {
		lines = append(lines, w.Pos.Line)
	}
	if !equalInts(lines, []int{6, 8, 9}) {
		t.Errorf("warnings on lines %v", lines)
	}
}

const withLists = `version: 1
name: lists
default: all
guardrails: {hygiene: {debian_weak: [a, b/c], blocked: d}}
profiles:
  all:
    enroll: {who: [{http_basic: {users: [anna]}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestAPolicyTellsWhichListsItHasRead(t *testing.T) {
	blocked := []byte(strings.Repeat("00", 32) + "\n" + strings.Repeat("01", 32))
	sum := sha256.Sum256(blocked)
	policy := mustCompileWith(t, "p.yaml", []byte(withLists), fstest.MapFS{
		"a": {Data: []byte("0000000000000000000a")}, "b/c": {Data: nil}, "d": {Data: blocked},
	})
	lists := policy.ListFiles()
	if len(lists) != 3 || lists[0].Name != "a" || lists[0].Keys != 1 || lists[1].Name != "b/c" || lists[1].Keys != 0 ||
		lists[2] != (ListFile{"d", hex.EncodeToString(sum[:]), 2}) {
		t.Errorf("lists: %+v", lists)
	}
}

// A file that isn't one, or has no end, must not hold up a start.
func TestListsThatCanNotBeReadAreMistakes(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, src []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), src, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a", bytes.Repeat([]byte("#"), mostListBytes+1))
	write("d", nil)
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "b/c"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		files fs.FS
		want  []string
	}{
		"a folder":  {os.DirFS(dir), []string{`p.yaml:4:38: the file "a"`, "larger than 32 MiB", `p.yaml:4:41: the file "b/c"`, "it is not a file"}},
		"no folder": {nil, []string{`the file "a"`, `the file "b/c"`, `p.yaml:4:47: the file "d" of`, "file does not exist"}},
	} {
		file, err := Parse("p.yaml", []byte(withLists))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Compile(file, test.files)
		if err == nil {
			t.Fatalf("%s: lists that aren't there are taken", name)
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v lacks %q", name, err, want)
			}
		}
	}
}
