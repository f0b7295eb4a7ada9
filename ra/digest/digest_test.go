// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/secret"
)

// A clock is one that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

const (
	word   = "correct horse"
	target = "/.well-known/est/simpleenroll"
)

func newServer(t *testing.T, o Options) (*Server, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	o.Now = c.now
	var accounts []Account
	for _, algorithm := range []Algorithm{SHA256, MD5} {
		a, err := NewAccount("anna", Realm, algorithm, word)
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, a)
	}
	s, err := New(accounts, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

var parts = regexp.MustCompile(`nonce="([^"]*)", opaque="([^"]*)"(?:, algorithm=([^,]*))?`)

// reply is what a client makes of a challenge.
func reply(t *testing.T, challenge, user, password string, count int, change ...string) string {
	t.Helper()
	m := parts.FindStringSubmatch(challenge)
	if m == nil {
		t.Fatalf("challenge %q", challenge)
	}
	a := answer{nonce: m[1], nc: fmt.Sprintf("%08x", count), cnonce: "abc", qop: "auth", uri: target}
	algorithm := Algorithm(m[3])
	if algorithm == "" {
		algorithm = MD5
	}
	response := a.expected(algorithm, algorithm.hash(user, Realm, password), "POST")
	header := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=%s, response="%s", opaque="%s", qop=auth, nc=%s, cnonce="abc"`,
		user, Realm, m[1], target, algorithm, response, m[2], a.nc)
	return strings.NewReplacer(change...).Replace(header)
}

// RFC 7616 section 3.9.1.
func TestTheExampleOfRFC7616(t *testing.T) {
	a := answer{
		nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc: "00000001",
		cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop: "auth", uri: "/dir/index.html",
	}
	for algorithm, want := range map[Algorithm]string{
		MD5:    "8ca523f5e9506fed4657c9700eebdbec",
		SHA256: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		ha1 := algorithm.hash("Mufasa", "http-auth@example.org", "Circle of Life")
		if got := a.expected(algorithm, ha1, "GET"); got != want {
			t.Errorf("%s: %s, want %s", algorithm, got, want)
		}
	}
}

func TestAChallengeHasWhatOldClientsKnowAndNothingElse(t *testing.T) {
	s, _ := newServer(t, Options{MD5: true})
	form := regexp.MustCompile(`^Digest realm="estra", nonce="[A-Za-z0-9_-]{48}", opaque="[0-9a-f]{16}"(, algorithm=SHA-256)?, qop="auth"$`)
	challenges := s.Challenge()
	if len(challenges) != 2 || !strings.Contains(challenges[0], "SHA-256") || strings.Contains(challenges[1], "algorithm") {
		t.Fatalf("%q", challenges)
	}
	for _, c := range challenges {
		if !form.MatchString(c) {
			t.Errorf("%q", c)
		}
	}
	if again := s.Challenge(); again[0] == challenges[0] {
		t.Error("the nonce is the same")
	}
}

func TestAnAnswerProvesTheUserOnce(t *testing.T) {
	s, c := newServer(t, Options{MD5: true})
	for _, challenge := range s.Challenge() {
		header := reply(t, challenge, "anna", word, 1)
		if !strings.Contains(challenge, "SHA-256") {
			header = reply(t, challenge, "anna", word, 2, ", algorithm=MD5", "") // RFC 7616 section 3.4: the default
		}
		if user, err := s.Verify("POST", target, header); err != nil || user != "anna" {
			t.Fatalf("%q: %v", user, err)
		}
		if _, err := s.Verify("POST", target, header); !errors.Is(err, ErrReplayed) {
			t.Errorf("again: %v", err)
		}
	}
	challenge := s.Challenge()[0]
	for _, count := range []int{3, 1, 2, 80, 17} { // out of order, within the window
		if _, err := s.Verify("POST", target, reply(t, challenge, "anna", word, count)); err != nil {
			t.Errorf("count %d: %v", count, err)
		}
	}
	for _, count := range []int{3, 80, 17, 16} {
		if _, err := s.Verify("POST", target, reply(t, challenge, "anna", word, count)); !errors.Is(err, ErrReplayed) {
			t.Errorf("count %d: %v", count, err)
		}
	}
	c.at = c.at.Add(nonceLife)
	if _, err := s.Verify("POST", target, reply(t, challenge, "anna", word, 81)); !errors.Is(err, ErrStale) {
		t.Errorf("after its life: %v", err)
	}
}

func TestThreat_OnlyTheRightAnswerProvesAnybody(t *testing.T) {
	s, _ := newServer(t, Options{})
	other, _ := newServer(t, Options{})
	challenge := s.Challenge()[0]
	for name, c := range map[string]struct {
		method, target, header string
		want                   error
	}{
		"a wrong password":                 {"POST", target, reply(t, challenge, "anna", "wrong", 1), ErrWrong},
		"an unknown user":                  {"POST", target, reply(t, challenge, "berta", word, 1), ErrWrong},
		"another method":                   {"GET", target, reply(t, challenge, "anna", word, 1), ErrWrong},
		"another address":                  {"POST", "/.well-known/est/simplereenroll", reply(t, challenge, "anna", word, 1), ErrForeign},
		"a nonce of another":               {"POST", target, reply(t, other.Challenge()[0], "anna", word, 1, other.opaque, s.opaque), ErrStale},
		"another opaque":                   {"POST", target, reply(t, challenge, "anna", word, 1, s.opaque, "0"), ErrForeign},
		"another realm":                    {"POST", target, reply(t, challenge, "anna", word, 1, `realm="estra"`, `realm="x"`), ErrForeign},
		"another quality":                  {"POST", target, reply(t, challenge, "anna", word, 1, "qop=auth", "qop=auth-int"), ErrForeign},
		"MD5, which is off":                {"POST", target, reply(t, strings.Replace(challenge, "SHA-256", "MD5", 1), "anna", word, 1), ErrForeign},
		"no algorithm, that is MD5":        {"POST", target, reply(t, challenge, "anna", word, 1, ", algorithm=SHA-256", ""), ErrForeign},
		"a session algorithm":              {"POST", target, reply(t, challenge, "anna", word, 1, "algorithm=SHA-256", "algorithm=SHA-256-sess"), ErrForeign},
		"the count 0":                      {"POST", target, reply(t, challenge, "anna", word, 0), errSyntax},
		"a count cut off":                  {"POST", target, reply(t, challenge, "anna", word, 1, "nc=00000001", "nc=1"), errSyntax},
		"an empty response":                {"POST", target, reply(t, challenge, "anna", word, 1, `response="`, `response="" , x="`), errSyntax},
		"Basic":                            {"POST", target, "Basic YW5uYTp4", ErrNotDigest},
		"the decoy as hash of the unknown": {"POST", target, decoyed(s, challenge), ErrWrong},
	} {
		t.Run(name, func(t *testing.T) {
			if user, err := s.Verify(c.method, c.target, c.header); !errors.Is(err, c.want) || user != "" {
				t.Errorf("%q: %v, want %v", user, err, c.want)
			}
		})
	}
}

// decoyed is the answer of who knows what an unknown user is compared with.
func decoyed(s *Server, challenge string) string {
	m := parts.FindStringSubmatch(challenge)
	a := answer{nonce: m[1], nc: "00000001", cnonce: "abc", qop: "auth", uri: target}
	return fmt.Sprintf(`Digest username="berta", realm="estra", nonce="%s", uri="%s", algorithm=SHA-256, response="%s", qop=auth, nc=00000001, cnonce="abc"`,
		m[1], target, a.expected(SHA256, s.decoy, "POST"))
}

func TestThreat_OfTheSameAnswerAtOnceOneCounts(t *testing.T) {
	s, _ := newServer(t, Options{})
	header := reply(t, s.Challenge()[0], "anna", word, 1)
	var taken atomic.Int32
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := s.Verify("POST", target, header); err == nil {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if taken.Load() != 1 {
		t.Errorf("%d were taken", taken.Load())
	}
}

func TestThreat_TheMemoryOfNoncesIsBoundedAndForgetsNoReplay(t *testing.T) {
	s, c := newServer(t, Options{})
	first := reply(t, s.Challenge()[0], "anna", word, 1)
	if _, err := s.Verify("POST", target, first); err != nil {
		t.Fatal(err)
	}
	for range noncesKept + 10 {
		c.at = c.at.Add(time.Millisecond)
		if _, err := s.Verify("POST", target, reply(t, s.Challenge()[0], "anna", word, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.nonces.order.Len(); n > noncesKept || n != len(s.nonces.kept) {
		t.Errorf("%d nonces are kept", n)
	}
	if _, err := s.Verify("POST", target, first); !errors.Is(err, ErrReplayed) {
		t.Errorf("the one that was forgotten: %v", err)
	}
	for range 100 { // a stranger gets nothing into it
		_, _ = s.Verify("POST", target, reply(t, s.Challenge()[0], "anna", "wrong", 1))
	}
	c.at = c.at.Add(2 * nonceLife)
	if _, err := s.Verify("POST", target, reply(t, s.Challenge()[0], "anna", word, 1)); err != nil {
		t.Fatal(err)
	}
	if n := s.nonces.order.Len(); n != 1 {
		t.Errorf("%d are kept after their time", n)
	}
}

func TestAStoreIsReadAsItIsWritten(t *testing.T) {
	a, err := NewAccount("anna", Realm, SHA256, word)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewAccount("Jäsøn", Realm, MD5, word)
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := Parse("digest.txt", []byte("# the studio\n"+a.Line()+"\r\n"+m.Line()))
	if err != nil || len(accounts) != 2 || accounts[0] != a || accounts[1] != m {
		t.Errorf("%v: %v", accounts, err)
	}
}

func TestAStoreWithAMistakeIsRefusedWithItsLine(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for name, c := range map[string]struct{ src, want string }{
		"empty":            {"# nothing\n", "digest.txt: there is no account in it; `caddy est digest USER` makes one"},
		"htdigest":         {"anna:estra:" + hash[:32], "digest.txt:1: this is no line of `caddy est digest`, which is USER:REALM:ALGORITHM:HASH"},
		"a password":       {"\nanna:estra:SHA-256:hunter2", "digest.txt:2: the hash of the user \"anna\" isn't 64 hexadecimal digits: was it cut off?"},
		"an algorithm":     {"anna:estra:SHA-1:" + hash, `digest.txt:1: the algorithm "SHA-1" is neither SHA-256 nor MD5`},
		"a user twice":     {"anna:estra:SHA-256:" + hash + "\nanna:estra:SHA-256:" + hash, `digest.txt:2: the user "anna" has a hash for SHA-256 already on line 1`},
		"two realms":       {"anna:estra:SHA-256:" + hash + "\nberta:x:SHA-256:" + hash, `digest.txt:2: the realm is "x", and in the lines before it "estra": a challenge has one`},
		"no user":          {":estra:SHA-256:" + hash, `digest.txt:1: the user can't be "": it is UTF-8 without colons, quotes, backslashes and control characters, and not empty`},
		"a quoted realm":   {`anna:"x":SHA-256:` + hash, `digest.txt:1: the realm can't be "\"x\"": it is UTF-8 without colons, quotes, backslashes and control characters, and not empty`},
		"MD5 cut too long": {"anna:estra:MD5:" + hash, "digest.txt:1: the hash of the user \"anna\" isn't 32 hexadecimal digits: was it cut off?"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("digest.txt", []byte(c.src)); err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestThreat_NoMessageAndNoFormatShowsAHash(t *testing.T) {
	a, err := NewAccount("anna", Realm, SHA256, word)
	if err != nil {
		t.Fatal(err)
	}
	hash := string(a.Hash)
	s, err := New([]Account{a}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, parsed := Parse("x", []byte("anna:estra:MD5:"+hash))
	shown := fmt.Sprintf("%v %+v %#v %s %v %v %+v", a, a, a, a, &a, parsed, s.hashes)
	if strings.Contains(shown, hash) || !strings.Contains(shown, "(secret)") {
		t.Errorf("shown: %s", shown)
	}
}

func TestAServerWithoutUsableAccountsIsNotMade(t *testing.T) {
	m, err := NewAccount("anna", Realm, MD5, word)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New([]Account{m}, Options{}); err == nil {
		t.Error("MD5 is off, and its accounts count")
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("there is no account")
	}
	s, err := New([]Account{m}, Options{MD5: true})
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Challenge(); len(c) != 1 || strings.Contains(c[0], "algorithm") {
		t.Errorf("a challenge for SHA-256, which nobody has: %q", c)
	}
	for _, bad := range []struct {
		user, realm string
		algorithm   Algorithm
		password    secret.Text
	}{{"a:b", Realm, SHA256, word}, {"a", "", SHA256, word}, {"a", Realm, "SHA-1", word}, {"a", Realm, SHA256, ""}} {
		if _, err := NewAccount(bad.user, bad.realm, bad.algorithm, bad.password); err == nil {
			t.Errorf("made: %v", bad)
		}
	}
}
