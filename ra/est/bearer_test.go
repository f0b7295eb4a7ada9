// SPDX-License-Identifier: Apache-2.0

package est

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
)

const bearerRules = `
version: 1
name: policy of the bearer tests
default: devices
profiles:
  devices:
    labels: [devices]
    enroll:
      who: [{bearer: {name: staff, subjects: ["sensor-*"]}}]
      linking: if_present
      checks: [{id: group, rule: 'who.claims.group == "sensors"', message: the token is for others}]
    reenroll: {who: [{bearer: {name: staff}}], linking: if_present, same_key: allow}
BODY
  basic:
    labels: [basic]
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present}
BODY
`

// claiming is a token that says whom it is of, and proves nothing.
func claiming(subject string) call {
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://id.example.net","sub":"` + subject + `"}`))
	return call{header: http.Header{"Authorization": {"Bearer e30." + claims + ".c2ln"}}}
}

// Guesses are counted for each subject, and all of them for the address: a
// token that is over shuts out nobody else behind the same address.
func TestThreat_TokensThatFailAreThrottledForEachSubject(t *testing.T) {
	x := newSite(t, func(x *site) { x.Attempts = NewAttempts(2, time.Hour) })
	for i, want := range []int{401, 401, 429, 429} {
		if g := x.do(claiming("sensor-7")); g.StatusCode != want {
			t.Errorf("%d for token %d of one subject, want %d", g.StatusCode, i, want)
		}
	}
	for _, c := range []call{claiming("sensor-8"), {user: "sensor-7:wrong"}, {header: http.Header{"Authorization": {"Bearer opaque"}}}} {
		if g := x.do(c); g.StatusCode != 401 {
			t.Errorf("%d for another identity", g.StatusCode)
		}
	}
	for n := range 2*attemptsOfAddress - 5 {
		if g := x.do(claiming("other-" + strconv.Itoa(n))); g.StatusCode != 401 {
			t.Errorf("%d for subject %d", g.StatusCode, n)
		}
	}
	if g := x.do(claiming("yet-another")); g.StatusCode != 429 {
		t.Errorf("%d for one subject more of the address", g.StatusCode)
	}
}

// What a token proves is the module's to say; here it is its own text:
// METHOD/SUBJECT/GROUP.
func TestThreat_EveryOperationTimesEveryStateOfBearer(t *testing.T) {
	x := newSite(t, under(strings.ReplaceAll(bearerRules, "BODY", strings.Trim(body, "\n"))), func(x *site) {
		x.Challenge = always(`Bearer realm="estra"`)
		x.proven = func(r *http.Request) Proven {
			parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "/")
			if len(parts) != 3 {
				return Proven{}
			}
			facts, err := policy.ParseFacts([]byte(`{"group":"` + parts[2] + `"}`))
			if err != nil {
				t.Error(err)
			}
			return Proven{Accounts: []policy.Account{{Method: parts[0], User: parts[1]}}, Claims: facts}
		}
	})
	for state, c := range map[string]struct {
		token                   string
		enroll, reenroll, basic int
	}{
		"nobody":                   {"", 401, 401, 401},
		"a token that is no token": {"x", 401, 401, 401},
		"the right token":          {"bearer:staff/sensor-7/sensors", 200, 403, 401},
		"another claim":            {"bearer:staff/sensor-7/printers", 403, 403, 401},
		"another subject":          {"bearer:staff/printer-1/sensors", 401, 403, 401},
		"another issuer":           {"bearer:robots/sensor-7/sensors", 401, 401, 401},
		"an account of that name":  {"staff/sensor-7/sensors", 401, 401, 401},
		"a subject that is a user": {"bearer:staff/estuser/sensors", 401, 403, 401},
	} {
		for path, want := range map[string]int{
			"simpleenroll": c.enroll, "simplereenroll": c.reenroll, "basic/simpleenroll": c.basic,
			"fullcmc": 404, "serverkeygen": 404, "basic/simplereenroll": 404, "nosuch/simpleenroll": 404,
		} {
			issued, header := len(x.ca.Issued()), http.Header{}
			if c.token != "" {
				header.Set("Authorization", "Bearer "+c.token)
			}
			g := x.do(call{path: path, header: header})
			if g.StatusCode != want || (len(x.ca.Issued()) > issued) != (want == 200) {
				t.Errorf("%s, %s: %d, want %d", state, path, g.StatusCode, want)
			}
		}
	}
}
