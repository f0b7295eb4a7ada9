// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// withChecks is a policy that takes any name, and more of them than usual.
func withChecks(rules ...string) string {
	var text strings.Builder
	text.WriteString(`version: 1
name: hostile
guardrails: {limits: {names: 250}}
profiles:
  a:
    labels: [""]
    enroll: {who: [{http_basic: {users: [a]}}], linking: if_present}
    subject: {CN: {allow: ["**"]}, O: {allow: ["**"]}}
    san: {dns: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
    checks:
`)
	for i, rule := range rules {
		fmt.Fprintf(&text, "      - {id: c%d, message: no, rule: %q}\n", i, rule)
	}
	return text.String()
}

// hostileRequests have long texts or many names, within 16 KiB.
func hostileRequests(t testing.TB) map[string]Request {
	t.Helper()
	long := func(n int) string { return strings.Repeat("a", n) }
	var dns [][]byte
	for i := range 200 {
		dns = append(dns, csrtest.DNS(fmt.Sprintf("a%d.%s", i, long(50))))
	}
	requests := map[string]Request{}
	for name, opts := range map[string][]csrtest.Option{
		"two texts of 7,000 bytes":  {csrtest.Subject(csrtest.CN(long(7000)), csrtest.O(long(7000)))},
		"the longest texts of all":  {csrtest.Subject(csrtest.CN(long(maxCELText)), csrtest.O(long(maxCELText/2)))},
		"two hundred DNS names":     {csrtest.Subject(csrtest.CN(long(1000))), csrtest.SAN(dns...)},
		"two hundred values of CN":  {csrtest.Subject(repeated(csrtest.CN(long(60)), 200)...)},
		"nothing but a common name": {csrtest.Subject(csrtest.CN("a"))},
	} {
		parsed, err := csr.Parse(csrtest.New(t, opts...))
		if err != nil {
			t.Fatal(err)
		}
		requests[name] = Request{Op: SimpleEnroll, CSR: parsed, Linking: Matched, Now: testNow, Who: Identity{Accounts: []Account{{httpBasic, "a"}}}}
	}
	return requests
}

func repeated(b []byte, n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = b
	}
	return list
}

// doubled binds a value, the same twice, and so on, and asks about the last.
func doubled(first, with, ask string, times int) string {
	var text strings.Builder
	before := first
	for i := range times {
		fmt.Fprintf(&text, "cel.bind(v%d, %s, ", i, strings.ReplaceAll(with, "X", before))
		before = fmt.Sprintf("v%d", i)
	}
	return text.String() + strings.ReplaceAll(ask, "X", before) + strings.Repeat(")", times)
}

func times(n int, text string) string { return strings.Repeat(text, n) }

// hostile are expressions that would cost very much, and what is said of them
// when the file is loaded; nothing where it loads, and the evaluation is
// bounded.
func hostile() map[string]struct{ rule, want string } {
	const tooMuch, tooLarge = "can cost too much", "is too large: its repetitions"
	return map[string]struct{ rule, want string }{
		"a text within a text":              {`csr.subject.CN.replace("", csr.subject.O) != "x"`, tooMuch},
		"a text for each of a few letters":  {`csr.subject.CN.replace("a", csr.subject.O, 100) != "x"`, tooMuch},
		"a long text for each letter":       {`csr.subject.CN.replace("a", "` + times(90, "a") + `") != "x"`, ""},
		"a text that joins letters":         {`csr.subject.CN.split("").join(csr.subject.O) != "x"`, tooMuch},
		"a long text that joins letters":    {`csr.subject.CN.split("").join("` + times(90, "a") + `") != "x"`, ""},
		"a text doubled":                    {doubled("csr.subject.CN", "X+X", "size(X) >= 0", 25), ""},
		"a text doubled a few times":        {doubled("csr.subject.CN", "X+X", "size(X) >= 0", 6), ""},
		"a list doubled":                    {doubled("csr.san.dns", "X+X", "size(X) >= 0", 25), ""},
		"a list doubled and searched":       {doubled("csr.san.dns", "X+X", `!("x" in X)`, 20), ""},
		"a literal doubled and searched":    {doubled("[1, 2]", "X+X", `!(7 in X)`, 28), ""},
		"lists in lists, compared":          {doubled(`csr.subject.CN.split("")`, "[X,X,X,X,X,X,X,X]", "X == X", 12), "can't be compared"},
		"lists in an empty list, compared":  {`cel.bind(a, [] + [csr.san.dns], a == a)`, "can't be compared"},
		"lists among other things":          {`[1, [2]] == [1, [2]]`, "are of one type"},
		"a type that is hidden":             {`dyn(csr.san.dns) == dyn(csr.san.dns)`, "isn't offered"},
		"loops in loops":                    {`csr.san.dns.all(a, csr.san.dns.all(b, a + b != "c"))`, tooMuch},
		"loops in loops over literals":      {`[1,2,3,4,5,6,7,8].all(a, [1,2,3,4,5,6,7].all(b, [1,2,3,4,5,6,7,8].all(c, [1,2,3].all(d, a+b+c+d > 0))))`, ""},
		"sets that are large":               {`sets.contains(csr.san.dns, csr.san.dns)`, tooMuch},
		"sets of halves":                    {`sets.equivalent(csr.subject.values("CN"), csr.subject.values("CN"))`, tooMuch},
		"a regular expression of requests":  {`csr.subject.CN.matches(csr.subject.O)`, "in quotes"},
		"one that is a function's":          {`matches(csr.subject.CN, csr.subject.O)`, "in quotes"},
		"many repetitions":                  {`csr.subject.CN.matches("(a?){900}(a*)*b")`, tooLarge},
		"many repetitions of classes":       {`csr.subject.CN.matches("(\\pL{90}){10}")`, tooLarge},
		"repetitions without end":           {`csr.subject.CN.matches("((a{100}){100}){100}")`, "can't be used"},
		"a long regular expression":         {`csr.subject.CN.matches("` + times(300, "(?:.{1000})") + `")`, "1024 is the most"},
		"all that a regular expression has": {`!csr.subject.CN.matches("(a?){45}(a*)*b")`, ""},
		"one for each name":                 {`csr.san.dns.all(d, !d.matches("(a?){45}(a*)*b"))`, tooMuch},
		"a format":                          {`"%s%s".format([csr.subject.CN, csr.subject.CN]) != ""`, "isn't offered"},
		"a quotation of a quotation":        {doubled("csr.subject.CN", "strings.quote(X)", "size(X) > 0", 20), "isn't offered"},
		"a time zone by its name":           {`req.now.getHours("Europe/Berlin") > 6`, "offset from UTC"},
		"a time zone of the request's":      {`req.now.getHours(csr.subject.CN) > 6`, "offset from UTC"},
		"a search that begins anew":         {`csr.subject.CN.indexOf(csr.subject.O + "b") < 0`, ""},
		"such a search from behind":         {`csr.subject.CN.lastIndexOf("b" + csr.subject.O) < 0`, ""},
		"many such searches":                {times(20, `csr.subject.CN.indexOf(csr.subject.O + "b") < 0 && `) + "true", tooMuch},
		"many comparisons of lists":         {times(25, `csr.san.dns == csr.san.dns && `) + "true", ""},
		"a literal as long as can be":       {`"` + times(3900, "a") + `" != "x"`, ""},
		"a list as long as can be":          {`1 in [` + times(2000, "1,") + `1]`, ""},
		"parentheses":                       {times(2000, "(") + "true" + times(2000, ")"), "recursion limit"},
		"questions":                         {times(400, "true?true:") + "true", "recursion limit"},
		"negations":                         {times(3000, "!") + "true", ""},
		"additions":                         {times(1900, "1+") + "1 > 0", "recursion depth"},
	}
}

// What an expression costs is bounded, whoever wrote it and whatever the
// request is: it is refused when the file is loaded, or a decision allocates
// little. A clock would tell how busy the machine is.
func TestThreat_NoExpressionCostsMuch(t *testing.T) {
	const mostAtLoad, most = 16 << 20, 2 << 20
	requests := hostileRequests(t)
	for name, test := range hostile() {
		t.Run(name, func(t *testing.T) {
			var file *File
			var policy *Policy
			var err error
			spent := allocated(func() {
				if file, err = Parse("p.yaml", []byte(withChecks(test.rule))); err == nil {
					policy, err = Compile(file, nil)
				}
			})
			if spent > mostAtLoad {
				t.Errorf("to load it costs %d KiB", spent>>10)
			}
			if err != nil || test.want != "" {
				if err == nil || test.want == "" || !strings.Contains(err.Error(), test.want) {
					t.Errorf("the error is %v, want %q", err, test.want)
				}
				return
			}
			profile, _ := policy.Profile("")
			for which, req := range requests {
				if spent := allocated(func() { profile.Decide(req) }); spent > most {
					t.Errorf("%s: a decision costs %d KiB", which, spent>>10)
				}
			}
		})
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// The limit of one expression times the number of checks would be no limit.
func TestThreat_AllExpressionsOfADecisionTogetherAreBounded(t *testing.T) {
	const costly = `[1,2,3,4,5,6,7,8].all(a, [1,2,3,4,5,6,7,8].all(b, [1,2,3,4,5,6,7,8].all(c, a+b+c > 0)))`
	one, _ := mustCompile(t, "p.yaml", []byte(withChecks(costly))).Profile("")
	many, _ := mustCompile(t, "p.yaml", []byte(withChecks(repeatedTexts(costly, mostChecks)...))).Profile("")
	req := hostileRequests(t)["nothing but a common name"]
	if d := one.Decide(req); d.Verdict != Allow {
		t.Fatalf("%s: %v", d.Verdict, d.Findings)
	}
	d := many.Decide(req)
	last := d.Findings[len(d.Findings)-1]
	if d.Verdict != Fault || !strings.Contains(last.Message, "all expressions of the decision together cost more than 25000 steps") {
		t.Errorf("%s: %v", d.Verdict, last)
	}
}

func repeatedTexts(text string, n int) []string {
	return strings.Fields(times(n, strings.ReplaceAll(text, " ", "")+" "))
}

// What is too long for an expression is no answer: it is refused where the
// client has brought it, and a fault where it hasn't.
func TestThreat_NoClientMakesAFaultByItsSize(t *testing.T) {
	const refused, long = "the request is too large for the expression: ", "two texts of 7,000 bytes"
	facts := func(text string) Facts {
		f, err := ParseFacts([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for name, c := range map[string]struct {
		rule, request, data string
		verdict             Verdict
		message             string
	}{
		"a text as long as can be":              {`csr.subject.CN != "x"`, "the longest texts of all", "", Allow, ""},
		"a longer one":                          {`csr.subject.CN != "x"`, long, "", Deny, refused + "the request has a text of 7000 bytes, and an expression can read 2048"},
		"a longer one beside facts":             {`csr.subject.CN != "x" || has(who.data.x)`, long, "", Deny, refused + "the request has a text of 7000 bytes"},
		"a text that gets too long":             {`csr.subject.CN + "` + times(200, "a") + `" != "x"`, "the longest texts of all", "", Deny, refused + "+ would make"},
		"a text of the policy that does":        {doubled(`"aa"`, "X+X", "size(X) >= 0", 12), "nothing but a common name", "", Fault, "can't be evaluated: + would make"},
		"a search that costs too much":          {`csr.subject.CN.indexOf(csr.subject.O + "b") < 0`, "the longest texts of all", "", Deny, refused + "it costs more than 25000 steps"},
		"one that the facts make as costly":     {`csr.subject.CN.indexOf(string(who.data.x) + "b") < 0`, "the longest texts of all", `{"x":"` + times(2040, "a") + `"}`, Fault, "can't be evaluated: it costs more"},
		"a text of the facts that is too long":  {`string(who.data.x) != "x"`, "nothing but a common name", `{"x":"` + times(2049, "a") + `"}`, Fault, "there is a text of 2049 bytes among the facts"},
		"a number that is none, whoever has it": {`int(csr.subject.CN) > 1`, "nothing but a common name", "", Fault, "can't be evaluated"},
	} {
		t.Run(name, func(t *testing.T) {
			profile, _ := mustCompile(t, "p.yaml", []byte(withChecks(c.rule))).Profile("")
			req := hostileRequests(t)[c.request]
			req.Who.Data = facts(c.data)
			d := profile.Decide(req)
			if d.Verdict != c.verdict || c.message != "" && !strings.Contains(d.Findings[0].Message, c.message) {
				t.Errorf("%s: %v", d.Verdict, d.Findings)
			}
			if len(d.Findings) > 0 && d.Findings[0].Disclose {
				t.Error("a client is told")
			}
		})
	}
}

// Many rules that are cheap by their estimates, and are made costly together.
func TestThreat_NoClientMakesAFaultOfAllExpressionsTogether(t *testing.T) {
	const search = `csr.subject.CN.indexOf(csr.subject.O+"b")<0`
	few, _ := mustCompile(t, "p.yaml", []byte(withChecks(repeatedTexts(`size(csr.subject.CN+csr.subject.O)>0`, 20)...))).Profile("")
	if d := few.Decide(hostileRequests(t)["the longest texts of all"]); d.Verdict == Fault {
		t.Errorf("%s: %v", d.Verdict, d.Findings)
	}
	both, _ := mustCompile(t, "p.yaml", []byte(withChecks(search, search))).Profile("")
	d := both.Decide(hostileRequests(t)["the longest texts of all"])
	if last := d.Findings[len(d.Findings)-1]; d.Verdict != Deny || !strings.Contains(last.Message, "too large for the expression: all expressions of the decision together") {
		t.Errorf("%s: %v", d.Verdict, d.Findings)
	}
}

// Functions that look at sizes first still do what CEL says of them.
func TestBoundedFunctionsDoWhatTheyAlwaysDid(t *testing.T) {
	for _, rule := range []string{
		`"a-b-c".replace("-", ".") == "a.b.c"`, `"a-b-c".replace("-", ".", 1) == "a.b-c"`, `"a-b".replace("-", ".", 0) == "a-b"`,
		`"a-b".replace("-", ".", -1) == "a.b"`, `"ab".replace("", "_") == "_a_b_"`, `"héé".replace("é", "e", 1) == "heé"`,
		`["a", "b"].join("-") == "a-b"`, `["a", "b"].join() == "ab"`, `[].join("-") == ""`,
		`sets.contains([1, 2], [2])`, `!sets.contains([1], [2])`, `sets.contains([], [])`, `sets.equivalent([1, 1, 2], [2, 1])`, `!sets.equivalent([1], [1, 2])`,
		`sets.intersects([1, 2], [2, 3])`, `!sets.intersects([1], [])`,
		`"a" + "b" == "ab"`, `[1] + [2] == [1, 2]`, `b"a" + b"b" == b"ab"`, `1 + 2 == 3`, `1u + 2u == 3u`, `1.5 + 1.5 == 3.0`,
		`duration("1h") + duration("1h") == duration("2h")`, `req.now + duration("1h") > req.now`,
		`"rtr-1".matches("^rtr-[0-9]+$")`, `matches("rtr-1", "^rtr-")`, `!"x".matches("^rtr-")`, `req.now.getHours("+01:00") == 13`,
		`{"a": ["b", "c"]}["a"] == ["b", "c"]`, `csr.san.dns == []`,
	} {
		profile, _ := mustCompile(t, "p.yaml", []byte(withChecks(rule))).Profile("")
		if d := profile.Decide(hostileRequests(t)["nothing but a common name"]); d.Verdict != Allow {
			t.Errorf("%s: %s: %v", rule, d.Verdict, d.Findings)
		}
	}
}

// The worst that a decision can cost: each expression that loads, with each
// hostile request.
func BenchmarkHostile(b *testing.B) {
	requests := hostileRequests(b)
	for name, test := range hostile() {
		if test.want != "" {
			continue
		}
		profile, _ := mustCompile(b, "p.yaml", []byte(withChecks(test.rule))).Profile("")
		for which, req := range requests {
			b.Run(name+"/"+which, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					profile.Decide(req)
				}
			})
		}
	}
}
