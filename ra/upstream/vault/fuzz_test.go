// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
)

// Whatever a server says is no panic, fits into a line, and never shows our
// token.
func FuzzRefusal(f *testing.F) {
	const token = secret.Text("hvs.CAESIFuzz")
	for _, body := range []string{
		`{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, `{"errors":[]}`, `{"errors":[""]}`, `{"errors":["hvs.CAESIFuzz"]}`,
		"hvs.CAESIFuzz", `[]`, "\x00\xff", `{"errors":"x"}`, `{"errors":["estra refuses: no"]}`, "",
	} {
		for _, status := range []int{400, 403, 429, 500, 503} {
			f.Add(status, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := refused(upstream.Answer{Status: status, Body: body}, testTime, token)
		text := e.Text()
		if strings.Contains(text, string(token)) || strings.ContainsAny(text, "\n\r\x1b\x00") || len(text) > 2*upstream.MaxText {
			t.Errorf("%q", text)
		}
		if e.Kind == ra.Fault || e.Kind == ra.Nonconforming {
			t.Errorf("%v", e.Kind)
		}
	})
}

func FuzzIssuer(f *testing.F) {
	f.Add([]byte(`{"data":{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----","ca_chain":[]}}`))
	f.Add([]byte(`{"data":{"certificate":5}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		certs, err := readIssuer(body)
		if err == nil && len(certs) == 0 || err != nil && len(certs) > 0 {
			t.Errorf("%d certificates, and %v", len(certs), err)
		}
	})
}

func FuzzRightRole(f *testing.F) {
	f.Add(uint8(0), []byte(`{"data":{"use_csr_sans":true}}`))
	f.Add(uint8(2), []byte(`{"data":{"cel_program":{"expression":"request.estra"}}}`))
	f.Fuzz(func(t *testing.T, mode uint8, body []byte) {
		if err := rightRole(Mode(mode), body); err == nil && !json.Valid(body) {
			t.Errorf("%q is a role", body)
		}
	})
}

// What isHost takes, Vault keeps.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.example", "*.a.example", "_x.example", "a..b", "-a", "a-", "A1", "", "*", "*.", "a.", strings.Repeat("a", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if isHost(s) && !kept.MatchString(s) {
			t.Errorf("%q would be dropped", s)
		}
	})
}

var (
	testTime = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	// kept is Vault's own pattern of host names.
	kept = regexp.MustCompile(`^(\*\.)?(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])\.?$`)
)
