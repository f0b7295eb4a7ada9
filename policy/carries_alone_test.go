// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-est/estra/policy/csr"
)

const carried = `version: 1
name: what a CA can be told
default: any
profiles:
  any:
    enroll:
      who: [{http_basic: {users: [u]}}WHO]
      linking: if_present
    subject:
      CN: {allow: ["**"]}
SUBJECT
    san:
      dns: {allow: ["**"]}
SAN
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
REST
`

func TestBindRefusesWhatACAOfFewNamesCannotWrite(t *testing.T) {
	few := Capabilities{
		KeyUsage: true, ExtKeyUsage: true, Alone: true, SubjectTypes: []string{commonName, serialNumber, "2.5.4.8"},
		Fixed: []string{"2.5.4.10", "2.5.4.11"}, SANForms: []csr.NameForm{csr.DNS, csr.OtherName}, OtherName: "utf8",
	}
	everything := Capabilities{Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true, Extensions: true}
	passes := Capabilities{KeyUsage: true, ExtKeyUsage: true, Alone: true, PassedTypes: []string{commonName}, PassedForms: []csr.NameForm{csr.DNS}}
	verbatim := Capabilities{KeyUsage: true, ExtKeyUsage: true, Verbatim: true}
	for name, c := range map[string]struct {
		subject, san, who, rest string
		can                     Capabilities
		others                  []string
		want                    string // "": it is bound
	}{
		"a type that can be told":                         {subject: `serialNumber: {set: "SN-7"}`, can: few},
		"a type that a request may have":                  {subject: `ST: {allow: ["**"]}`, can: few},
		"a type that nobody can tell":                     {subject: `title: {set: "Dr"}`, can: few, want: `policy.yaml:11:15: the upstream "ca" can't be told the subject's title, which ` + "`profiles.any.subject.title.set` decides"},
		"a type that nobody can tell, of a request":       {subject: `title: {allow: ["**"]}`, can: few, want: `policy.yaml:11:7: the upstream "ca" can't be told the subject's title of a request`},
		"a type that two CAs can be told":                 {subject: `title: {set: "Dr"}`, can: few, others: []string{"b", "a"}, want: "decides; this one can: \"a\", \"b\""},
		"a fixed type with a value":                       {subject: `O: {set: "Example"}`, can: few},
		"a fixed type with two values":                    {subject: `OU: {set: [A, B]}`, can: few, want: "can't be told the subject's OU more than once"},
		"a fixed type of a request":                       {subject: `O: {allow: ["**"]}`, can: few, want: "can't be told the subject's O of a request"},
		"a fixed type with an expression":                 {subject: `O: {set: {cel: "'Ex' + 'ample'"}}`, can: few, want: "can't be told the subject's O, which"},
		"a fixed type with another value for somebody":    {subject: `O: {set: "Example"}`, who: `, {http_basic: {users: [v]}, set: {subject: {O: "Other"}}}`, can: few, want: "policy.yaml:7:84: the upstream \"ca\" can't be told the subject's O, which"},
		"a fixed type for somebody alone":                 {who: `, {http_basic: {users: [v]}, set: {subject: {O: "Other"}}}`, can: few, want: "can't be told the subject's O, which"},
		"an attribute beside another":                     {subject: `serialNumber: {set: "SN-7", beside: CN}`, can: few, want: "can't be told several attributes in one RDN of the subject"},
		"a kind of name that can be told":                 {san: `upn: {allow: ["**@**"]}`, can: few},
		"a kind of name that can't":                       {san: `ip: {allow: ["0.0.0.0/0"]}`, can: few, want: `policy.yaml:14:7: the upstream "ca" can't be told the IP address in the SAN, which`},
		"an otherName of text":                            {san: `other_name: {"1.3.6.1.5.5.7.8.9": {set: "utf8:a@b.example"}}`, can: few},
		"an otherName of something else":                  {san: `other_name: {"1.3.6.1.4.1.32473.1.9": {set: "oid:1.2.3"}}`, can: few, want: "can't be told the otherName 1.3.6.1.4.1.32473.1.9 in the SAN"},
		"every name, where nothing is narrow":             {subject: `title: {set: "Dr"}`, san: `ip: {allow: ["0.0.0.0/0"]}`, can: everything},
		"names of a request that pass":                    {subject: `title: {allow: ["**"]}`, san: `ip: {allow: ["0.0.0.0/0"]}`, can: verbatim},
		"a name that is set where requests pass":          {subject: `title: {set: "Dr"}`, can: verbatim, want: "can't be told the subject's title, which"},
		"names of a request that pass alone":              {can: passes},
		"a name of a request that doesn't pass":           {san: `ip: {allow: ["0.0.0.0/0"]}`, can: passes, want: `policy.yaml:14:7: the upstream "ca" can't be told the IP address in the SAN, which`},
		"an attribute of a request that doesn't pass":     {subject: `O: {allow: ["**"]}`, can: passes, want: "can't be told the subject's O of a request"},
		"a name for somebody that is set where it passes": {who: `, {http_basic: {users: [v]}, set: {san: {dns: "a.example"}}}`, can: passes, want: "can't be told the DNS name in the SAN, which"},
		"extensions of a request that pass":               {rest: `    extensions: {allow: ["1.3.6.1.4.1.32473.1.8"]}`, can: verbatim},
		"extensions of a request that don't":              {rest: `    extensions: {allow: ["1.3.6.1.4.1.32473.1.8"]}`, can: few, want: "can't be told further extensions"},
		"extensions that are set where requests pass":     {rest: `    extensions: {set: {"1.3.6.1.4.1.32473.1.2": {utf8: "x"}}}`, can: verbatim, want: "can't be told further extensions"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.NewReplacer("SUBJECT", indented(c.subject), "SAN\n", indented(c.san)+"\n", "WHO", c.who, "REST", c.rest).Replace(carried)
			file, err := Parse("policy.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			p, err := Compile(file, fstest.MapFS{})
			if err != nil {
				t.Fatal(err)
			}
			for _, profile := range p.profiles {
				profile.upstream = "ca"
			}
			upstreams := map[string]Capabilities{"ca": c.can}
			for _, other := range c.others {
				upstreams[other] = everything
			}
			err = p.Bind(Environment{Users: []string{"u", "v"}, Upstreams: upstreams})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			case c.want != "" && strings.Count(err.Error(), "can't be told") != 1:
				t.Errorf("it is said more than once: %v", err)
			}
		})
	}
}

func indented(line string) string {
	if line == "" {
		return ""
	}
	return "      " + line
}
