// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

// mustCompile makes a policy that is known to be right.
func mustCompile(t testing.TB, name string, src []byte) *Policy {
	t.Helper()
	return mustCompileWith(t, name, src, nil)
}

func mustCompileWith(t testing.TB, name string, src []byte, files fs.FS) *Policy {
	t.Helper()
	file, err := Parse(name, src)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := Compile(file, files)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// Each archive has a policy, the files that it names, and cases: "NAME.request", and "NAME.want" with
// the text of ExplainText.
func TestDecideSaysWhatTheCasesWant(t *testing.T) {
	archives, err := filepath.Glob("testdata/decide/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { decideArchive(t, name) })
	}
}

func decideArchive(t *testing.T, name string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) == 0 || archive.Files[0].Name != "policy.yaml" {
		t.Fatal("the first file of an archive is policy.yaml")
	}
	cases := archive.Files[1:]
	if first := slices.IndexFunc(cases, func(f txtar.File) bool { return strings.HasSuffix(f.Name, ".request") }); first >= 0 {
		cases = cases[first:]
	}
	named := archive.Files[1 : len(archive.Files)-len(cases)]
	policy := mustCompileWith(t, "policy.yaml", archive.Files[0].Data, filesOf(named))
	profile, ok := policy.Profile("")
	if !ok {
		t.Fatal("no default profile")
	}
	updated := &txtar.Archive{Comment: archive.Comment, Files: slices.Clone(archive.Files[:1+len(named)])}
	for i, file := range archive.Files {
		title, isRequest := strings.CutSuffix(file.Name, ".request")
		if !isRequest {
			continue
		}
		got := ""
		t.Run(title, func(t *testing.T) {
			arrival := parseArrival(t, string(file.Data))
			got = ExplainText(arrival.Decide(profile), arrival.Gate(profile))
			want := ""
			if i+1 < len(archive.Files) && archive.Files[i+1].Name == title+".want" {
				want = string(archive.Files[i+1].Data)
			}
			if got != want && !*update {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
		updated.Files = append(updated.Files, file, txtar.File{Name: title + ".want", Data: []byte(got)})
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(updated), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADecisionNeedsTheValuesOfAttributesThatItReads(t *testing.T) {
	profile, _ := mustCompile(t, "p.yaml", []byte(`version: 1
name: needs
default: a
profiles:
  b:
    labels: [b]
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    subject: {CN: {set: {cel: 'csr.attribute("title")[0]'}}}
    usage: {key: [], ext: []}
    validity: {default: 30d}
  a:
    enroll:
      who:
        - http_basic: {users: [u]}
          checks: [{id: a, rule: '"x" in csr.attribute("friendlyName") || csr.attributes.size() > 1', message: m}]
      linking: if_present
    subject: {CN: {set: {cel: 'csr.attribute("1.3.6.1.4.1.32473.1")[0]'}}, serialNumber: {allow: ["*"]}}
    attributes:
      require: [{name: serialNumber, into: subject}]
      allow: [title, friendlyName, name, {name: macAddress, into: subjectDirectoryAttributes}]
    usage: {key: [], ext: []}
    validity: {default: 30d}
`)).Profile("")
	for name, want := range map[string]bool{
		"changeSubjectName": true, "serialNumber": true, "macAddress": true, "friendlyName": true, "1.3.6.1.4.1.32473.1": true,
		"title": false, "name": false, "pseudonym": false, "challengePassword": false, "otpChallenge": false,
	} {
		oid, ok := attributeOID(name)
		if got := profile.NeedsValue(oid); !ok || got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}
