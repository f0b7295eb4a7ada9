// SPDX-License-Identifier: Apache-2.0

package module

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/policy"
)

const graceful = `
version: 1
name: graceful
default: routers
profiles:
  routers:
    labels: [routers]
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours, matches: names}}], linking: if_present, expired: 45d}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestWhatIsKeptIsWhatIsWrittenAndWhatRenewalsNeed(t *testing.T) {
	file, err := policy.Parse("policy.yaml", []byte(graceful))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		what                    string
		retention               *RetentionConfig
		certificates, passwords time.Duration
	}{
		{"without the option certificates stay", nil, 0, 90 * day},
		{"as it is written", &RetentionConfig{caddy.Duration(400 * day), caddy.Duration(30 * day)}, 400 * day, 30 * day},
		{"for ever", &RetentionConfig{-1, -1}, 0, 0},
		{"no shorter than a certificate may be renewed", &RetentionConfig{Certificates: caddy.Duration(10 * day)}, 46 * day, 90 * day},
	} {
		a := &App{handlers: []*Handler{{policy: compiled}}}
		if err := a.wantRetention(c.retention); err != nil {
			t.Fatal(err)
		}
		if got := a.kept(); got.Certificates != c.certificates || got.Passwords != c.passwords || got.Pause == 0 {
			t.Errorf("%s: %+v", c.what, got)
		}
	}
}

func TestSitesHaveOneRetention(t *testing.T) {
	a := &App{}
	for _, c := range []struct {
		retention *RetentionConfig
		refused   bool
	}{
		{nil, false},
		{&RetentionConfig{Certificates: caddy.Duration(time.Hour)}, true},
		{&RetentionConfig{Certificates: caddy.Duration(48 * time.Hour)}, false},
		{nil, false},
		{&RetentionConfig{Certificates: caddy.Duration(48 * time.Hour)}, false},
		{&RetentionConfig{Certificates: caddy.Duration(72 * time.Hour)}, true},
	} {
		if err := a.wantRetention(c.retention); (err != nil) != c.refused {
			t.Errorf("%+v: %v", c.retention, err)
		}
	}
}
