// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// digestRules has a profile for Digest, one for Basic, and one for both.
const digestRules = `
version: 1
name: policy of the digest tests
default: devices
profiles:
  devices:
    labels: [devices]
    enroll: {who: [{digest: {users: [estuser]}}], linking: if_present}
    reenroll: {who: [{digest: {users: [estuser]}}], linking: if_present, same_key: allow}
BODY
  basic:
    labels: [basic]
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present}
BODY
  any:
    labels: [any]
    enroll: {who: [{http_basic: {users: [estuser]}}, {digest: {users: [estuser]}}], linking: if_present}
BODY
`

// A digestSite knows estuser by Digest, and her name by nothing else.
type digestSite struct{ *site }

func newDigestSite(t *testing.T, changes ...func(*site)) *digestSite {
	t.Helper()
	d := &digestSite{}
	d.site = newSite(t, append([]func(*site){under(strings.ReplaceAll(digestRules, "BODY", strings.Trim(body, "\n"))), func(x *site) {
		x.Challenge = func(_ *http.Request, methods []string) (all []string) {
			if slices.Contains(methods, "digest") {
				all = append(all, x.answers.Challenge()...)
			}
			if slices.Contains(methods, "http_basic") {
				all = append(all, basicChallenge)
			}
			return all
		}
	}}, changes...)...)
	return d
}

func (d *digestSite) post(path, authorization string) got {
	d.t.Helper()
	c := call{path: path}
	if authorization != "" {
		c.header = http.Header{"Authorization": {authorization}}
	}
	return d.do(c)
}

// Many clients read the first challenge alone.
func TestA401OffersWhatCouldHelp(t *testing.T) {
	d := newDigestSite(t)
	for path, want := range map[string]string{"simpleenroll": "Digest", "basic/simpleenroll": "Basic", "any/simpleenroll": "Digest Basic"} {
		var schemes []string
		for _, value := range d.post(path, "").Header["Www-Authenticate"] {
			scheme, _, _ := strings.Cut(value, " ")
			schemes = append(schemes, scheme)
		}
		if got := strings.Join(schemes, " "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestThreat_GuessesWithDigestAreThrottledForEachUser(t *testing.T) {
	d := newDigestSite(t, func(x *site) { x.Attempts = NewAttempts(2, time.Hour) })
	for range 2 {
		if g := d.post("simpleenroll", d.answer("simpleenroll", "berta", "guess")); g.StatusCode != 401 {
			t.Fatalf("status %d", g.StatusCode)
		}
	}
	if g := d.post("simpleenroll", d.answer("simpleenroll", "berta", "guess")); g.StatusCode != 429 {
		t.Errorf("a guess too many: %d", g.StatusCode)
	}
	if g := d.post("simpleenroll", d.answer("simpleenroll", "estuser", "secret")); g.StatusCode != 200 {
		t.Errorf("another user of the address: %d", g.StatusCode)
	}
}
