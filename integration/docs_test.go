// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/upstream/stepca"
)

// The pages are held against the code: what they show is loaded, what they
// name is there, and what is there is named.

// pages are all Markdown files for readers, by their path from here.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/adr/*.md", "../docs/policies/*.md", "../examples/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			all[name] = page(t, name)
		}
	}
	return all
}

func page(t *testing.T, name string) string {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks calls each with every fenced block of a language.
func blocks(t *testing.T, language string, each func(where, text string)) {
	t.Helper()
	found := 0
	for name, text := range pages(t) {
		for _, at := range fence.FindAllStringSubmatchIndex(text, -1) {
			if text[at[2]:at[3]] == language {
				found++
				each(name+":"+strconv.Itoa(1+strings.Count(text[:at[0]], "\n")), text[at[4]:at[5]])
			}
		}
	}
	if found == 0 {
		t.Errorf("no page has a %s block", language)
	}
}

// A block is a whole Caddyfile if it begins with a site's address or with
// global options. One that begins with an option of `est` is put into an
// `est`, any other into a site.
func TestEveryCaddyfileBlockInTheDocsAdapts(t *testing.T) {
	t.Parallel()
	options := caddyfileOptions(t)
	blocks(t, "caddyfile", func(where, text string) {
		first := strings.Fields(text)[0]
		switch {
		case first == "{" || strings.ContainsAny(first, ".:"):
		case options[first]:
			text = "est.example.net {\nest {\npolicy policy.yaml\n" + text + "}\n}\n"
		default:
			text = "est.example.net {\n" + text + "}\n"
		}
		path := write(t, t.TempDir(), "Caddyfile", text)
		if got := adapt(t, path, []byte(text)); got.Name != "json" {
			t.Errorf("%s: %s", where, got.Data)
		}
	})
}

// TestTheREADMEsConfigurationsValidate: with the README's policy, as `caddy
// validate` does it. A block that isn't a whole Caddyfile goes into the `est`
// of the smallest.
func TestTheREADMEsConfigurationsValidate(t *testing.T) {
	t.Parallel()
	key, _, err := stepca.NewJWK()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	smallest, loaded := "", 0
	text := page(t, "../README.md")
	rules := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindStringSubmatch(text)
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] != "caddyfile" {
			continue
		}
		caddyfile := block[2]
		if strings.Contains(strings.Fields(caddyfile)[0], ".") {
			smallest = cmp.Or(smallest, caddyfile)
		} else {
			caddyfile = strings.Replace(smallest, "policy policy.yaml\n", "policy policy.yaml\n"+caddyfile, 1)
		}
		dir := t.TempDir()
		write(t, dir, "policy.yaml", rules[1])
		write(t, dir, "step-root.pem", armour("CERTIFICATE", newFactory(t).root.Raw))
		write(t, dir, "est-ra.jwk", string(jwk))
		write(t, dir, "Caddyfile", strings.ReplaceAll(caddyfile, "/etc/caddy/est/", dir+"/"))
		if _, errs, code := runCaddy(t, dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile"); code != 0 {
			t.Errorf("caddy validate: exit %d\n%s\n--- Caddyfile\n%s", code, errs, caddyfile)
		}
		loaded++
	}
	if loaded < 2 {
		t.Errorf("the README has %d Caddyfiles, want the smallest and that of a step-ca", loaded)
	}
	numbers := []string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}
	heading := regexp.MustCompile("(?s)\n## A step-ca in (\\w+) lines\n.*?```caddyfile\n(.*?)```").FindStringSubmatch(text)
	if heading == nil {
		t.Fatal("the README has no step-ca in at most ten lines")
	}
	if n := strings.Count(heading[2], "\n"); slices.Index(numbers, heading[1]) != n {
		t.Errorf("the heading says %s lines, the block has %d", heading[1], n)
	}
}

const aroundFragment = `version: 1
name: around a fragment
default: some
profiles:
  some:
`

// profileAround are the keys of a profile that a fragment may leave out.
var profileAround = []string{
	"enroll:\n      WHO\n      linking: if_present",
	`subject: {CN: {allow: ["*"]}}`,
	"usage: {key: [digitalSignature], ext: [clientAuth]}",
	"validity: {default: 1d}",
}

// around puts a fragment of a profile into a policy that is whole.
func around(fragment, who string) string {
	text := aroundFragment
	for _, line := range profileAround {
		key, _, _ := strings.Cut(line, ":")
		if !strings.HasPrefix(fragment, key+":") && !strings.Contains(fragment, "\n"+key+":") {
			text += "    " + strings.Replace(line, "WHO", who, 1) + "\n"
		}
	}
	if fragment != "" {
		text += "    " + strings.ReplaceAll(fragment, "\n", "\n    ") + "\n"
	}
	return text
}

// listsOfKeys are the files that the policies of the pages name.
var listsOfKeys = fstest.MapFS{
	"lists/blacklist.RSA-2048": {Data: []byte("# RSA keys, 2048 bits\n00000000000000000001\n")},
	"lists/blacklist.RSA-4096": {Data: []byte("00000000000000000002\n")},
	"lists/blocked.txt":        {Data: []byte("# none yet\n")},
}

// A block is a whole policy if it begins with `version:`. One that begins
// with `who:` is put into an operation, any other into a profile.
func TestEveryPolicyInTheDocsCompiles(t *testing.T) {
	t.Parallel()
	const anybody = `who: [{http_basic: {users: [somebody]}}]`
	blocks(t, "yaml", func(where, text string) {
		switch {
		case strings.Contains(text, "\ncases:"):
			if _, err := policy.ParseTests(where, []byte(text)); err != nil {
				t.Errorf("%s: %v", where, err)
			}
			return
		case strings.HasPrefix(text, "version:"):
		case strings.HasPrefix(text, "who:"):
			text = around("", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      "))
		default:
			text = around(strings.TrimSpace(text), anybody)
		}
		file, err := policy.Parse(where, []byte(text))
		if err == nil {
			_, err = policy.Compile(file, listsOfKeys)
		}
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
	})
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the #fragments of a page, as GitHub makes them of headings.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		found[strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return found
}

func TestEveryLinkInTheDocsLeadsSomewhere(t *testing.T) {
	t.Parallel()
	for name, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, fragment, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			} else if fragment != "" && !anchors(page(t, target))[fragment] {
				t.Errorf("%s: the link %s: no such heading", name, m[1])
			}
		}
	}
}

// estCommand is the tree `caddy est`, as Caddy makes it.
func estCommand(t *testing.T) *cobra.Command {
	t.Helper()
	registered, ok := caddycmd.Commands()["est"]
	if !ok {
		t.Fatal("no command est is registered")
	}
	root := &cobra.Command{Use: "est"}
	registered.CobraFunc(root)
	return root
}

var (
	called = regexp.MustCompile("(?m)(?:^|[\\s(`'/])caddy est ([^\\n`|>)]*)")
	word   = regexp.MustCompile(`"[^"]*"|\S+`)
)

// In a block a command line must be one that the command takes as it stands.
// Elsewhere in a page it may break off, and end in `…`.
func TestEveryCommandInTheDocsIsOne(t *testing.T) {
	t.Parallel()
	for name, text := range pages(t) {
		text = strings.ReplaceAll(text, "\\\n", " ")
		prose := fence.ReplaceAllString(text, "")
		for _, m := range called.FindAllStringSubmatch(prose, -1) {
			checkCall(t, name, m[1], false)
		}
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			for _, m := range called.FindAllStringSubmatch(block[2], -1) {
				checkCall(t, name, m[1], true)
			}
		}
	}
}

func checkCall(t *testing.T, where, line string, complete bool) {
	t.Helper()
	line, _, _ = strings.Cut(line, " #")
	words := word.FindAllString(line, -1)
	cmd := estCommand(t)
	for len(words) > 0 {
		next := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == words[0] })
		if next < 0 {
			break
		}
		cmd, words = cmd.Commands()[next], words[1:]
	}
	cmd.InitDefaultHelpFlag()
	if len(words) > 0 && words[len(words)-1] == "…" {
		words = words[:len(words)-1]
	}
	if cmd.HasSubCommands() && (complete || len(words) > 0) {
		t.Errorf("%s: `caddy est %s`: no such command", where, line)
	} else if err := cmd.ParseFlags(words); err != nil {
		t.Errorf("%s: `caddy est %s`: %v", where, line, err)
	} else if err := cmd.ValidateArgs(cmd.Flags().Args()); complete && err != nil {
		t.Errorf("%s: `caddy est %s`: %v", where, line, err)
	}
}

// Each command has its flags in docs/commands.md, under the heading that is
// its name or the beginning of it.
func TestEveryFlagIsInTheDocs(t *testing.T) {
	t.Parallel()
	text := page(t, "../docs/commands.md")
	known := make(map[string][]string) // heading -> flags
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			walk(child)
		}
		if cmd.HasSubCommands() {
			return
		}
		title := cmd.CommandPath()
		for !strings.Contains(text, "\n## caddy "+title+"\n") && strings.Contains(title, " ") {
			title = title[:strings.LastIndexByte(title, ' ')]
		}
		for _, line := range strings.Split(cmd.LocalFlags().FlagUsages(), "\n") {
			if _, flag, ok := strings.Cut(line, "--"); ok {
				known[title] = append(known[title], strings.Fields(flag)[0])
			}
		}
		if !strings.Contains(text, "\n## caddy "+title+"\n") {
			t.Errorf("docs/commands.md has no `caddy %s`", cmd.CommandPath())
		}
	}
	walk(estCommand(t))
	for title, flags := range known {
		_, section, _ := strings.Cut(text, "\n## caddy "+title+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		var named []string
		for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z0-9-]+)").FindAllStringSubmatch(section, -1) {
			named = append(named, m[1])
		}
		same(t, "flags of "+title, named, flags)
	}
}
