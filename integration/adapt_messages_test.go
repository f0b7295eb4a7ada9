// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"go/ast"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// goldens are the golden files: Caddyfile with all that it imports, and what
// they give, by the kind of that (json or error).
func goldens(t *testing.T, kind string) (sources, results []string) {
	t.Helper()
	names, err := filepath.Glob("testdata/adapt/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		last := archive.Files[len(archive.Files)-1]
		if last.Name != kind {
			continue
		}
		var source strings.Builder
		for _, f := range archive.Files[:len(archive.Files)-1] {
			source.Write(f.Data)
		}
		sources, results = append(sources, source.String()), append(results, string(last.Data))
	}
	return sources, results
}

// TestEveryMessageOfTheCaddyfileHasAGoldenFile: a golden error counts for one
// format, that with the most text of its own; so the message of one place
// doesn't stand for that of another.
func TestEveryMessageOfTheCaddyfileHasAGoldenFile(t *testing.T) {
	t.Parallel()
	formats := messageFormats(t)
	if len(formats) < 40 {
		t.Fatalf("the parsers aren't read as they are written: %d messages", len(formats))
	}
	_, messages := goldens(t, "error")
	shown := make(map[string]bool)
	for _, message := range messages {
		longest := ""
		for _, format := range formats {
			if wildcards(format).MatchString(message) && ownText(format) > ownText(longest) {
				longest = format
			}
		}
		shown[longest] = true
	}
	for _, format := range formats {
		if !shown[format] {
			t.Errorf("no golden file has the message %q", format)
		}
	}
}

// TestEveryOptionOfTheCaddyfileHasAGoldenFile: of those that adapt.
func TestEveryOptionOfTheCaddyfileHasAGoldenFile(t *testing.T) {
	t.Parallel()
	sources, _ := goldens(t, "json")
	for option := range caddyfileOptions(t) {
		written := regexp.MustCompile(`(?m)^\s+` + option + `\b`)
		if !slices.ContainsFunc(sources, written.MatchString) {
			t.Errorf("no golden file that adapts has the option %s", option)
		}
	}
}

var verb = regexp.MustCompile(`%(?:%|\.?\d*[a-z])`)

// ownText is the length of a format without its verbs.
func ownText(format string) int { return len(verb.ReplaceAllString(format, "")) }

// wildcards matches a format's message as Caddy prints it: after the
// directive, before the line.
func wildcards(format string) *regexp.Regexp {
	parts := verb.Split(format, -1)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`': ` + strings.Join(parts, ".+") + `, at \S+:\d`)
}

// A method is one function of a package: of a type, or of none.
type method struct{ of, name string }

// messageFormats are the formats of all errors of package caddyfile, and of
// what the upstreams' own parsers call in package module.
func messageFormats(t *testing.T) []string {
	t.Helper()
	var formats []string
	add := func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok {
			if format, made := errorFormat(t, call); made && !slices.Contains(formats, format) {
				formats = append(formats, format)
			}
		}
	}
	source(t, "../caddyfile/*.go", add)

	functions := make(map[method]*ast.FuncDecl)
	var open []method
	source(t, "../module/*.go", func(n ast.Node) {
		if f, ok := n.(*ast.FuncDecl); ok {
			m := method{receiverType(f), f.Name.Name}
			functions[m] = f
			if m.name == "UnmarshalCaddyfile" {
				open = append(open, m)
			}
		}
	})
	if len(open) < 3 {
		t.Fatalf("package module has %d parsers, want those of internal, est and step_ca", len(open))
	}
	for len(open) > 0 {
		m := open[0]
		open = open[1:]
		f := functions[m]
		if f == nil {
			continue
		}
		delete(functions, m)
		ast.Inspect(f.Body, func(n ast.Node) bool {
			add(n)
			switch n := n.(type) {
			case *ast.SelectorExpr:
				open = append(open, method{m.of, n.Sel.Name}, method{"upstreamBlock", n.Sel.Name})
				if embedded, ok := n.X.(*ast.SelectorExpr); ok { // by the name of its type
					open = append(open, method{embedded.Sel.Name, n.Sel.Name})
				}
			case *ast.Ident:
				open = append(open, method{"", n.Name})
			}
			return true
		})
	}
	return formats
}

// receiverType is the type of a method, without its star.
func receiverType(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// errorFormat is the format of a call that makes an error.
func errorFormat(t *testing.T, call *ast.CallExpr) (format string, made bool) {
	t.Helper()
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	switch f.Sel.Name {
	case "ArgErr", "EOFErr", "Err", "SyntaxErr":
		t.Errorf("an error by %s: its text can't be found here, write it with Errf", f.Sel.Name)
		return "", false
	case "Errf", "Errorf", "New":
	default:
		return "", false
	}
	if of, ok := f.X.(*ast.Ident); f.Sel.Name == "New" && (!ok || of.Name != "errors") {
		return "", false
	}
	if format = textOf(call.Args[0]); format == "" {
		t.Errorf("the format of an %s isn't a literal", f.Sel.Name)
	}
	return format, format != ""
}
