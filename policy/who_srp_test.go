// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
)

const srpPolicy = `version: 1
name: srp
profiles:
  all:
    labels: [""]
    enroll:
      who:
        - srp: {realm: devices, user: "sensor-*"}
        - all: [srp: {realm: labs}, http_basic: {users: [anna]}]
        - srp: {realm: devices, user: [bench, "sensor-*"]}
        - srp: {realm: labs, user: "sensor-*"}
        - srp: {realm: labs, user: "sensor-*"}
      linking: if_present
    serverkeygen: {enabled: true}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func compiledSRP(t *testing.T) *Policy {
	t.Helper()
	file, err := Parse("policy.yaml", []byte(srpPolicy))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestALineOfARealmThatNoListenerHasIsRefused(t *testing.T) {
	p := compiledSRP(t)
	for _, c := range []struct {
		name  string
		known []string
		want  string
	}{
		{"both are there", []string{"labs", "devices"}, ""},
		{"one is spelled otherwise", []string{"device", "labs"}, "policy.yaml:8:11: no `est_srp` of the Caddyfile has the realm \"devices\"; did you mean `device`?; there is: \"device\", \"labs\"\n" +
			"policy.yaml:10:11: no `est_srp` of the Caddyfile has the realm \"devices\"; did you mean `device`?; there is: \"device\", \"labs\""},
		{"there is no listener", nil, "policy.yaml:8:11: nobody can prove to be a user of the realm \"devices\": no listener of the Caddyfile has `est_srp`"},
	} {
		got := ""
		if err := p.BindRealms(c.known); err != nil {
			got = err.Error()
		}
		if got != c.want && (c.known != nil || !strings.HasPrefix(got, c.want) || strings.Count(got, "\n") != 4) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestALineForUsersOfARealmIsLookedAt(t *testing.T) {
	var shadowed, unbound []int
	for _, f := range compiledSRP(t).Lint() {
		switch f.Lint {
		case lintShadowedLine:
			shadowed = append(shadowed, f.Pos.Line)
		case lintUnboundDevice:
			unbound = append(unbound, f.Pos.Line)
		}
	}
	if len(shadowed) != 1 || shadowed[0] != 12 {
		t.Errorf("lines %v never decide, want 12 alone", shadowed)
	}
	if len(unbound) != 5 {
		t.Errorf("lines %v bind no name, want all", unbound)
	}
}
