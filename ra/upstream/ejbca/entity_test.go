// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/upstream"
)

func subject(pairs ...string) (name csr.Name) {
	for i := 0; i < len(pairs); i += 2 {
		oid, _ := csr.TypeOID(pairs[i])
		name = append(name, csr.RDN{csr.NewAttributeValue(oid, pairs[i+1])})
	}
	return name
}

func TestASubjectIsWrittenAsEJBCAReadsIt(t *testing.T) {
	for name, c := range map[string]struct {
		subject csr.Name
		text    string
		err     string
	}{
		"words of its own":        {subject("2.5.4.3", "plc-1", "2.5.4.5", "SN-7", "2.5.4.17", "10115"), "CN=plc-1,SN=SN-7,POSTALCODE=10115", ""},
		"what parts a DN":         {subject("2.5.4.10", "A, B + C = D"), `O=A\, B \+ C \= D`, ""},
		"other signs":             {subject("2.5.4.10", "Größe & Sons <Ltd>"), "O=Größe & Sons <Ltd>", ""},
		"none":                    {nil, "", "no subject"},
		"a type that it lacks":    {subject("2.5.4.65", "x"), "", "can't be told the subject's"},
		"one type twice":          {subject("2.5.4.11", "A", "2.5.4.11", "B"), "", "one OU of the subject"},
		"what EJBCA replaces":     {subject("2.5.4.3", "a;b"), "", "would not give the subject's CN"},
		"a quote":                 {subject("2.5.4.3", `a"b`), "", "would not give"},
		"a backslash":             {subject("2.5.4.3", `a\b`), "", "would not give"},
		"a line":                  {subject("2.5.4.3", "a\nb"), "", "one text in each RDN"},
		"hexadecimal":             {subject("2.5.4.3", "#0c01"), "", "would not give"},
		"a space at the end":      {subject("2.5.4.3", "a "), "", "would not give"},
		"an empty value":          {subject("2.5.4.3", ""), "", "one text in each RDN"},
		"two attributes together": {csr.Name{append(subject("2.5.4.3", "a")[0], subject("2.5.4.5", "b")[0]...)}, "", "one text in each RDN"},
	} {
		text, err := subjectText(c.subject)
		if c.err == "" && (err != nil || text != c.text) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestASANIsWrittenAsEJBCAReadsIt(t *testing.T) {
	san := []csr.GeneralName{{Form: csr.DNS, Value: "*.example"}, {Form: csr.IP, Value: "2001:db8::7"}, {Form: csr.Email, Value: "a@example"}, {Form: csr.URI, Value: "urn:example:7"}}
	text, err := sanText(san)
	if want := "dNSName=*.example, iPAddress=2001:db8::7, rfc822Name=a@example, uniformResourceId=urn:example:7"; err != nil || text != want {
		t.Errorf("%q, %v", text, err)
	}
	for name, g := range map[string]csr.GeneralName{
		"an IPv4 address in IPv6":    {Form: csr.IP, Value: "::ffff:192.0.2.7"},
		"a comma":                    {Form: csr.URI, Value: "urn:a,dNSName=evil.example"},
		"an equals sign":             {Form: csr.URI, Value: "https://example/a=b"},
		"a query":                    {Form: csr.URI, Value: "https://example/?a"},
		"a form that isn't told":     {Form: csr.RegisteredID, Value: "1.2.3"},
		"a name that would be empty": {Form: csr.DNS},
	} {
		if text, err := sanText([]csr.GeneralName{g}); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// What is written has as many parts as there were values, whatever they are.
func FuzzSubject(f *testing.F) {
	f.Add("plc-1", "Example, Inc")
	f.Add(`a\`, "b")
	f.Fuzz(func(t *testing.T, cn, o string) {
		text, err := subjectText(subject("2.5.4.3", cn, "2.5.4.10", o))
		if err != nil {
			return
		}
		plain := strings.NewReplacer(`\,`, "", `\+`, "", `\=`, "").Replace(text)
		if strings.Count(plain, ",") != 1 || strings.Count(plain, "=") != 2 || strings.ContainsAny(plain, "+\\;\n") {
			t.Errorf("%q", text)
		}
	})
}

// Whatever a server says is no panic, and fits into a line.
func FuzzAnswers(f *testing.F) {
	f.Add(202, []byte(`{"info_message":"x","request_id":7}`), "approval 7 estra-1")
	f.Add(400, []byte(`{"error_message":"x"}`), "MIIB")
	f.Fuzz(func(t *testing.T, status int, body []byte, text string) {
		e := refused(upstream.Answer{Status: status, Body: body}, time.Unix(1, 0))
		if strings.ContainsAny(e.Text(), "\n\r\x1b\x00") {
			t.Errorf("%q", e.Text())
		}
		if c, err := certificateOf(text); err == nil && c == nil {
			t.Error("neither a certificate nor an error")
		}
		if name, _, ok := waitingOf(text); ok && name == "" {
			t.Errorf("%q has no name", text)
		}
	})
}
