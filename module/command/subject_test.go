// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"
	"testing"
)

func TestSubjects(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"CN=a":                         "CN=a",
		"O=Example Net,CN=a":           "O=Example Net, CN=a",
		" O = Example Net , CN = a ":   "O=Example Net, CN=a",
		`O=Acme\, Inc., CN=a\+b\\`:     `O=Acme\, Inc., CN=a\+b\\`,
		`CN=\ a\ `:                     `CN=\ a\ `,
		`CN=caf\C3\A9`:                 "CN=café",
		"CN=a+serialNumber=7, O=b":     "CN=a+serialNumber=7, O=b",
		"1.2.3.4=x":                    "1.2.3.4=x",
		"UID=u,DC=example,DC=net,CN=b": "UID=u, DC=example, DC=net, CN=b",
		"CN=":                          "CN=",
		"   ":                          "",
	} {
		name, err := parseSubject(text)
		if err != nil || name.String() != want {
			t.Errorf("%q is %q, error %v; want %q", text, name, err, want)
		}
	}
}

func TestSubjectsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"device":    "want TYPE=VALUE",
		"cn=a":      `"cn" is neither`,
		"CN=a,":     "want TYPE=VALUE",
		"CN=a, b":   "want TYPE=VALUE",
		`CN=a\`:     "escapes nothing",
		`CN=a\zz`:   "no escape",
		`CN=a\4`:    "no escape",
		"/CN=a/O=b": "neither",
		"=a":        "neither",
	} {
		if name, err := parseSubject(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %q, error %v; want %q", text, name, err, want)
		}
	}
}

func TestSANs(t *testing.T) {
	names, err := parseSAN([]string{"a.example", "dns:b.example", "10.0.0.1", "2001:db8::1", "ip:10.0.0.2", "email:a@b.example", "uri:urn:dev:1",
		"upn:a@b.example", "directory_name:CN=a, O=b", "registeredID:1.2.3", "otherName:1.2.3:utf8:a", "permanentIdentifier:/a", "hardwareModuleName:1.2.3/0a"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range names {
		got = append(got, name.String())
	}
	want := "dns:a.example dns:b.example ip:10.0.0.1 ip:2001:db8::1 ip:10.0.0.2 email:a@b.example uri:urn:dev:1 " +
		"upn:a@b.example directoryName:CN=a, O=b registeredID:1.2.3 otherName:1.2.3:utf8:a permanentIdentifier:/a hardwareModuleName:1.2.3/0a"
	if strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, text := range []string{"", "dns:", "ip:dev.example", "email:", "dns:ä.example", "host:a.example", "fe80::1%eth0"} {
		if names, err := parseSAN([]string{text}); err == nil {
			t.Errorf("%q is taken for %q", text, names)
		}
	}
}

func FuzzParseSAN(f *testing.F) {
	f.Add("dns:a.example")
	f.Add("::1")
	f.Add("uri:https://x/")
	f.Fuzz(func(t *testing.T, text string) {
		if names, err := parseSAN([]string{text}); err == nil && len(names) != 1 {
			t.Errorf("%q gives %d names", text, len(names))
		}
	})
}
