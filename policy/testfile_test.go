// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func TestMistakesInATestFileAreAllFoundAtOnce(t *testing.T) {
	archives, err := filepath.Glob("testdata/testfile/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseTests("tests.yaml", archive.Files[0].Data)
			var list Errors
			if !errors.As(err, &list) {
				t.Fatalf("no mistake was found: %v", err)
			}
			got := err.Error() + "\n"
			if *update {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(archive.Files[1].Data); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Of the several spellings of one thing a case may have any.
func TestAPlanIsComparedBySpellingOfTheTools(t *testing.T) {
	file, err := ParseTests("tests.yaml", []byte(`version: 1
cases:
  - name: a
    csr: {}
    want:
      verdict: allow
      plan: {subject: "2.5.4.3=a,O=b", key_usage: [nonRepudiation], ext_key_usage: [1.3.6.1.5.5.7.3.2], extensions: [1.3.6.1.5.5.7.1.24], san: ["ip:2001:DB8:0::1"], validity: 24h}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"subject": "CN=a, O=b", "key_usage": "contentCommitment", "ext_key_usage": "clientAuth",
		"extensions": "tlsFeature", "san": "ip:2001:db8::1", "validity": "1d",
	}
	for _, part := range file.Cases[0].Want.Plan {
		if part.Value != want[part.Name] {
			t.Errorf("%s: %q, want %q", part.Name, part.Value, want[part.Name])
		}
	}
}
