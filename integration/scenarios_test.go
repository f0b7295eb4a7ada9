// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A scenario is a folder of examples/scenarios, and the section of
// docs/scenarios.md that links to it first. Its blocks are what the operator and
// the device type: `sh` must do, and print what an untagged block behind it shows;
// `console` must be refused, with the words below its command.
type scenario struct {
	name   string
	blocks []scenarioBlock
}

type scenarioBlock struct {
	script, want   string
	before, refuse bool
}

const beforeCaddy = "# before Caddy starts\n"

// scenarioSections are the sections of the page that belong to a folder.
func scenarioSections(t *testing.T, text string) map[string]scenario {
	t.Helper()
	found := make(map[string]scenario)
	for _, section := range strings.Split(text, "\n## ")[1:] {
		m := regexp.MustCompile(`\A.*\n\n\[examples/scenarios/([a-z0-9-]+)\]`).FindStringSubmatch(section)
		if m == nil {
			continue
		}
		if _, twice := found[m[1]]; twice {
			t.Errorf("two sections are about %s", m[1])
		}
		found[m[1]] = scenario{name: m[1], blocks: scenarioBlocks(t, section)}
	}
	return found
}

func scenarioBlocks(t *testing.T, section string) []scenarioBlock {
	t.Helper()
	var blocks []scenarioBlock
	for _, fenced := range fence.FindAllStringSubmatch(section, -1) {
		switch fenced[1] {
		case "sh":
			blocks = append(blocks, scenarioBlock{script: fenced[2], before: strings.HasPrefix(fenced[2], beforeCaddy)})
		case "console":
			m := regexp.MustCompile(`(?s)\A\$ ((?:[^\n]*\\\n)*[^\n]*\n)(.+)\z`).FindStringSubmatch(fenced[2])
			if m == nil {
				t.Fatalf("not a command and what it says:\n%s", fenced[2])
			}
			blocks = append(blocks, scenarioBlock{script: m[1], want: m[2], refuse: true})
		case "":
			if len(blocks) == 0 || blocks[len(blocks)-1].refuse || blocks[len(blocks)-1].want != "" {
				t.Fatalf("of no command:\n%s", fenced[2])
			}
			blocks[len(blocks)-1].want = fenced[2]
		}
	}
	return blocks
}

// TestEveryScenarioRunsAsItsPageSays: a new folder needs a section and a row of
// the table, and is run with them.
func TestEveryScenarioRunsAsItsPageSays(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	need(t, "openssl")
	text := page(t, "../docs/scenarios.md")
	sections := scenarioSections(t, text)
	folders, err := os.ReadDir("../examples/scenarios")
	if err != nil || len(folders) < 10 {
		t.Fatalf("%d scenarios: %v", len(folders), err)
	}
	if len(sections) != len(folders) {
		t.Errorf("%d sections for %d folders", len(sections), len(folders))
	}
	setup := ""
	for _, fenced := range fence.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(fenced[2], "est=https://localhost:8443\n") {
			setup = fenced[2]
		}
	}
	if setup == "" {
		t.Fatal("the page doesn't say where the server is")
	}
	for _, folder := range folders {
		t.Run(folder.Name(), func(t *testing.T) {
			t.Parallel()
			c, ok := sections[folder.Name()]
			if !ok {
				t.Fatal("the page has no section about it")
			}
			if !regexp.MustCompile(`(?m)^\|.*\| \[` + c.name + `\]\(\.\./examples/scenarios/` + c.name + `\) \|$`).MatchString(text) {
				t.Error("the page's table has no row for it")
			}
			c.run(t, setup)
		})
	}
}

func (c scenario) run(t *testing.T, setup string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../examples/scenarios/"+c.name)); err != nil {
		t.Fatal(err)
	}
	caddyfile := page(t, filepath.Join(dir, "Caddyfile"))
	if !strings.HasPrefix(caddyfile, "# ") {
		t.Error("the Caddyfile doesn't begin by saying what it is for")
	}
	if _, err := os.Stat(filepath.Join(dir, "policy_test.yaml")); err == nil {
		if out, errs, code := runCaddy(t, dir, "est", "policy", "test", "policy.yaml", "--least", "88"); code != 0 {
			t.Errorf("policy test: exit %d\n%s%s", code, out, errs)
		}
	}
	extra, rest := globalsOf(caddyfile)
	s := prepare(t, config{dir: dir, site: rest, extra: extra})
	s.env = []string{fmt.Sprintf("EST_HOST=localhost:%d", s.port)}
	setup = strings.ReplaceAll(setup, "localhost:8443", fmt.Sprintf("localhost:%d", s.port))
	did, refused := c.play(t, s, setup, true)
	s.run()
	d, r := c.play(t, s, setup, false)
	if did+d == 0 || refused+r == 0 {
		t.Error("the section must show what succeeds, with what is printed, and what is refused")
	}
}

var optionBlock = regexp.MustCompile(`(?ms)\A((?:#[^\n]*\n|\n)*)\{\n(.*?)^\}\n`)

// globalsOf takes the global options out of a Caddyfile, since that of a test
// has its own.
func globalsOf(caddyfile string) (options, site string) {
	m := optionBlock.FindStringSubmatch(caddyfile)
	if m == nil {
		return "", caddyfile
	}
	return m[2], m[1] + caddyfile[len(m[0]):]
}

// play runs the blocks in one shell, those before the start of Caddy or those
// after it, and counts what it has seen succeed and be refused.
func (c scenario) play(t *testing.T, s *site, setup string, before bool) (did, refused int) {
	t.Helper()
	const mark = "\n=====\n"
	script, played := setup, []scenarioBlock(nil)
	for _, b := range c.blocks {
		if b.before != before {
			continue
		}
		played = append(played, b)
		if b.refuse {
			b.script = "if " + b.script + "then echo 'NOT REFUSED'; exit 1; fi\n"
		}
		script += "printf '" + strings.ReplaceAll(mark, "\n", `\n`) + "'\n" + b.script
	}
	if len(played) == 0 {
		return 0, 0
	}
	out, err := s.shell(t, script)
	if err != nil {
		t.Fatalf("%v\n%s\n--- script\n%s\n--- Caddy\n%s", err, out, script, s.log)
	}
	outputs := strings.Split(out, mark)[1:]
	for i, b := range played {
		if !shows(outputs[i], b.want) {
			t.Errorf("the command\n%s\nprints\n%s\nand the page has\n%s", b.script, outputs[i], b.want)
		}
		if b.refuse {
			refused++
		} else if b.want != "" {
			did++
		}
	}
	return did, refused
}

// shows says whether an output has the lines of the page, in their order. `…`
// stands for what is different each time.
func shows(output, want string) bool {
	lines := strings.Split(output, "\n")
	for expected := range strings.Lines(strings.TrimSpace(want)) {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(expected)), "…", ".*")
		pattern = strings.ReplaceAll(pattern, " = ", " ?= ?") // OpenSSL 3.2 and later print no spaces there
		line := regexp.MustCompile(pattern)
		at := slices.IndexFunc(lines, line.MatchString)
		if at < 0 {
			return false
		}
		lines = lines[at+1:]
	}
	return true
}

// shell runs a script as somebody does who has Caddy in his path and the folder
// for his own. What it prints has the name of the Caddyfile for our address.
func (s *site) shell(t *testing.T, script string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "caddy")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu", "-c", script)
	cmd.Dir = s.dir
	cmd.Env = append(caddyCommand(ctx, s.dir).Env, "PATH="+bin+":"+os.Getenv("PATH"), "CADDY_ADMIN="+s.admin)
	if local := s.root("local"); s.cmd != nil {
		// Caddy's local CA stands in for a public one.
		if _, err := os.Stat(local); err == nil {
			cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+local)
		}
	}
	out, err := cmd.CombinedOutput()
	host := fmt.Sprintf("localhost:%d", s.port)
	return strings.NewReplacer("https://"+host, "https://est.example.net", host, "est.example.net:443").Replace(string(out)), err
}
