// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/audit"
)

// same reports what is in one list alone.
func same(t *testing.T, what string, docs, code []string) {
	t.Helper()
	for _, name := range docs {
		if !slices.Contains(code, name) {
			t.Errorf("%s: the docs have %s, the code doesn't", what, name)
		}
	}
	for _, name := range code {
		if !slices.Contains(docs, name) {
			t.Errorf("%s: the docs lack %s", what, name)
		}
	}
}

// source calls each with every node of the Go files.
func source(t *testing.T, pattern string, each func(ast.Node)) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n != nil {
				each(n)
			}
			return true
		})
	}
}

// textOf is the value of a string literal.
func textOf(n ast.Node) string {
	literal, ok := n.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	value, _ := strconv.Unquote(literal.Value)
	return value
}

// field is a field of a struct literal; nil where it isn't written.
func field(n ast.Node, name string) ast.Expr {
	literal, ok := n.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if key, ok := pair.Key.(*ast.Ident); ok && key.Name == name {
			return pair.Value
		}
	}
	return nil
}

func TestMetricsEventsAndPlaceholdersAreInTheDocs(t *testing.T) {
	t.Parallel()
	var everything strings.Builder
	for _, text := range pages(t) {
		everything.WriteString(text)
	}
	for _, kind := range []struct {
		what string
		docs *regexp.Regexp
		code func(ast.Node) string
	}{
		{"metrics", regexp.MustCompile(`caddy_est_[a-z_]*[a-z]`), func(n ast.Node) string {
			if textOf(field(n, "Subsystem")) != "est" {
				return ""
			}
			return textOf(field(n, "Namespace")) + "_est_" + textOf(field(n, "Name"))
		}},
		{"events", regexp.MustCompile("`(est_[a-z_]+)`"), func(n ast.Node) string {
			if !regexp.MustCompile(`^est_[a-z_]+$`).MatchString(textOf(n)) {
				return ""
			}
			return textOf(n)
		}},
		{"placeholders", regexp.MustCompile(`\{(http\.est\.[a-z_]+)\}`), func(n ast.Node) string {
			if !strings.HasPrefix(textOf(n), "http.est.") {
				return ""
			}
			return textOf(n)
		}},
	} {
		var code, docs []string
		source(t, "../module/*.go", func(n ast.Node) {
			if name := kind.code(n); name != "" {
				code = append(code, name)
			}
		})
		for _, m := range kind.docs.FindAllStringSubmatch(everything.String(), -1) {
			if name := m[len(m)-1]; name != "est_revocation" { // a directive
				docs = append(docs, name)
			}
		}
		if len(code) == 0 {
			t.Errorf("the code has no %s", kind.what)
		}
		same(t, kind.what, docs, code)
	}
}

// What caddy_est_expiry_seconds measures: of CAs, and of anchors.
func TestEveryExpiryIsInTheDocs(t *testing.T) {
	t.Parallel()
	var code []string
	for _, files := range []string{"../ra/*.go", "../module/*.go"} {
		source(t, files, func(n ast.Node) {
			if f, ok := n.(*ast.FuncDecl); ok && f.Name.Name == "Expiries" {
				ast.Inspect(f, func(n ast.Node) bool {
					if name := textOf(n); name != "" {
						code = append(code, name)
					}
					return true
				})
			}
		})
	}
	same(t, "caddy_est_expiry_seconds", firstColumn(page(t, "../docs/metrics.md"), "thing"), code)
	for _, name := range []string{"../docs/metrics.md", "../docs/caddyfile.md"} {
		for _, what := range []string{"`anchor/NAME`", "`anchor/NAME/crl`"} { // idevid_test.go sees them
			if !strings.Contains(page(t, name), what) {
				t.Errorf("%s lacks %s", name, what)
			}
		}
	}
}

// recordFields are the JSON fields of a type, as in `who.cert_serial`.
func recordFields(of reflect.Type, prefix string) []string {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of.PkgPath() != reflect.TypeFor[audit.Record]().PkgPath() {
		return []string{prefix}
	}
	var names []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		names = append(names, recordFields(of.Field(i).Type, strings.TrimPrefix(prefix+"."+name, "."))...)
	}
	return names
}

// firstColumn are the names in code spans of a table's first column. One that
// begins with a dot goes on from the name before it.
func firstColumn(text, head string) []string {
	var names []string
	inside := false
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cell, _, _ := strings.Cut(line[1:], "|")
		if inside = inside || strings.TrimSpace(cell) == head; !inside {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			name := strings.ReplaceAll(m[1], "[]", "") // of a list
			if name[0] == '.' && len(names) > 0 {
				last := names[len(names)-1]
				name = last[:max(0, strings.LastIndexByte(last, '.'))] + name
			}
			names = append(names, name)
		}
	}
	return names
}

func TestEveryFieldOfTheRecordIsInTheDocs(t *testing.T) {
	t.Parallel()
	same(t, "audit record", firstColumn(page(t, "../docs/audit.md"), "field"), recordFields(reflect.TypeFor[audit.Record](), ""))
}

// optionParsers are the functions that read options.
var optionParsers = []string{"readers", "anchorBlock", "quirks", "limit", "option", "options", "webhookOption", "bearerOption", "decryptKeysOption", "certificateOption", "auditReaders", "retentionOptions"}

// caddyfileOptions are the words that the parsers of the directive and of its
// upstreams take for an option: in a switch, as the key of a map, or compared
// with a name.
func caddyfileOptions(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	add := func(n ast.Node) {
		if regexp.MustCompile(`^[a-z_]{2,}$`).MatchString(textOf(n)) {
			all[textOf(n)] = true
		}
	}
	for _, file := range []string{"../caddyfile/options.go", "../caddyfile/limits.go", "../caddyfile/guest.go", "../caddyfile/certificate.go", "../caddyfile/webhook.go", "../caddyfile/bearer.go", "../caddyfile/decryptkeys.go", "../caddyfile/audit.go", "../caddyfile/retention.go", "../module/stepca.go", "../module/est_server.go", "../module/internal.go", "../module/cfssl.go", "../module/acme.go", "../module/vault.go", "../module/vault_login.go", "../module/upstream_common.go", "../module/ejbca.go", "../module/srp.go", "../module/webhook_ca.go"} {
		source(t, file, func(n ast.Node) {
			if f, ok := n.(*ast.FuncDecl); ok && slices.Contains(optionParsers, f.Name.Name) {
				ast.Inspect(f, func(n ast.Node) bool { optionNames(n, add); return true })
			}
		})
	}
	for _, some := range []string{"policy", "any_eku", "wrapped", "attempts", "max_connections"} {
		if !all[some] {
			t.Fatalf("the parsers aren't read as they are written: no option %s among %v", some, slices.Sorted(maps.Keys(all)))
		}
	}
	return all
}

func optionNames(n ast.Node, add func(ast.Node)) {
	switch n := n.(type) {
	case *ast.CaseClause:
		for _, value := range n.List {
			add(value)
		}
	case *ast.KeyValueExpr:
		add(n.Key)
	case *ast.BinaryExpr:
		if name, ok := n.X.(*ast.Ident); ok && name.Name == "name" && n.Op == token.EQL {
			add(n.Y)
		}
	}
}

func TestEveryCaddyfileOptionIsInTheDocs(t *testing.T) {
	t.Parallel()
	text := page(t, "../docs/caddyfile.md")
	code := caddyfileOptions(t)
	synopsis := regexp.MustCompile("(?s)```\n(est \\[MATCHER\\].*?)```").FindStringSubmatch(text)
	if synopsis == nil {
		t.Fatal("docs/caddyfile.md has no synopsis of est")
	}
	var docs []string
	for line := range strings.Lines(synopsis[1]) {
		docs = append(docs, strings.Fields(line)[0])
	}
	for _, name := range firstColumn(text, "option") {
		docs = append(docs, strings.Fields(name)[0])
	}
	docs = slices.DeleteFunc(docs, func(name string) bool {
		return !regexp.MustCompile(`^[a-z_]+$`).MatchString(name) || name == "est"
	})
	same(t, "Caddyfile options", docs, slices.Sorted(maps.Keys(code)))
}

func TestEveryPolicyKeyIsInTheDocs(t *testing.T) {
	t.Parallel()
	var code []string
	source(t, "../policy/language.go", func(n ast.Node) {
		if name := textOf(field(n, "name")); name != "" && field(n, "is") != nil {
			code = append(code, name)
		}
	})
	text := page(t, "../docs/policy.md")
	for _, name := range code {
		if !regexp.MustCompile("[`.{]" + name + "[`:.]").MatchString(text) {
			t.Errorf("docs/policy.md lacks the key %s", name)
		}
	}
	for _, path := range firstColumn(text, "key") {
		path, _, _ = strings.Cut(path, ":")
		for name := range strings.SplitSeq(path, ".") {
			if name != "" && !slices.Contains(code, name) {
				t.Errorf("docs/policy.md has the key %s, the language doesn't", path)
			}
		}
	}
}

// The architecture page has the table of order_test.go.
func TestEveryPackageIsInTheDocs(t *testing.T) {
	t.Parallel()
	text := page(t, "../docs/architecture.md")
	for name, level := range levels {
		name = "`" + name + "`"
		if name == "``" {
			name = "the root"
		}
		row := `(?m)^\| ` + strconv.Itoa(level) + ` \| [^|]*` + name + `[^|]* \|`
		if !regexp.MustCompile(row).MatchString(text) {
			t.Errorf("docs/architecture.md has no row for %s on level %d", name, level)
		}
	}
}

func TestEveryLintIsInTheDocs(t *testing.T) {
	t.Parallel()
	var code []string
	for _, l := range policy.Lints() {
		code = append(code, l.ID)
	}
	same(t, "lints", firstColumn(page(t, "../docs/policy.md"), "id"), code)
}
