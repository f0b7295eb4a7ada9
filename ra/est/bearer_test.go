// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/http"
	"strings"
	"testing"

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

// What a token proves is the module's to say; here it is its own text:
// METHOD/SUBJECT/GROUP.
func TestThreat_EveryOperationTimesEveryStateOfBearer(t *testing.T) {
	x := newSite(t, under(strings.ReplaceAll(bearerRules, "BODY", strings.Trim(body, "\n"))), func(x *site) {
		x.Challenge = always(`Bearer realm="estra"`)
		x.claims = true
		x.provider = func(_ http.ResponseWriter, r *http.Request) ([]policy.Account, error) {
			parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "/")
			if len(parts) != 3 {
				return nil, nil
			}
			facts, err := policy.ParseFacts([]byte(`{"group":"` + parts[2] + `"}`))
			*claimsOf(r) = facts
			return []policy.Account{{Method: parts[0], User: parts[1]}}, err
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
