// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/rogpeppe/go-internal/txtar"
)

var pointer = regexp.MustCompile(`0x[0-9a-f]{6,}`)

var update = flag.Bool("update", false, "write the golden files anew")

// TestAdaptMatchesItsGoldenFile holds one case for each option and each
// mistake: a txtar file with a Caddyfile, the files that it imports, and last
// the JSON or the error that it gives.
func TestAdaptMatchesItsGoldenFile(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/adapt/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { adaptCase(t, name) })
	}
}

func adaptCase(t *testing.T, name string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var sources []txtar.File
	var want *txtar.File
	dir := t.TempDir()
	for _, f := range archive.Files {
		if f.Name == "json" || f.Name == "error" {
			want = &f
			continue
		}
		sources = append(sources, f)
		write(t, dir, f.Name, string(f.Data))
	}
	if len(sources) == 0 || sources[0].Name != "Caddyfile" {
		t.Fatalf("%s: the first file is not Caddyfile", name)
	}
	got := adapt(t, filepath.Join(dir, "Caddyfile"), sources[0].Data)
	got.Data = pointer.ReplaceAll(got.Data, []byte("0xPOINTER")) // Caddy prints some
	got.Data = bytes.ReplaceAll(got.Data, []byte(dir+string(filepath.Separator)), nil)
	if *update {
		archive.Files = append(sources, got)
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want == nil {
		t.Fatalf("%s has no golden part: run with -update and read it", name)
	}
	if want.Name != got.Name || string(want.Data) != string(got.Data) {
		t.Errorf("%s changed.\n--- got %s\n%s\n--- want %s\n%s", name, got.Name, got.Data, want.Name, want.Data)
	}
}

// adapt gives the adapted JSON, or the error.
func adapt(t *testing.T, path string, src []byte) txtar.File {
	t.Helper()
	out, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(src, map[string]any{"filename": path})
	if err != nil {
		return txtar.File{Name: "error", Data: []byte(err.Error() + "\n")}
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			t.Errorf("warning: %s", w)
		}
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "\t"); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	return txtar.File{Name: "json", Data: pretty.Bytes()}
}

// Every example adapts, and every policy beside one compiles.
func TestEveryExampleAdaptsAndEveryPolicyChecks(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir("../examples", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		switch {
		case strings.HasPrefix(entry.Name(), "Caddyfile"):
			found++
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if got := adapt(t, path, src); got.Name != "json" {
				t.Errorf("%s: %s", path, got.Data)
			}
		case filepath.Ext(path) == ".yaml" && !strings.HasSuffix(path, "_test.yaml"):
			found++
			abs, err := filepath.Abs(path)
			if err != nil {
				return err
			}
			if out, errs, code := runCaddy(t, t.TempDir(), "est", "policy", "check", abs); code != 0 {
				t.Errorf("%s: exit %d\n%s%s", path, code, out, errs)
			}
		}
		return nil
	})
	if err != nil || found < 6 {
		t.Fatalf("%d examples: %v", found, err)
	}
}
