// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"
)

func TestPatternsOfFurtherFormsTakeWhatTheySay(t *testing.T) {
	other := otherForm("1.2.3")
	for _, test := range []struct {
		form    form
		pattern string
		takes   []string
		refuses []string
	}{
		{dnsForm, "b\u00fccher.example", []string{"xn--bcher-kva.example", "XN--BCHER-KVA.example"}, []string{"b\u00fccher.example", "bcher.example"}},
		{dnsForm, "*.B\u00dcCHER.example", []string{"www.xn--bcher-kva.example"}, []string{"xn--bcher-kva.example"}},
		{dnsForm, "xn--*.example", []string{"xn--bcher-kva.example"}, []string{"xn--a.example", "xn--zz-.example"}},
		{dnsForm, "*.example", []string{"xn--bcher-kva.example", "xn--fa-hia.example"}, []string{
			"xn--.example", "xn--a.example", // no U-label
			"xn--bcher-kva8445foa.example", // of other letters than it says
			"xn--i-7iq.example",            // a heart is a symbol: RFC 5892
			"xn--ll-0ea-.example",          // ends with a hyphen
			"xn--a-0ea.example",            // a middle dot without its l
			"xn--xn--bcher-kva-.example"}},
		{emailForm, "*@b\u00fccher.example", []string{"a@xn--bcher-kva.example"}, []string{"a@b\u00fccher.example", "a@xn--a.example"}},
		{uriForm, "https://b\u00fccher.example/*", []string{"https://xn--bcher-kva.example/a"}, []string{"https://xn--a.example/a"}},

		{upnForm, "*@corp.example", []string{"anna@corp.example", "anna@CORP.example"},
			[]string{"anna.b@corp.example", "anna@x.corp.example", "anna", "*@corp.example", "j\u00f6rg@corp.example", ""}},
		{upnForm, "**@**.corp.example", []string{"a.b@x.corp.example"}, []string{"a.b@corp.example", "a@b@x.corp.example"}},

		{registeredIDForm, "1.3.6.1.4.1.32473.*", []string{"1.3.6.1.4.1.32473.1"}, []string{"1.3.6.1.4.1.32473", "1.3.6.1.4.1.32473.1.2", "1.3.6.1.4.1.324731.1", "01.3"}},
		{registeredIDForm, "1.3.**", []string{"1.3.6", "1.3.6.1.4"}, []string{"1.3", "2.3.6"}},
		{registeredIDForm, "**", []string{"1.3", "2.999.1"}, []string{"", "1", "3.1", "1.2.x"}},
		{registeredIDForm, "1.2.3", []string{"1.2.3"}, []string{"1.2.30", "1.2.3.4", "1.2.03"}},

		{permanentForm, "1.2.3/SN-*", []string{"1.2.3/SN-7", "1.2.3/SN-a/b"}, []string{"/SN-7", "1.2.4/SN-7", "1.2.3/SN-7.1", "1.2.3/sn-7", "1.2.3/SN-\u0430", "SN-7", "1.2.3/"}},
		{permanentForm, "/**", []string{"/a.b"}, []string{"1.2.3/a.b", "/", "/ a"}},
		{permanentForm, "1.2.*/**", []string{"1.2.3/a", "1.2.4/a.b"}, []string{"1.2.3.4/a"}},

		{hardwareForm, "1.2.3/00a1*", []string{"1.2.3/00a1", "1.2.3/00a1ff", "1.2.3/00A1FF"}, []string{"1.2.3/00a2", "1.2.4/00a1", "1.2.3/00a1f", "1.2.3/", "1.2.3/00a1fg", "00a1"}},
		{hardwareForm, "1.2.3.*/*", []string{"1.2.3.4/ff"}, []string{"1.2.3/ff", "1.2.3.4.5/ff"}},
		{hardwareForm, "1.2.3/0A", []string{"1.2.3/0a"}, []string{"1.2.3/0b"}},

		{directoryForm, "O=Acme *,CN=rtr-*.example",
			[]string{"O=Acme Routers, CN=rtr-1.example", "O=Acme Routers,CN=RTR-1.example"},
			[]string{"CN=rtr-1.example, O=Acme Routers", "O=Acme Routers", "O=Acme Routers, CN=rtr-1.example, OU=x", "O=Acme Routers+CN=rtr-1.example",
				"O=Acme R., CN=rtr-1.example", "O=acme Routers, CN=rtr-1.example", "O=Acme Routers, CN=rtr-1.x.example", "O=Acme Routers, O=rtr-1.example",
				"O=Acme Routers, CN=#0500", "O=Acme Routers, CN=*.example", "O=Acme \u202ex, CN=rtr-1.example", ""}},
		{directoryForm, "CN=*+serialNumber=7",
			[]string{"CN=a+serialNumber=7", "serialNumber=7+CN=a"},
			[]string{"CN=a, serialNumber=7", "CN=a", "CN=a+serialNumber=8", "CN=a+CN=b", "CN=a+serialNumber=7+O=x", "CN=a+serialNumber=7+serialNumber=7"}},
		{directoryForm, "emailAddress=*@example.net", []string{"emailAddress=a@EXAMPLE.net"}, []string{"emailAddress=a@b@example.net"}},
		{directoryForm, `O=a\,b`, []string{`O=a\,b`, `O=a\2Cb`}, []string{"O=a, O=b"}},
		{directoryForm, "1.2.3.4=**", []string{"1.2.3.4=a.b"}, []string{"1.2.3.5=a"}},

		{other, "utf8:J* M*", []string{"utf8:J\u00f6rg M\u00fcller"}, []string{"ia5:J M", "utf8:J. M", "utf8:J M ", "J M"}},
		{other, "ia5:_*.example", []string{"ia5:_sip.example"}, []string{"ia5:_sip.x.example", "utf8:_sip.example"}},
		{other, "ia5:**", []string{"ia5:a.b"}, []string{"ia5:\u00e4", "ia5:"}},
		{other, "oid:1.2.*", []string{"oid:1.2.3"}, []string{"oid:1.2", "utf8:1.2.3", "oid:x"}},
		{other, "der:MAMCAQE=", []string{"der:MAMCAQE="}, []string{"der:MAMCAQI=", "der:MAMCAQE", "der:"}},
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

func TestPatternsThatCanNeverMatchAreRefused(t *testing.T) {
	other := otherForm("1.2.3")
	for _, test := range []struct {
		form          form
		pattern, want string
	}{
		{dnsForm, "xn--a.example", "begins with xn--"},
		{dnsForm, "b\u00fc*.example", "has * in an international label"},
		{dnsForm, "\u2665.example", "no international one"},
		{dnsForm, "a\u00b7b.example", "no international one"},
		{dnsForm, "a\u3002example", "no international one"},
		{dnsForm, strings.Repeat("\u00fc", 60) + ".example", "no international one"},
		{dnsForm, "10.0.0.1", "it is an IP address"},
		{dnsForm, strings.Repeat("a.", 130) + "b", "no DNS name is that long"},
		{emailForm, "*@xn--a", "its domain can't match"},
		{uriForm, "https://xn--a/", "its host can't match"},
		{upnForm, "anna", "not of the form local@domain"},
		{registeredIDForm, "1.2.3*", "it is not an OID such as"},
		{registeredIDForm, "*", "it is not an OID such as"},
		{registeredIDForm, "3.1", "it is not an OID such as"},
		{registeredIDForm, "1.40", "it is not an OID such as"},
		{registeredIDForm, "1.02", "it is not an OID such as"},
		{registeredIDForm, "CN", "it is not an OID such as"},
		{registeredIDForm, "1.***", "more than two *"},
		{permanentForm, "SN-1", "not of the form ASSIGNER/VALUE"},
		{permanentForm, "x/SN-1", "its assigner can't match: it is not an OID such as"},
		{permanentForm, "1.2.3/", "its value can't match: it is empty"},
		{permanentForm, "/ a", "its value can't match: it begins or ends with a space"},
		{hardwareForm, "00a1", "not of the form TYPE/SERIAL"},
		{hardwareForm, "1.2.3/0g", "not of the form TYPE/SERIAL"},
		{hardwareForm, "1.2.3/", "two hexadecimal digits for each byte"},
		{hardwareForm, "1.2.3/0a1", "two hexadecimal digits for each byte"},
		{hardwareForm, "1.2.3/**", "write *"},
		{hardwareForm, "x/0a", "its type can't match"},
		{directoryForm, "", "it is empty"},
		{directoryForm, "CN", "want TYPE=VALUE"},
		{directoryForm, "cn=a", "neither a known attribute"},
		{directoryForm, "CN=a***", "more than two *"},
		{directoryForm, "CN=", "its CN can match no name: it is empty"},
		{directoryForm, `CN=a\2Ab`, "it has an escaped *"},
		{directoryForm, "CN=#0C0161", "its CN is not text"},
		{directoryForm, "CN=a+CN=b", "the attribute CN twice in one RDN"},
		{directoryForm, "emailAddress=a", "its emailAddress can match no mail address"},
		{directoryForm, "CN=-a.example", "no label begins or ends with a hyphen"},
		{other, "a", "begins with none of utf8:"},
		{other, "utf8:", "it is empty"},
		{other, "ia5:\u00e4", "an IA5String is ASCII"},
		{other, "oid:x", "it is not an OID such as"},
		{other, "der:@", "not base64"},
		{other, "der:", "not exactly one"},
		{other, "der:DAFh", `written "utf8:a"`},
		{other, "utf8:" + strings.Repeat("a", 1100), "longer than 1024"},
	} {
		if p, err := test.form.compile(test.pattern); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("the %s pattern %q: %q, error %v; want %q", test.form.name, test.pattern, p.text, err, test.want)
		}
	}
}

func TestInternationalLabels(t *testing.T) {
	for label, want := range map[string]string{
		"b\u00fccher": "xn--bcher-kva", "stra\u00dfe": "xn--strae-oqa", "l\u00b7l": "xn--ll-0ea", "\u4f8b\u3048": "xn--r8jz45g",
		"\u05d0\u05f3": "xn--4db4e", "\u30a2\u30fb\u30a2": "xn--ccka0y",
	} {
		if got, err := toALabel(label); got != want || err != nil {
			t.Errorf("%s is %q, error %v; want %s", label, got, err, want)
		}
	}
	for _, label := range []string{"\u2665", "a\u00b7b", "a\u30fbb", "\u05f3", "\u0660\u06f0", "a\u200db", "-\u00fc", "\u0300a", "\u00fc\u2024"} {
		if got, err := toALabel(label); err == nil {
			t.Errorf("%+q is taken as %q", label, got)
		}
	}
}

// The inner loop of each form, with values of different lengths: the time
// grows with the length and no faster.
func BenchmarkMatch(b *testing.B) {
	long := func(piece string, n int) string { return strings.Repeat(piece, n/len(piece)) }
	for _, form := range []struct {
		name    string
		form    form
		pattern string
		value   func(n int) string
	}{
		{"dns", dnsForm, "**.a*a*a*a.**.example", func(n int) string { return long("aa.", min(n, 240)) + "example" }},
		{"email", emailForm, "*a*a*a*@**.example", func(n int) string { return long("a", n) + "@a.example" }},
		{"uri", uriForm, "https://**.example/**a**a**b", func(n int) string { return "https://a.example/" + long("a/", n) }},
		{"text", textForm, "**a**a**a**b", func(n int) string { return long("a", n) }},
		{"oid", registeredIDForm, "1.**.2.**.2.**.3", func(n int) string { return "1" + long(".2", n) }},
		{"permanent_identifier", permanentForm, "1.**/**a**a**b", func(n int) string { return "1.2/" + long("a", n) }},
		{"hardware_module_name", hardwareForm, "1.**/*a*a*a*b", func(n int) string { return "1.2/" + long("aa", n) }},
		{"directory_name", directoryForm, "O=**a**a**b,CN=**a**a**b", func(n int) string { return "O=" + long("a", n/2) + ", CN=" + long("a", n/2) }},
		{"other_name", otherForm("1.2.3"), "utf8:**a**a**b", func(n int) string { return "utf8:" + long("a", n) }},
	} {
		p, err := form.form.compile(form.pattern)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{128, 1024, 8192} {
			value := form.value(n)
			b.Run(fmt.Sprintf("%s/%d", form.name, n), func(b *testing.B) {
				b.SetBytes(int64(len(value)))
				for b.Loop() {
					p.match(value)
				}
			})
		}
	}
}
