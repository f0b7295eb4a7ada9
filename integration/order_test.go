// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const modulePath = "github.com/caddy-est/estra"

// levels is the only import direction allowed (docs/architecture.md): a package
// imports packages of lower levels, and of its own level where they stand
// under the same folder.
var levels = map[string]int{
	"policy/csr": 0, "policy/csr/csrtest": 0,
	"policy": 1,
	"ra/cms": 2, "ra/wire": 2, "ra/csrattrs": 2, "ra/binding": 2, "ra/audit": 2, "ra/crl": 2,
	"ra/anchor": 3, "ra/estclient": 3,
	"ra":                            4,
	"ra/ratest":                     5,
	"ra/est":                        5,
	"ra/upstream/stepca":            5,
	"ra/upstream/upstreamtest":      5,
	"ra/upstream/stepca/stepcatest": 5,
	"module":                        6,
	"caddyfile":                     7,
	"module/command":                7,
	"":                              8,
	"integration":                   9,
	"integration/bench":             9,
}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestPackagesImportOnlyLowerLevels(t *testing.T) {
	for _, p := range packages(t) {
		name := short(p.ImportPath)
		level, known := levels[name]
		if !known {
			t.Errorf("package %q has no level: add it to the table, and to the architecture page", name)
			continue
		}
		for _, imported := range p.Imports {
			checkImport(t, name, level, imported)
		}
	}
}

func checkImport(t *testing.T, name string, level int, imported string) {
	t.Helper()
	if inHouse(imported) {
		other := short(imported)
		if levels[other] > level || levels[other] == level && level != 5 {
			t.Errorf("%s (level %d) imports %s (level %d)", name, level, other, levels[other])
		}
		return
	}
	if level < 6 && (strings.HasPrefix(imported, "github.com/caddyserver/") || strings.HasPrefix(imported, "go.uber.org/zap")) {
		t.Errorf("%s imports %s: below module/ nothing knows Caddy or its logger", name, imported)
	}
	if level < 2 && imported == "net/http" {
		t.Errorf("%s imports net/http: a policy does no I/O", name)
	}
}

func inHouse(path string) bool {
	return path == modulePath || strings.HasPrefix(path, modulePath+"/")
}

func short(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, modulePath), "/")
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", modulePath+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
