// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-est/estra/ra/digest"
)

// counting notes what it is asked to compare.
type counting struct {
	caddyauth.Comparer
	asked map[string]int
}

func (c counting) Compare(hash, password []byte) (bool, error) {
	c.asked[string(hash)]++
	return c.Comparer.Compare(hash, password)
}

func accountsOf(t *testing.T, hashes ...string) *Handler {
	t.Helper()
	h := &Handler{}
	for i, hash := range hashes {
		h.Basic = append(h.Basic, Account{Username: fmt.Sprint("known", i), Hash: hash})
	}
	if err := h.loadCredentials(); err != nil {
		t.Fatal(err)
	}
	return h
}

func cheap(t *testing.T, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// What an unknown user is compared with has the costs of the operator's own
// accounts, and doesn't change from one request to the next.
func TestThreat_UnknownUsersTakeTheTimeOfKnownOnes(t *testing.T) {
	costs := []int{4, 5, 6}
	var hashes []string
	for _, cost := range costs {
		hashes = append(hashes, cheap(t, "secret", cost))
	}
	h := accountsOf(t, hashes...)
	all := make(map[string]int)
	for i := range h.basic.decoys {
		h.basic.decoys[i].comparer = counting{h.basic.decoys[i].comparer, all}
	}
	again := accountsOf(t, hashes...)
	for n := range 60 {
		user := fmt.Sprint("nobody", n)
		if ok, err := h.basic.verify(user, "secret"); ok || err != nil {
			t.Errorf("%s with a password of others: %v %v", user, ok, err)
		}
		if string(h.basic.decoy(user).hash) != string(again.basic.decoy(user).hash) {
			t.Errorf("%s takes another time after a restart", user)
		}
	}
	for i, hash := range hashes {
		if all[hash] == 0 {
			t.Errorf("no unknown user takes the time of cost %d: %v", costs[i], all)
		}
		delete(all, hash)
	}
	if len(all) != 0 {
		t.Errorf("compared with what is no account's: %v", all)
	}
}

func TestBasicPasswords(t *testing.T) {
	h := accountsOf(t, cheap(t, "one", 4), cheap(t, "two", 4),
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA")
	for _, c := range []struct {
		user, password string
		want           bool
	}{
		{"known0", "one", true}, {"known1", "two", true},
		{"known0", "two", false}, {"known0", "", false}, {"known2", "one", false},
		{"nobody", "one", false}, {"", "one", false}, {"", "", false}, {"KNOWN0", "one", false},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.SetBasicAuth(c.user, c.password)
		found, err := h.credentials(httptest.NewRecorder(), r)
		accounts := found.Accounts
		if (len(accounts) == 1) != c.want || err != nil {
			t.Errorf("%q with %q: %v %v", c.user, c.password, accounts, err)
		}
	}
}

// keyed is a provider that reads a header of its own.
type keyed struct {
	key   string
	asked int
}

func (k *keyed) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	k.asked++
	if r.Header.Get("X-Api-Key") == "broken" {
		return caddyauth.User{ID: "robot"}, true, errors.New("the directory is down")
	}
	if r.Header.Get("X-Api-Key") != k.key {
		w.Header().Set("WWW-Authenticate", "ApiKey realm="+k.key)
		return caddyauth.User{ID: "robot"}, false, nil
	}
	return caddyauth.User{ID: "robot"}, true, nil
}

// What providers alone authenticate has no password that we could ask for.
func TestBasicIsOfferedWhereItIsConfigured(t *testing.T) {
	provider, answers := namedProvider{"staff", nil, &keyed{key: "one"}}, digestOf(t)
	for _, c := range []struct {
		name       string
		h          *Handler
		challenges int
		anyHeader  bool
	}{
		{"nothing", &Handler{}, 0, false},
		{"basic", &Handler{basic: &basicAccounts{}}, 1, false},
		{"a provider", &Handler{providers: []namedProvider{provider}}, 0, true},
		{"both", &Handler{basic: &basicAccounts{}, providers: []namedProvider{provider}}, 1, true},
		{"digest, which couldn't help", &Handler{digest: answers}, 0, false},
	} {
		in := c.h.incoming(httptest.NewRequest("POST", "/", nil))
		if got := c.h.challenge(httptest.NewRequest("POST", "/", nil), []string{basicMethod}); len(got) != c.challenges || in.AnyHeader != c.anyHeader || in.Credentials == nil {
			t.Errorf("%s: %q, any header %v", c.name, got, in.AnyHeader)
		}
	}
}

func digestOf(t *testing.T) *digest.Server {
	t.Helper()
	a, err := digest.NewAccount("anna", digest.Realm, digest.SHA256, "secret")
	if err != nil {
		t.Fatal(err)
	}
	s, err := digest.New([]digest.Account{a}, digest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Many clients read the first challenge alone: what couldn't help isn't there,
// and the password itself isn't asked for where its hash would do.
func TestTheStrongestChallengeThatCouldHelpStandsFirst(t *testing.T) {
	h := &Handler{basic: &basicAccounts{}, digest: digestOf(t)}
	for _, c := range []struct {
		methods []string
		want    string
	}{
		{[]string{basicMethod}, "Basic"}, {[]string{digestMethod}, "Digest"}, {[]string{basicMethod, digestMethod}, "Digest Basic"}, {[]string{"staff"}, ""},
	} {
		var schemes []string
		for _, value := range h.challenge(httptest.NewRequest("POST", "/", nil), c.methods) {
			scheme, _, _ := strings.Cut(value, " ")
			schemes = append(schemes, scheme)
		}
		if got := strings.Join(schemes, " "); got != c.want {
			t.Errorf("%v: %q, want %q", c.methods, got, c.want)
		}
	}
}

func TestThreat_NoProviderHasTheNameOfAnotherProof(t *testing.T) {
	for name := range ownMethods {
		h := &Handler{Providers: []Provider{{Name: name}}}
		if err := h.loadCredentials(); err == nil || !strings.Contains(err.Error(), "is taken by") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProvidersAreAskedAboutEveryRequest(t *testing.T) {
	for _, c := range []struct {
		name     string
		key      string
		password string
		want     string // METHOD:USER
		asked    [2]int
	}{
		{"nothing", "", "", "", [2]int{1, 1}},
		{"a key", "one", "", "first:robot", [2]int{1, 1}},
		{"the second's key", "two", "", "second:robot", [2]int{1, 1}},
		{"a wrong key", "x", "", "", [2]int{1, 1}},
		{"a provider that is broken", "broken", "", "", [2]int{1, 1}},
		{"a password", "", "secret", "http_basic:known0", [2]int{1, 1}},
		{"a password and a key", "two", "secret", "http_basic:known0 second:robot", [2]int{1, 1}},
		{"a password and a wrong key", "x", "secret", "http_basic:known0", [2]int{1, 1}},
		{"a wrong password", "", "guess", "", [2]int{1, 1}},
		{"a wrong password beside a key", "one", "guess", "first:robot", [2]int{1, 1}},
	} {
		one, two := &keyed{key: "one"}, &keyed{key: "two"}
		h := accountsOf(t, cheap(t, "secret", 4))
		h.log, h.providers = zap.NewNop(), []namedProvider{{"first", nil, one}, {"second", nil, two}}
		r := httptest.NewRequest("POST", "/", nil)
		if c.password != "" {
			r.SetBasicAuth("known0", c.password)
		}
		if c.key != "" {
			r.Header.Set("X-Api-Key", c.key)
		}
		w := httptest.NewRecorder()
		found, err := h.credentials(w, r)
		accounts := found.Accounts
		var all []string
		for _, a := range accounts {
			all = append(all, a.Method+":"+a.User)
		}
		if got := strings.Join(all, " "); got != c.want || err != nil || c.asked != [2]int{one.asked, two.asked} {
			t.Errorf("%s: %q %v, asked %d and %d", c.name, all, err, one.asked, two.asked)
		}
	}
}

// An account that one credential proves is no licence to guess another.
func TestThreat_AGuessBesideAnAccountIsTold(t *testing.T) {
	declared := []string{"X-Api-Key"}
	for _, c := range []struct {
		name          string
		headers       []string
		password, key string
		want          string
	}{
		{"a right password and a guessed key", declared, "secret", "x", "X-Api-Key"},
		{"a right key and a guessed password", declared, "guess", "one", "Authorization"},
		{"both right", declared, "secret", "one", ""},
		{"a right password alone", declared, "secret", "", ""},
		{"a right key alone", declared, "", "one", ""},
		{"a provider that is broken", declared, "secret", "broken", ""},
		// What the provider took can't be told.
		{"a guessed key where its header isn't known", nil, "secret", "x", ""},
		{"a guessed password where its header isn't known", nil, "guess", "one", ""},
	} {
		h := accountsOf(t, cheap(t, "secret", 4))
		h.log, h.providers = zap.NewNop(), []namedProvider{{"staff", c.headers, &keyed{key: "one"}}}
		r := httptest.NewRequest("POST", "/", nil)
		if c.password != "" {
			r.SetBasicAuth("known0", c.password)
		}
		if c.key != "" {
			r.Header.Set("X-Api-Key", c.key)
		}
		found, err := h.credentials(httptest.NewRecorder(), r)
		if got := strings.Join(found.Failed, " "); got != c.want || err != nil || len(found.Accounts) == 0 {
			t.Errorf("%s: %q failed, want %q; %v %v", c.name, got, c.want, found.Accounts, err)
		}
		if in := h.incoming(r); strings.Join(in.Headers, " ") != strings.Join(c.headers, " ") {
			t.Errorf("%s: the headers %q", c.name, in.Headers)
		}
	}
}

func TestTheHeadersOfAProviderAreHeaders(t *testing.T) {
	for name, want := range map[string]string{"x-api-key": "X-Api-Key", "authorization": "", "": "", "X Key": "", "X-Key:": ""} {
		got, err := (&Provider{Headers: []string{name}}).headers()
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", name, got, err)
		}
	}
}

func TestHashesThatCannotBeRight(t *testing.T) {
	for hash, want := range map[string]string{
		"secret":                   "not a password hash",
		"$2a$":                     "can't be read",
		"$argon2id$":               "can't be read",
		cheap(t, "secret", 4)[:40]: "can't be read",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$":                       "digest of 0 bytes",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$AA":                     "digest of 1 bytes",
		"$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA": "rounds too small",
		"$argon2id$v=19$m=64,t=1,p=0$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA": "parallelism",
	} {
		h := &Handler{Basic: []Account{{Username: "estuser", Hash: hash}}}
		err := h.loadCredentials()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `user "estuser"`) || strings.Contains(err.Error(), hash) {
			t.Errorf("%q: %v, want %q", hash, err, want)
		}
	}
}
