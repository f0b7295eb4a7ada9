// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// filled repeats a piece until the file is as large as a file may be, or has
// as many values.
func filled(head, piece, tail string) string {
	n := (MaxFile - len(head) - len(tail)) / len(piece)
	if v := values([]byte(piece + " ")); v > 0 {
		n = min(n, (maxValues-100)/v)
	}
	return head + strings.Repeat(piece, n) + tail
}

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// laughs is the YAML bomb that would be a thousand million values.
func laughs() string {
	var b strings.Builder
	b.WriteString("a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c < 'k'; c++ {
		fmt.Fprintf(&b, "%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9))
	}
	return b.String()
}

// What a file costs before it is refused is bounded, whoever wrote it. A
// clock would tell how busy the machine is; what is allocated is the same
// everywhere, and to allocate it is most of the time that reading takes.
func TestThreat_NoFileCostsMuchBeforeItIsRefused(t *testing.T) {
	const (
		most    = 100 << 20
		profile = "version: 1\nname: x\ndefault: a\nprofiles: {a: {"
	)
	for name, src := range map[string]string{
		"ten million bytes":                     strings.Repeat("a", 10<<20),
		"a bomb of aliases":                     laughs(),
		"anchors without end":                   filled("", "? &a a\n", ""),
		"brackets that nobody closes":           filled("a: ", "[", ""),
		"braces that nobody closes":             filled("a: ", "{a: ", ""),
		"lists in lists, closed":                "a: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"dashes behind dashes":                  filled("a:\n  ", "- ", ""),
		"maps deeper and deeper":                strings.Repeat(" ", 2000) + "a:\n" + filled("", strings.Repeat(" ", 1000)+"a:\n", ""),
		"a million values":                      "a: [" + strings.Repeat("x,", 1_000_000) + "]",
		"a list as long as a file":              filled("a: [", "x,", "]"),
		"a list of maps":                        filled("a: [", "{},", "]"),
		"keys that nobody knows":                numbered(60_000, "k%d: 1\n"),
		"keys that nobody knows, in one map":    numbered(4_900, "k%d: 1\n"),
		"comments alone":                        filled("", "# x\n", "a: 1\n"),
		"a text as long as a file":              filled("name: \"", "x", "\"\n"),
		"a pattern as long as a file":           filled("guardrails: {deny: {dns: [\"", "*a", "\"]}}\n"),
		"patterns without number":               filled("guardrails: {deny: {dns: [", "a*.b*.c,", "]}}\n"),
		"wrong words, each with a near one":     "guardrails: {never: [" + strings.Repeat("zlientAuth,", 9_000) + "]}\n",
		"wrong labels":                          profile + "labels: [" + strings.Repeat("' ',", 9_000) + "]}}\n",
		"profiles without anything":             "profiles:\n" + numbered(4_900, "  p%d: {}\n"),
		"lines of who that are all alike":       profile + "enroll: {linking: required, who: [" + strings.Repeat("{http_basic: {users: [a]}},", 9_000) + "]}}}\n",
		"an expression as long as a file":       filled(profile+"checks: [{id: a, message: b, rule: '", "1+", "1'}]}}\n"),
		"an expression as deep as a file":       filled(profile+"checks: [{id: a, message: b, rule: '", "(", "'}]}}\n"),
		"an expression of loops within loops":   profile + "checks: [{id: a, message: b, rule: 'csr.san.dns.all(a, csr.san.dns.all(b, csr.san.dns.all(c, csr.san.dns.all(d, a+b+c == d))))'}]}}\n",
		"an expression that is merely too long": profile + "checks: [{id: a, message: b, rule: '" + strings.Repeat("1+", 3000) + "1 > 2'}]}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			file, err := Parse("p.yaml", []byte(src))
			if err == nil {
				_, err = Compile(file, nil)
			}
			runtime.ReadMemStats(&after)
			var list Errors
			if !errors.As(err, &list) && !errors.Is(err, ErrNotYAML) || !strings.HasPrefix(err.Error(), "p.yaml") {
				t.Fatalf("it isn't refused with its place: %v", err)
			}
			if len(list) > mostShown+1 {
				t.Errorf("%d mistakes are shown", len(list))
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > most {
				t.Errorf("it has cost %d MiB, and may cost %d: %.200s", spent>>20, most>>20, err)
			}
		})
	}
}

func TestOfVeryManyMistakesTheFirstAreShown(t *testing.T) {
	_, err := Parse("p.yaml", []byte("version: 1\nname: x\ndefault: a\n"+numbered(1000, "k%d: 1\n")))
	var list Errors
	if !errors.As(err, &list) || len(list) != mostShown+1 {
		t.Fatalf("%d mistakes", len(list))
	}
	if got := list[0].String(); !strings.HasPrefix(got, "p.yaml:4:1: unknown key `k0`") {
		t.Errorf("the first is %s", got)
	}
	if got, want := list[mostShown].Message, "there are 801 more mistakes, which are not shown"; got != want {
		t.Errorf("the last is %q, want %q", got, want)
	}
}

// The bound of values is about what a text has: a thousand profiles of a
// usual size stay far below.
func TestAThousandProfilesAreWithinTheBounds(t *testing.T) {
	text := numbered(1000, strings.TrimPrefix(strings.ReplaceAll(benchProfile, "%[1]s", "p%[1]d"), "\n"))
	if n := values([]byte(text)); n > maxValues*2/3 || len(text) > MaxFile/2 {
		t.Errorf("a thousand profiles are %d values in %d bytes", n, len(text))
	}
}
