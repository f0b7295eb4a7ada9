// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// takes spells a value and matches it, as a rule with one pattern does.
func (f form) takes(t *testing.T, text, value string) bool {
	t.Helper()
	p, err := f.compile(text)
	if err != nil {
		t.Fatalf("the %s pattern %q: %v", f.name, text, err)
	}
	rule := nameRule{form: f, bounded: true, allow: []pattern{p}}
	_, err = rule.accepts(value)
	return err == nil
}

func TestPatternsTakeWhatTheySayAndNothingElse(t *testing.T) {
	for _, test := range []struct {
		form    form
		pattern string
		takes   []string
		refuses []string
	}{
		{dnsForm, "*.branch.example.net",
			[]string{"rtr-1.branch.example.net", "RTR-1.Branch.Example.NET", "xn--bcher-kva.branch.example.net"},
			[]string{"branch.example.net", ".branch.example.net", "a.b.branch.example.net", "rtr-1.branch.example.net.",
				"rtr-1xbranch.example.net", "rtr_1.branch.example.net", "-a.branch.example.net", "a-.branch.example.net",
				"rtr-1.branch.example.net\x00", "rtr-1.branch.example.net\n", "bücher.branch.example.net", "*.branch.example.net",
				"a*.branch.example.net", strings.Repeat("a", 64) + ".branch.example.net", ""}},
		{dnsForm, "rtr-*.example",
			[]string{"rtr-1.example", "rtr-a-b.example"},
			[]string{"rtr-.example", "rtr-1.x.example", "xrtr-1.example"}},
		{dnsForm, "**.example.net",
			[]string{"a.example.net", "a.b.c.example.net"},
			[]string{"example.net", "aexample.net", "a..example.net", "*.example.net"}},
		{dnsForm, "a.**.z", []string{"a.b.z", "a.b.c.z"}, []string{"a.z", "a.b.c"}},
		{dnsForm, "**", []string{"a", "a.b"}, []string{"", "10.0.0.1", "a b"}},
		{dnsForm, "K8s.example", []string{"k8s.example"}, []string{"\u212a8s.example"}},
		{ipForm, "10.20.0.0/16", []string{"10.20.0.1", "10.20.255.255"},
			[]string{"10.21.0.0", "::ffff:10.20.0.1", "10.20.0.1%eth0", "10.20.0.256", ""}},
		{ipForm, "2001:db8::/32", []string{"2001:db8::1", "2001:DB8:0::1"}, []string{"2001:db9::1", "10.0.0.1"}},
		{ipForm, "192.0.2.7", []string{"192.0.2.7"}, []string{"192.0.2.8", "192.0.2.07"}},
		{emailForm, "*@example.net", []string{"anna@example.net", "a+b@EXAMPLE.net"},
			[]string{"a.b@example.net", "anna@mail.example.net", "@example.net", "a@b@example.net", "\"a b\"@example.net", "anna@example.net.", "*@example.net"}},
		{emailForm, "**@*.example.net", []string{"a.b@x.example.net"}, []string{"a.b@example.net", "a..b@x.example.net", ".a@x.example.net"}},
		{uriForm, "https://*.example.net/device/*",
			[]string{"https://a.example.net/device/1", "HTTPS://A.example.net/device/x.y"},
			[]string{"https://a.b.example.net/device/1", "https://a.example.net/device/1/2", "http://a.example.net/device/1",
				"https://a.example.net:8443/device/1", "https://u@a.example.net/device/1", "https://evil.test/a.example.net/device/1",
				"https://evil.test#.example.net/device/1", "https://evil.test?.example.net/device/1", "https://a.example.net/device/1?x",
				"https://a.example.net/device/..", "https://a.example.net/device/%2e%2e", "https://a.example.net/device/a%2Fb", "https://a.example.net/device/*"}},
		{uriForm, "https://a.example/x/**", []string{"https://a.example/x/1/2"}, []string{"https://a.example/x/1/../2", "https://a.example/x/1?y"}},
		{uriForm, "urn:uuid:*", []string{"urn:uuid:f81d4fae-7dec", "URN:uuid:1"}, []string{"urn:uuid:a:b", "urn:oid:1", "urn:uuid:a/b"}},
		{uriForm, "spiffe://example.net/*", []string{"spiffe://example.net/router"}, []string{"spiffe://example.net/a/b"}},
		{uriForm, "http://[2001:db8::1]/", []string{"http://[2001:DB8::1]/"}, []string{"http://[2001:db8::2]/"}},
		{textForm, "Acme * GmbH", []string{"Acme Routers GmbH", "Acme Müller GmbH"},
			[]string{"Acme A. GmbH", "acme x GmbH", "Acme x GmbH ", "Acme x\x00 GmbH", "Acme \u202ex GmbH"}},
		{textForm, "**", []string{"A. B. C", "Ä"}, []string{"", " ", "a\tb"}},
		{identifierForm, "rtr-*.branch.example.net",
			[]string{"rtr-1.branch.example.net", "RTR-1.branch.example.net"},
			[]string{"rtr-а.branch.example.net", "rtr-1.x.branch.example.net", "rtr-1 .branch.example.net", "rtr-1.branch.example.net."}},
		{identifierForm, "device-*", []string{"device-00:11", "device-a b"}, []string{"device-a.b", "device-\u0430", "Device-1"}},
		{identifierForm, "Jörg Müller", []string{"Jörg Müller"}, []string{"Jorg Muller"}},
		{identifierForm, "10.0.0.1", []string{"10.0.0.1"}, []string{"10.0.0.2", "10a0.0.1"}},
	} {
		for _, value := range test.takes {
			if !test.form.takes(t, test.pattern, value) {
				t.Errorf("the %s pattern %q refuses %q", test.form.name, test.pattern, value)
			}
		}
		for _, value := range test.refuses {
			if test.form.takes(t, test.pattern, value) {
				t.Errorf("the %s pattern %q takes %q", test.form.name, test.pattern, value)
			}
		}
	}
}

func TestAWildcardNameNeedsThePatternItself(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		wildcard      bool
		want          bool
	}{
		{"*.example.net", "*.example.net", true, true},
		{"*.example.net", "*.EXAMPLE.net", true, true},
		{"*.example.net", "*.example.net", false, false},
		{"*.*.example.net", "*.a.example.net", true, true},
		{"**.example.net", "*.example.net", true, false},
		{"rtr-*.example.net", "*.example.net", true, false},
		{"*.example.net", "a*.example.net", true, false},
		{"*.*.example.net", "*.*.example.net", true, false},
		{"*.example.net", "*", true, false},
		{"*.example.net", "*.", true, false},
		{"*", "*.example.net", true, false},
	} {
		p, err := compileDNS(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		rule := nameRule{form: dnsForm, bounded: true, wildcard: test.wildcard, allow: []pattern{p}}
		if _, err := rule.accepts(test.name); (err == nil) != test.want {
			t.Errorf("pattern %q, wildcard %v, name %q: %v", test.pattern, test.wildcard, test.name, err)
		}
	}
}

func TestDenyReachesIntoWildcardNames(t *testing.T) {
	for _, test := range []struct {
		deny, name string
		want       bool
	}{
		{"secret.example.net", "*.example.net", true},
		{"**.corp.example.net", "*.corp.example.net", true},
		{"**.corp.example.net", "*.a.corp.example.net", true},
		{"**.corp.example.net", "*.example.net", false},
		{"secret.example.net", "*.corp.example.net", false},
		{"localhost", "LOCALHOST", true},
	} {
		p, err := compileDNS(test.deny)
		if err != nil {
			t.Fatal(err)
		}
		guard := guardrails{deny: map[sanKey]denyRule{{form: csr.DNS}: {form: dnsForm, patterns: []pattern{p}}}}
		if _, _, denied := guard.denies(sanKey{form: csr.DNS}, test.name); denied != test.want {
			t.Errorf("deny %q, name %q: denied is %v", test.deny, test.name, denied)
		}
	}
}

func TestMatchingTakesLinearTime(t *testing.T) {
	p, err := compileText(strings.Repeat("*a", 100) + "b")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if p.match(strings.Repeat("a", 16<<10)) {
		t.Error("the pattern took a value without its last letter")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("one match took %v", took)
	}
}

// naiveDNS is the definition of DNS patterns, word for word.
func naiveDNS(labels, name []string) bool {
	if len(labels) == 0 || len(name) == 0 {
		return len(labels) == len(name)
	}
	if labels[0] != "**" {
		return naiveLabel(labels[0], name[0]) && naiveDNS(labels[1:], name[1:])
	}
	for n := 1; n <= len(name); n++ {
		if naiveDNS(labels[1:], name[n:]) {
			return true
		}
	}
	return false
}

func naiveLabel(pattern, label string) bool {
	if pattern == "" || pattern[0] != '*' {
		return pattern == label || pattern != "" && label != "" && pattern[0] == label[0] && naiveLabel(pattern[1:], label[1:])
	}
	for n := 0; n <= len(label); n++ {
		if naiveLabel(pattern[1:], label[n:]) {
			return true
		}
	}
	return false
}

func FuzzDNSPattern(f *testing.F) {
	f.Add("*.branch.example.net", "rtr-1.branch.example.net")
	f.Add("**.a", "b.c.a")
	f.Add("a.**.b*c.**", "a.x.y.bzc.d")
	f.Add("*-*", "a-b-c")
	f.Add("**", "*.a")
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.Count(text, "*") > 8 {
			return // the naive matcher isn't linear
		}
		p, err := compileDNS(text)
		if err != nil {
			return
		}
		name, err := spellDNS(value)
		if err != nil || strings.Contains(name, "*") {
			if p.match(value) {
				t.Errorf("%q takes %q, which isn't a plain name", text, value)
			}
			return
		}
		labels, err := dnsLabels(text)
		if err != nil {
			t.Fatal(err)
		}
		want := naiveDNS(labels, strings.Split(name, "."))
		if got := p.match(value); got != want {
			t.Errorf("%q takes %q: %v, and the naive matcher says %v", text, value, got, want)
		}
	})
}

func FuzzTextPattern(f *testing.F) {
	f.Add("Acme * GmbH", "Acme Routers GmbH")
	f.Add("**x", "a.bx")
	f.Add("*.*", "a.b")
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.Count(text, "*") > 8 || len(value) > 200 {
			return
		}
		p, err := compileText(text)
		if err != nil {
			return
		}
		if _, err := spellText(value); err != nil {
			return
		}
		if got, want := p.match(value), naiveText([]rune(text), []rune(value)); got != want {
			t.Errorf("%q takes %q: %v, and the naive matcher says %v", text, value, got, want)
		}
	})
}

func naiveText(pattern, value []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(value) == 0
	case pattern[0] != '*':
		return len(value) > 0 && value[0] == pattern[0] && naiveText(pattern[1:], value[1:])
	}
	least, rest, crosses := 0, pattern[1:], false
	if len(rest) > 0 && rest[0] == '*' {
		least, rest, crosses = 1, rest[1:], true
	}
	for n := 0; n <= len(value); n++ {
		if n >= least && naiveText(rest, value[n:]) {
			return true
		}
		if n < len(value) && value[n] == '.' && !crosses {
			return false
		}
	}
	return false
}

func FuzzForms(f *testing.F) {
	for _, seed := range [][2]string{
		{"10.0.0.0/8", "10.1.2.3"}, {"*@example.net", "a@example.net"}, {"https://*.a/b/*", "https://x.a/b/c"},
		{"urn:*", "urn:x"}, {"::1", "::1"}, {"rtr-*.a", "rtr-1.a"}, {"b\u00fccher.example", "xn--bcher-kva.example"},
		{"1.2.*", "1.2.3"}, {"1.2.3/sn*", "1.2.3/sn1"}, {"1.2.3/0*", "1.2.3/0a"}, {"CN=*+O=b,C=DE", "O=b+CN=a, C=DE"},
		{"utf8:*", "utf8:x"}, {"ia5:**", "ia5:x.y"}, {"oid:1.**", "oid:1.2"}, {"der:MAA=", "der:MAA="},
	} {
		f.Add(seed[0], seed[1])
	}
	forms := []form{dnsForm, ipForm, emailForm, uriForm, textForm, identifierForm,
		upnForm, registeredIDForm, permanentForm, hardwareForm, directoryForm, otherForm("1.2.3")}
	f.Fuzz(func(t *testing.T, text, value string) {
		for _, form := range forms {
			spelled, err := form.spell(value)
			if err == nil {
				if again, err := form.spell(spelled); err != nil || again != spelled {
					t.Errorf("%s %q is spelled %q, and that %q (%v)", form.name, value, spelled, again, err)
				}
			}
			p, err := form.compile(text)
			if err != nil {
				continue
			}
			rule := nameRule{form: form, bounded: true, allow: []pattern{p}}
			if _, err := rule.accepts(value); err == nil && strings.Contains(value, "*") {
				t.Errorf("the %s pattern %q takes %q", form.name, text, value)
			}
		}
	})
}
