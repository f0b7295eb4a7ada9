// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/caddy-est/estra/policy"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

func compiled(t *testing.T, name string, src []byte) *policy.Policy {
	t.Helper()
	file, err := policy.Parse(name, src)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Each archive has old.yaml, new.yaml, and the comparison both ways.
func TestComparisonsSayWhatTheCasesWant(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			before := compiled(t, "old.yaml", archive.Files[0].Data)
			after := compiled(t, "new.yaml", archive.Files[1].Data)
			got := map[string]string{"forth": Text(Compare(before, after)), "back": Text(Compare(after, before))}
			if *update {
				archive.Files = archive.Files[:2]
				for _, way := range []string{"forth", "back"} {
					archive.Files = append(archive.Files, txtar.File{Name: way, Data: []byte(got[way])})
				}
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, file := range archive.Files[2:] {
				if got[file.Name] != string(file.Data) {
					t.Errorf("%s: got:\n%s\nwant:\n%s", file.Name, got[file.Name], file.Data)
				}
			}
		})
	}
}

func TestAPolicyMeansTheSameAsItselfHoweverItIsWritten(t *testing.T) {
	const one = "version: 1\nname: a\ndefault: p\nprofiles:\n  p:\n    enroll:\n      who: [{http_basic: {users: [x]}}]\n      linking: if_present\n" +
		"    subject: {CN: {allow: [\"*\"]}}\n    usage: {key: [digitalSignature], ext: [clientAuth]}\n    validity: {default: 24h}\n"
	two := strings.NewReplacer("validity: {default: 24h}", "validity:\n      default: 1d\n      max: 1d", "linking", "approval: auto\n      linking").Replace(one) +
		"    key: {rsa: [2048, 3072, 4096], ecdsa: [P-256, P-384, P-521], ed25519: true}\n"
	changes := Compare(compiled(t, "a.yaml", []byte(one)), compiled(t, "b.yaml", []byte(two)))
	for _, c := range changes {
		if c.Path != "profiles.p.key.rsa" || c.Effect != Narrower {
			t.Errorf("%s: %s", c.Path, c.Effect)
		}
	}
}
