// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
)

// examplePolicies are the policies to start from, by name.
func examplePolicies(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../examples/policies/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, path := range paths {
		if name := strings.TrimSuffix(filepath.Base(path), ".yaml"); !strings.HasSuffix(name, "_test") {
			found[name] = path
		}
	}
	if len(found) < 9 {
		t.Fatalf("there are %d policies to start from: %v", len(found), found)
	}
	return found
}

// Whoever starts from a policy reads its page first: what `check` warns of is
// explained there, and the Caddyfile there is one that the policy loads with.
func TestEveryPolicyToStartFromHasAPage(t *testing.T) {
	t.Parallel()
	overview := page(t, "../docs/policies/README.md")
	for name, path := range examplePolicies(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := page(t, "../docs/policies/"+name+".md")
			for _, heading := range []string{"get in", "What binds the names", "What it refuses", "To adapt", "The Caddyfile"} {
				if !regexp.MustCompile(`(?m)^## .*` + heading).MatchString(text) {
					t.Errorf("the page has no section %q", heading)
				}
			}
			for where, text := range map[string]string{"overview": overview, "policy": page(t, path)} {
				if !strings.Contains(text, name+".md") {
					t.Errorf("the %s doesn't name the page", where)
				}
			}
			explained(t, path, text)
			loadsWith(t, path, text)
		})
	}
}

// TestThePoliciesToStartFromDoWhatTheirTestsSay: and next to no rule of them
// is untested, so that who changes one is told what it meant.
func TestThePoliciesToStartFromDoWhatTheirTestsSay(t *testing.T) {
	t.Parallel()
	for name, path := range examplePolicies(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			abs, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			if out, errs, code := runCaddy(t, t.TempDir(), "est", "policy", "test", abs, "--least", "88"); code != 0 {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
}

// The page of the language shows a policy and its tests.
func TestTheTestsOnThePageAreThoseOfItsFirstPolicy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, block := range fence.FindAllStringSubmatch(page(t, "../docs/policy.md"), -1) {
		name := "routers.yaml"
		if strings.Contains(block[2], "\ncases:") {
			name = "routers_test.yaml"
		}
		_, err := os.Stat(filepath.Join(dir, name))
		if strings.HasPrefix(block[2], "version:") && err != nil {
			write(t, dir, name, block[2])
		}
	}
	if out, errs, code := runCaddy(t, dir, "est", "policy", "test", "routers.yaml"); code != 0 {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func explained(t *testing.T, path, text string) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := policy.Parse(path, src)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, os.DirFS(filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range compiled.Lint() {
		if !strings.Contains(text, "`"+f.Lint+"`") {
			t.Errorf("the page doesn't explain the warning %s: %s", f.Lint, f)
		}
	}
}

var (
	placeholder = regexp.MustCompile(`\{env\.[A-Z0-9_]+\}`)
	anchorFile  = regexp.MustCompile(`/etc/caddy/est/([a-z-]+\.(pem|crl))`)
)

// loadsWith runs `caddy validate` over the Caddyfile of a page, with the
// policy in its place, and an anchor's files where it names some.
func loadsWith(t *testing.T, path, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] != "caddyfile" {
			continue
		}
		found++
		caddyfile := placeholder.ReplaceAllLiteralString(block[2], hash(t))
		maker := newFactory(t)
		for _, name := range anchorFile.FindAllStringSubmatch(caddyfile, -1) {
			content := armour("CERTIFICATE", maker.root.Raw)
			if name[2] == "crl" {
				content = maker.crl(1)
			}
			write(t, dir, name[1], content)
		}
		if strings.Contains(page(t, path), "provider: {name: directory}") {
			// Caddy brings no provider that asks a directory.
			caddyfile = strings.Replace(caddyfile, "\test {\n", "\test {\nprovider directory test_token letmein\n", 1)
		}
		write(t, dir, "Caddyfile", strings.ReplaceAll(caddyfile, "/etc/caddy/est/", dir+"/"))
		if !strings.Contains(caddyfile, "policy /etc/caddy/est/"+filepath.Base(path)+"\n") {
			t.Errorf("the Caddyfile has another policy than %s", filepath.Base(path))
		}
		if _, errs, code := runCaddy(t, dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile"); code != 0 {
			t.Errorf("caddy validate: exit %d\n%s\n--- Caddyfile\n%s", code, errs, caddyfile)
		}
	}
	if found == 0 {
		t.Error("the page has no Caddyfile")
	}
}
