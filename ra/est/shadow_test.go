// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/audit"
)

func shadowed(t testing.TB, change func(string) string) func(*site) {
	text := strings.ReplaceAll(change(rules), "BODY", strings.Trim(body, "\n"))
	return func(x *site) { x.Shadow = policyOf(t, text) }
}

// The answer is that of the policy in force, whatever the shadow says.
func TestTheShadowIsRecordedAndChangesNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(string) string
		call   call
		status int
		want   string // in the record's shadow; empty: no difference
	}{
		"the same policy": {func(s string) string { return s }, call{user: right}, http.StatusOK, ""},
		"a name that the shadow refuses": {
			func(s string) string {
				return strings.Replace(s, "BODY", strings.ReplaceAll(strings.Trim(body, "\n"), `CN: {allow: ["**"]}`, `CN: {allow: [nothing]}`), 1)
			},
			call{user: right}, http.StatusOK, "deny",
		},
		"a gate that the shadow opens": {
			func(s string) string {
				return strings.Replace(s, "enroll: {who: [{client_cert: {anchor: idevid}}]", "enroll: {who: [{http_basic: {users: [estuser]}}]", 1)
			},
			call{path: "cert/simpleenroll", user: right}, http.StatusForbidden, "allow gate",
		},
		"a gate that both shut": {
			func(s string) string { return s },
			call{user: "stranger:x"}, http.StatusUnauthorized, "",
		},
		"a label that the shadow lacks": {
			func(s string) string { return strings.ReplaceAll(s, "labels: [devices]", "labels: [machines]") },
			call{path: "devices/simpleenroll", user: right}, http.StatusOK, "deny profiles",
		},
		"a longer life": {
			func(s string) string {
				return strings.Replace(s, "BODY", strings.ReplaceAll(strings.Trim(body, "\n"), "1d", "9d"), 1)
			},
			call{user: right}, http.StatusOK, "allow validity",
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t, shadowed(t, c.change))
			got := x.do(c.call)
			if got.StatusCode != c.status {
				t.Fatalf("status %d, want %d: %s", got.StatusCode, c.status, got.body)
			}
			record, report := x.last(got.Header.Get("X-Request-Id"))
			if text := shadowText(record.Shadow); !strings.HasPrefix(text, c.want) || (c.want == "") != (text == "") {
				t.Errorf("shadow %q, want %q", text, c.want)
			}
			if report.ShadowDiffers != (c.want != "") {
				t.Errorf("the report says %v", report.ShadowDiffers)
			}
		})
	}
}

func shadowText(s *audit.Shadow) string {
	if s == nil {
		return ""
	}
	words := []string{s.Verdict}
	for _, reason := range s.Reasons {
		words = append(words, reason.String())
	}
	for _, part := range s.Plan {
		words = append(words, part.Part)
	}
	return strings.Join(words, " ")
}
