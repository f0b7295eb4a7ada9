// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/digest"
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
type digestSite struct {
	*site
	answers *digest.Server
	now     time.Time
}

func newDigestSite(t *testing.T, changes ...func(*site)) *digestSite {
	t.Helper()
	d := &digestSite{now: time.Now()}
	account, err := digest.NewAccount("estuser", digest.Realm, digest.SHA256, "secret")
	if err != nil {
		t.Fatal(err)
	}
	d.answers, err = digest.New([]digest.Account{account}, digest.Options{Now: func() time.Time { return d.now }})
	if err != nil {
		t.Fatal(err)
	}
	d.site = newSite(t, append([]func(*site){under(strings.ReplaceAll(digestRules, "BODY", strings.Trim(body, "\n"))), func(x *site) {
		x.Challenge = func(_ *http.Request, methods []string) (all []string) {
			if slices.Contains(methods, "digest") {
				all = append(all, d.answers.Challenge()...)
			}
			if slices.Contains(methods, "http_basic") {
				all = append(all, basicChallenge)
			}
			return all
		}
		x.provider = func(_ http.ResponseWriter, r *http.Request) ([]policy.Account, error) {
			user, err := d.answers.Verify(r.Method, r.RequestURI, r.Header.Get("Authorization"))
			if err != nil {
				return nil, nil
			}
			return []policy.Account{{Method: "digest", User: user}}, nil
		}
	}}, changes...)...)
	return d
}

// answer makes the header of a client, to a new challenge.
func (d *digestSite) answer(path, user, password string) string {
	d.t.Helper()
	challenge := d.answers.Challenge()[0]
	_, after, _ := strings.Cut(challenge, `nonce="`)
	nonce, _, _ := strings.Cut(after, `"`)
	hash := func(parts ...string) string {
		sum := sha256.Sum256([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(sum[:])
	}
	target := "/.well-known/est/" + path
	response := hash(hash(user, digest.Realm, password), nonce, "00000001", "c", "auth", hash(http.MethodPost, target))
	return fmt.Sprintf(`Digest username="%s", realm="estra", nonce="%s", uri="%s", algorithm=SHA-256, response="%s", qop=auth, nc=00000001, cnonce="c"`,
		user, nonce, target, response)
}

func (d *digestSite) post(path, authorization string) got {
	d.t.Helper()
	c := call{path: path}
	if authorization != "" {
		c.header = http.Header{"Authorization": {authorization}}
	}
	return d.do(c)
}

func TestThreat_EveryOperationTimesEveryStateOfDigest(t *testing.T) {
	d := newDigestSite(t)
	// What a right identity gets, who isn't proven never does.
	operations := map[string]struct{ proven, stranger int }{
		"simpleenroll": {200, 401}, "devices/simpleenroll": {200, 401}, "any/simpleenroll": {200, 401},
		"basic/simpleenroll": {401, 401},
		"simplereenroll":     {403, 401}, // there is no certificate to renew
		"fullcmc":            {404, 404}, "serverkeygen": {404, 404}, "basic/simplereenroll": {404, 404}, "nosuch/simpleenroll": {404, 404},
	}
	for path, want := range operations {
		spent := d.answer(path, "estuser", "secret")
		if g := d.post(path, spent); g.StatusCode != want.proven {
			t.Errorf("%s, the right answer: %d, want %d", path, g.StatusCode, want.proven)
		}
		stale := d.answer(path, "estuser", "secret")
		d.now = d.now.Add(time.Hour)
		for state, header := range map[string]string{
			"nobody":                      "",
			"a wrong password":            d.answer(path, "estuser", "wrong"),
			"an unknown user":             d.answer(path, "berta", "secret"),
			"the answer for another path": d.answer("csrattrs", "estuser", "secret"),
			"an answer that is spent":     spent,
			"an answer to an old nonce":   stale,
			"a header that can't be read": "Digest username=estuser",
			"the password, sent as Basic": "Basic ZXN0dXNlcjpzZWNyZXQ=",
		} {
			issued := len(d.ca.Issued())
			g := d.post(path, header)
			if g.StatusCode != want.stranger || len(d.ca.Issued()) != issued {
				t.Errorf("%s, %s: %d, want %d", path, state, g.StatusCode, want.stranger)
			}
			if record, _ := d.last(g.Header.Get("X-Request-Id")); record.Who != nil {
				t.Errorf("%s, %s: the record says %+v", path, state, record.Who)
			}
		}
	}
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
