// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/caddy-est/estra"

// levels is the only import direction allowed (docs/architecture.md): a package
// imports packages of lower levels, and of its own level only what it stands
// under or what stands under it. What forTests names is for tests alone.
var levels = map[string]int{
	"policy/csr": 0, "policy/csr/csrtest": 0, "policy/weakkey": 0, "ra/secret": 0, "ra/filelock": 0, "ra/flush": 0, "ra/room": 0, "ra/steady": 0,
	"ra/srp": 1, "policy": 1, "policy/format": 1, "policy/diff": 1, "policy/cases": 1,
	"policy/report": 2,
	"ra/cms":        2, "ra/cmc": 2, "ra/wire": 2, "ra/csrattrs": 2, "ra/binding": 2, "ra/audit": 2, "ra/audit/chain": 2, "ra/crl": 2, "ra/ocsp": 2, "ra/hello": 2, "ra/digest": 2, "ra/bearer": 2, "ra/store": 2, "ra/store/storetest": 2,
	"ra/replay": 3, "ra/certless": 3, "ra/anchor": 3, "ra/estclient": 3, "ra/status": 3,
	"ra":                              4,
	"ra/ratest":                       5,
	"ra/est":                          5,
	"ra/upstream":                     5,
	"ra/upstream/est":                 5,
	"ra/upstream/stepca":              5,
	"ra/webhook":                      5,
	"ra/upstream/addresstest":         5,
	"ra/upstream/upstreamtest":        5,
	"ra/upstream/stepca/stepcatest":   5,
	"ra/upstream/acme":                5,
	"ra/upstream/acme/acmetest":       5,
	"ra/upstream/cfssl":               5,
	"ra/upstream/cfssl/cfssltest":     5,
	"ra/upstream/ejbca":               5,
	"ra/upstream/ejbca/ejbcatest":     5,
	"ra/upstream/vault":               5,
	"ra/upstream/vault/vaulttest":     5,
	"ra/upstream/webhook":             5,
	"ra/upstream/webhook/webhooktest": 5,
	"examples/upstream-webhook":       8,
	"module":                          6,
	"caddyfile":                       7,
	"module/command":                  7,
	"module/srp":                      7,
	"examples/upstream":               7,
	"":                                8,
	"integration":                     9,
	"integration/bench":               9,
}

// forTests are the packages that tests import, the packages of this list, and
// the benchmark, which starts what they start. In a server ra/ratest could make
// an order that no authority has allowed.
var forTests = []string{"policy/csr/csrtest", "ra/ratest", "ra/upstream/addresstest", "ra/upstream/upstreamtest", "ra/upstream/stepca/stepcatest", "ra/upstream/acme/acmetest", "ra/upstream/cfssl/cfssltest", "ra/upstream/ejbca/ejbcatest", "ra/upstream/vault/vaulttest", "ra/upstream/webhook/webhooktest", "ra/store/storetest"}

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
		if other := short(imported); !mayImport(name, other) {
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

// mayImport says whether the code of one package, without its tests, may
// import another. What needs cgo, only tests do: a server is built with it by
// xcaddy.
func mayImport(name, other string) bool {
	if other == "module/srp" && levels[name] < levels["integration"] {
		return false
	}
	tests := slices.Contains(forTests, name)
	if slices.Contains(forTests, other) && !tests && name != "integration/bench" {
		return false
	}
	if levels[name] == levels[other] {
		related := strings.HasPrefix(name, other+"/") || strings.HasPrefix(other, name+"/")
		return related || tests && slices.Contains(forTests, other)
	}
	return levels[name] > levels[other]
}

// TestTheOrderRefusesWhatItShould: no package does these today.
func TestTheOrderRefusesWhatItShould(t *testing.T) {
	for name, others := range map[string][]string{
		"policy":                   {"ra", "module", "policy/csr/csrtest"},
		"ra":                       {"ra/est", "ra/upstream/stepca", "module", "ra/ratest"},
		"ra/cms":                   {"ra/wire"},
		"ra/est":                   {"ra/upstream/stepca", "ra/ratest", "module"},
		"ra/ratest":                {"ra/est", "ra/upstream/stepca"},
		"ra/upstream":              {"ra/est", "ra/ratest", "module"},
		"ra/upstream/est":          {"ra/est", "ra/upstream/stepca", "ra/ratest", "module"},
		"ra/upstream/stepca":       {"ra/est", "ra/ratest", "ra/upstream/upstreamtest", "ra/upstream/stepca/stepcatest"},
		"module":                   {"module/command", "caddyfile", "ra/ratest", "ra/upstream/stepca/stepcatest"},
		"module/command":           {"caddyfile", "ra/upstream/upstreamtest"},
		"module/srp":               {"caddyfile", "module/command", "ra/ratest"},
		"":                         {"integration", "ra/ratest", "module/srp"},
		"integration":              {"ra/ratest"},
		"ra/anchor":                {"ra/estclient"},
		"ra/upstream/upstreamtest": {"ra/upstream/stepca", "module"},
	} {
		for _, other := range others {
			if mayImport(name, other) {
				t.Errorf("%q may import %q", name, other)
			}
		}
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
