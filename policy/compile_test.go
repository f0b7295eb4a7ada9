// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// Each archive has a policy.yaml with mistakes, the files that it names, and at
// last all that is said of it.
func TestMistakesAreAllFoundAtOnceWithLineAndColumn(t *testing.T) {
	archives, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil || len(archives) < 80 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil || len(archive.Files) < 2 {
				t.Fatalf("an archive has policy.yaml and errors: %v", err)
			}
			last := len(archive.Files) - 1
			file, err := Parse("policy.yaml", archive.Files[0].Data)
			if err == nil {
				_, err = Compile(file, filesOf(archive.Files[1:last]))
			}
			if err == nil {
				t.Fatal("no mistake was found")
			}
			var list Errors
			if errors.Is(err, ErrNotYAML) == errors.As(err, &list) {
				t.Errorf("the error is neither or both of ErrNotYAML and Errors: %T", err)
			}
			got := err.Error() + "\n"
			if *update {
				archive.Files[last].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(archive.Files[last].Data); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func filesOf(files []txtar.File) fs.FS {
	made := fstest.MapFS{}
	for _, file := range files {
		made[file.Name] = &fstest.MapFile{Data: file.Data}
	}
	return made
}

func TestWhatIsNotYAMLIsToldApart(t *testing.T) {
	for name, src := range map[string]string{
		"an empty file":        "",
		"only a comment":       "# nothing\n",
		"not UTF-8":            "version: 1\nname: \xff\n",
		"a tab":                "version: 1\n\tname: x\n",
		"an open bracket":      "version: [1\n",
		"a broken second part": "version: 1\n---\n[",
		"a control character":  "name: \x01\n",
	} {
		_, err := Parse("p.yaml", []byte(src))
		if !errors.Is(err, ErrNotYAML) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.HasPrefix(err.Error(), "p.yaml:") {
			t.Errorf("%s: the error has no place: %v", name, err)
		}
	}
	for _, src := range []string{"just text", "[1, 2]", "12", "version: 1\n---\nversion: 1\n"} {
		_, err := Parse("p.yaml", []byte(src))
		var list Errors
		if !errors.As(err, &list) || errors.Is(err, ErrNotYAML) {
			t.Errorf("%q is YAML and wrong: %v", src, err)
		}
	}
}

const smallest = `version: 1
name: small
default: all
profiles:
  all:
    enroll: {who: [{http_basic: {users: [anna]}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestTheSmallestPolicyHasTheDocumentedDefaults(t *testing.T) {
	policy := mustCompile(t, "p.yaml", []byte(smallest))
	if policy.Name() != "small" || policy.CSRBytes() != 16<<10 || policy.MaxValidity() != 30*24*time.Hour || len(policy.SHA256()) != 64 {
		t.Errorf("name %q, %d bytes, %v, hash %q", policy.Name(), policy.CSRBytes(), policy.MaxValidity(), policy.SHA256())
	}
	profile, ok := policy.Profile("")
	if !ok || profile.Name() != "all" || len(policy.Profiles()) != 1 {
		t.Fatalf("the default profile: %v", ok)
	}
	if _, ok := policy.Profile("all"); ok {
		t.Error("a profile's name is not a label")
	}
	if !profile.Offers(SimpleEnroll) || profile.Offers(SimpleReenroll) || profile.Offers(ServerKeygen) || profile.Offers("") {
		t.Error("an operation that isn't written is offered, or the other way round")
	}
	if len(policy.Warnings()) != 0 {
		t.Errorf("warnings: %v", policy.Warnings())
	}
	if got := profile.keys.String(); got != "RSA 2048 to 8192, ECDSA P-256, ECDSA P-384, ECDSA P-521, Ed25519" {
		t.Errorf("keys: %s", got)
	}
	if never := profile.guard.never; !never.ca || never.key == 0 || len(never.ext) != 4 {
		t.Errorf("never: %+v", never)
	}
}

func TestWhatLoosensIsAWarningWithItsLine(t *testing.T) {
	policy := mustCompile(t, "p.yaml", []byte(`version: 1
name: loose
default: all
guardrails: {never: [CA:TRUE, keyCertSign, cRLSign, cmcRA, cmcCA, OCSPSigning]}
profiles:
  all:
    enroll:
      who:
        - http_basic: {users: [onboarding], shared: true}
        - client_cert: {anchor: idevid}
      linking: if_present
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, same_key: allow}
    subject: {CN: {require: true}}
    usage: {key: [], ext: []}
    validity: {default: 30d}
`))
	var lines []int
	for _, w := range policy.Warnings() {
		if w.Effect != Warned || w.Message == "" || w.Path == "" {
			t.Errorf("not a warning: %+v", w)
		}
		lines = append(lines, w.Pos.Line)
	}
	if want := []int{4, 9, 10, 12, 13}; !equalInts(lines, want) {
		t.Errorf("warnings on lines %v, want %v: %v", lines, want, policy.Warnings())
	}
}

func equalInts(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestThreat_ZeroValuesRefuse(t *testing.T) {
	if _, err := Compile(nil, nil); err == nil {
		t.Error("no file compiles")
	}
	if _, err := Compile(&File{}, nil); err == nil {
		t.Error("the zero file compiles")
	}
	if _, ok := new(Policy).Profile(""); ok {
		t.Error("the zero policy has a profile")
	}
	profile := new(Profile)
	if d := profile.Decide(Request{Op: SimpleEnroll}); d.Verdict != Deny || len(d.Findings) == 0 {
		t.Errorf("the zero profile decides %v", d.Verdict)
	}
	if g := profile.Gate(SimpleEnroll, Identity{}, testNow); g.Open || g.Challenge {
		t.Error("the zero profile opens the gate")
	}
	if !profile.Hints(CSRAttrs).Off || profile.UsesAnchors(SimpleEnroll) != nil {
		t.Error("the zero profile has hints or anchors")
	}
	small, _ := mustCompile(t, "p.yaml", []byte(smallest)).Profile("")
	if d := small.Decide(Request{Op: SimpleEnroll}); d.Verdict != Deny {
		t.Error("a request without a CSR is allowed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(smallest))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("<<: {version: 1}\n? [a]\n: b\n"))
	f.Add([]byte("version: !!binary aaaa\n---\n"))
	for _, name := range []string{"testdata/routers.yaml"} {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	archives, _ := filepath.Glob("testdata/mistakes/*.txtar")
	for _, name := range archives {
		if archive, err := txtar.ParseFile(name); err == nil {
			f.Add(archive.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("p.yaml", src)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		policy, err := Compile(file, nil)
		if err != nil {
			return
		}
		profile, ok := policy.Profile("")
		if !ok {
			t.Fatal("a compiled policy serves no path without a label")
		}
		if d := profile.Decide(Request{Op: SimpleEnroll, Now: testNow}); d.Verdict != Deny {
			t.Error("nothing at all is allowed")
		}
		_ = policy.Bind(Environment{})
		profile.Hints(CSRAttrs)
	})
}
