// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/secret"
)

// prime1024 is that of the test vectors: none of ours.
const prime1024 = "" +
	"eeaf0ab9adb38dd69c33f80afa8fc5e86072618775ff3c0b9ea2314c9c256576d674df7496ea81d3383b4813d692c6e0" +
	"e0d5d8e250b98be48e495c1d6089dad15dc7d7b46154d6b6ce8ef4ad69b15d4982559b297bcf1885c529f566660e57ec" +
	"68edbc3c05726cc02fd4cbf4976eaa9afd5138fe8376435b9fc61d2fc0eb06e3"

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 5054 appendix B, as far as it is of verifiers.
func TestTheVectorsOfRFC5054(t *testing.T) {
	salt := unhex(t, "BEB25379 D1A8581E B5A72767 3A2441EE")
	if got, want := exponent(salt, "alice", "password123"), unhex(t, "94B7555A ABE9127C C58CCF49 93DB6CF8 4D16C124"); !bytes.Equal(got, want) {
		t.Errorf("x is %X, want %X", got, want)
	}
	v, err := newVerifier(newGroup("1024", prime1024, 2), "devices", "alice", "password123", salt)
	if err != nil {
		t.Fatal(err)
	}
	want := unhex(t, "7E273DE8 696FFC4F 4E337D05 B4B375BE B0DDE156 9E8FA00A 9886D812"+
		"9BADA1F1 822223CA 1A605B53 0E379BA4 729FDC59 F105B478 7E5186F5"+
		"C671085A 1447B52A 48CF1970 B4FB6F84 00BBF4CE BFBB1681 52E08AB5"+
		"EA53D15C 1AFF87B2 B9DA6E04 E058AD51 CC72BFC9 033B564E 26480D78"+
		"E955A5E2 9E7AB245 DB2BE315 E2099AFB")
	if !bytes.Equal(v.V, want) {
		t.Errorf("v is %X, want %X", []byte(v.V), want)
	}
	// What client and server make of it is the same secret.
	a, b := unhex(t, "60975527 035CF2AD 1989806F 0407210B C81EDC04 E2762A56 AFD529DD DA2D4393"), unhex(t, "E487CB59 D31AC550 471E81F0 0F6928E0 1DDA08E9 74A004F4 9E61F5D1 05284D20")
	number := func(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
	n, u := number(v.Group.N()), number(unhex(t, "CE38B959 3487DA98 554ED47D 70A7AE5F 462EF019"))
	shownA := new(big.Int).Exp(number(v.Group.G()), number(a), n)
	server := new(big.Int).Mul(shownA, new(big.Int).Exp(number(v.V), u, n))
	server.Exp(server, number(b), n)
	base := new(big.Int).Exp(number(v.Group.G()), number(b), n) // B - k*g^x
	client := new(big.Int).Exp(base, new(big.Int).Add(number(a), new(big.Int).Mul(u, number(exponent(salt, "alice", "password123")))), n)
	if server.Cmp(client) != 0 || !strings.HasPrefix(fmt.Sprintf("%X", server), "B0DC82BABCF30674AE450C0287745E79") {
		t.Errorf("the secret is %X, and the client's %X", server, client)
	}
}

// seemsPrime is Fermat's test, which no slip of a digit passes; more takes long
// with 8192 bits.
func seemsPrime(n *big.Int) bool {
	one := big.NewInt(1)
	return new(big.Int).Exp(big.NewInt(2), new(big.Int).Sub(n, one), n).Cmp(one) == 0
}

func TestTheGroupsAreSafePrimesWithAGenerator(t *testing.T) {
	one, two := big.NewInt(1), big.NewInt(2)
	for _, g := range groups {
		n := new(big.Int).SetBytes(g.N())
		q := new(big.Int).Rsh(n, 1)
		if fmt.Sprint(n.BitLen()) != g.Name() {
			t.Errorf("the group %s has %d bits", g.Name(), n.BitLen())
		}
		if !seemsPrime(n) || !seemsPrime(q) {
			t.Errorf("the prime of the group %s is not safe", g.Name())
		}
		generator := new(big.Int).SetBytes(g.G())
		if new(big.Int).Exp(generator, two, n).Cmp(one) == 0 || new(big.Int).Exp(generator, q, n).Cmp(one) == 0 {
			t.Errorf("%v doesn't generate the group %s", generator, g.Name())
		}
	}
}

func TestANumberIsBelowThePrime(t *testing.T) {
	for _, g := range groups {
		n := new(big.Int).SetBytes(g.N())
		for name, made := range map[string][]byte{
			"zero": make([]byte, g.size()), "the prime": g.N(), "the most": bytes.Repeat([]byte{0xff}, g.size()),
		} {
			got, err := g.number(made)
			want := new(big.Int).Mod(new(big.Int).SetBytes(made), n)
			if err != nil || len(got) != g.size() || new(big.Int).SetBytes(got).Cmp(want) != 0 {
				t.Errorf("the group %s, %s: %x, %v", g.Name(), name, got, err)
			}
		}
	}
}

func TestAGroupIsFoundByItsName(t *testing.T) {
	for name, wrong := range map[string]string{"2048": "", "8192": "", "1024": "too small", "1536": "too small", "": "there is no group", "2047": "there is no group"} {
		g, err := GroupNamed(name)
		if wrong == "" && (err != nil || g.Name() != name) || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func mustGroup(t testing.TB, name string) *Group {
	t.Helper()
	g, err := GroupNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestNamesThatCantBe(t *testing.T) {
	long := strings.Repeat("u", MostName+1)
	for _, c := range []struct {
		name, realm, user string
		password          secret.Text
		wrong             string
	}{
		{"all is well", "devices", "00:11:22:33", "p", ""},
		{"a user of the greatest length", "devices", long[1:], "p", ""},
		{"no user", "devices", "", "p", "the user"},
		{"a user that is too long", "devices", long, "p", "the user"},
		{"a space in the user", "devices", "a b", "p", "the user"},
		{"a tab in the user", "devices", "a\tb", "p", "the user"},
		{"a user beyond ASCII", "devices", "m\u00fcller", "p", "the user"},
		{"a backslash in the user", "devices", "a\\b", "p", "the user"},
		{"no realm", "", "dev", "p", "the realm"},
		{"a slash in the realm", "a/b", "dev", "p", "the realm"},
		{"a capital in the realm", "Devices", "dev", "p", "the realm"},
		{"no password", "devices", "dev", "", "the password"},
	} {
		_, err := New(rand.Reader, mustGroup(t, "2048"), c.realm, c.user, c.password)
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAPasswordIsLongAndLikeNoOther(t *testing.T) {
	one, err := NewPassword(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	two, _ := NewPassword(rand.Reader)
	if len(one) != 26 || one == two || strings.Trim(string(one), "abcdefghijklmnopqrstuvwxyz234567") != "" {
		t.Error("the password isn't 26 letters and digits, or comes twice")
	}
	if _, err := NewPassword(strings.NewReader("short")); err == nil {
		t.Error("a password without randomness")
	}
}

// A zero in front of a salt is left out, as OpenSSL does, which else would send
// another than was hashed.
func TestASaltHasNoZeroInFront(t *testing.T) {
	random := bytes.NewReader(append([]byte{0, 0}, bytes.Repeat([]byte{7}, saltLength)...))
	v, err := New(random, mustGroup(t, "2048"), "devices", "dev", "word")
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Repeat([]byte{7}, saltLength-2); !bytes.Equal(v.Salt, want) {
		t.Errorf("the salt is %x, want %x", v.Salt, want)
	}
	again, err := newVerifier(v.Group, "devices", "dev", "word", v.Salt)
	if err != nil || !bytes.Equal(again.V, v.V) {
		t.Errorf("the verifier is that of another salt (%v)", err)
	}
}

func TestThreat_AVerifierIsNotFormatted(t *testing.T) {
	v, err := New(rand.Reader, mustGroup(t, "2048"), "devices", "dev", "word")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "%s", "%d", "%q"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", v, Entry{V: v.V, Seed: secret.Bytes(v.V)})
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	head := v.V[:8]
	for _, shown := range []string{fmt.Sprintf("%x", []byte(head)), fmt.Sprintf("%X", []byte(head)), strings.Trim(fmt.Sprint([8]byte(head)), "[]"), "word"} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("the verifier shows as %s", shown)
		}
	}
}

// A table is a source for tests.
type table map[string]Entry

func (s table) Find(_ context.Context, realm, user string) (Entry, error) {
	if realm == "broken" {
		return Entry{}, errors.New("no answer")
	}
	if e, there := s[realm+"/"+user]; there {
		return e, nil
	}
	return s[realm], nil
}

func TestALookupGivesEverybodyAVerifier(t *testing.T) {
	group := mustGroup(t, "2048")
	v, err := New(rand.Reader, group, "devices", "known", "word")
	if err != nil {
		t.Fatal(err)
	}
	seed := secret.Bytes(bytes.Repeat([]byte{1}, SeedLength))
	l := NewLookup(table{
		"devices":         {Seed: seed, Group: "2048"},
		"devices/known":   {Seed: seed, Group: "2048", Salt: v.Salt, V: v.V},
		"devices/revoked": {Seed: seed, Group: "2048", Salt: v.Salt, V: v.V, Revoked: true},
		"other":           {Seed: seed},
		"seedless":        {Group: "2048"},
		"small":           {Seed: seed, Group: "1024"},
	})
	get := func(realm, user string, want bool) Verifier {
		t.Helper()
		got, known, err := l.Verifier(t.Context(), realm, user)
		if err != nil || known != want || got.Realm != realm || got.User != user || got.Group.Name() != "2048" || len(got.V) != 256 || checkSalt(got.Salt) != nil {
			t.Fatalf("%s/%s: known %v, %d bytes, %v", realm, user, known, len(got.V), err)
		}
		return got
	}
	if got := get("devices", "known", true); !bytes.Equal(got.V, v.V) || !bytes.Equal(got.Salt, v.Salt) {
		t.Error("a known user got another verifier")
	}
	revoked := get("devices", "revoked", false)
	if bytes.Equal(revoked.V, v.V) || !bytes.Equal(revoked.Salt, v.Salt) {
		t.Error("a revoked user must have the salt it had, and no verifier of its own")
	}
	unknown := get("devices", "nobody", false)
	if again := get("devices", "nobody", false); !bytes.Equal(again.V, unknown.V) || !bytes.Equal(again.Salt, unknown.Salt) {
		t.Error("an unknown user got another verifier the second time")
	}
	if bytes.Compare(unknown.V, group.N()) >= 0 {
		t.Error("the verifier of an unknown user isn't below the prime")
	}
	// What was said of a name stays so in later versions: a node that is still an
	// older one gives the same, and who asks before and after learns nothing.
	if got := fmt.Sprintf("%x", unknown.Salt); got != "2b63bbd09b58cbc197c939d529e0dd321e114bae" {
		t.Errorf("the salt of an unknown user is another than it was: %s", got)
	}
	for _, other := range []Verifier{get("devices", "nobod", false), get("other", "nobody", false)} {
		if bytes.Equal(other.Salt, unknown.Salt) || bytes.Equal(other.V, unknown.V) {
			t.Error("two that are unknown share a salt or a verifier")
		}
	}
	for _, realm := range []string{"broken", "seedless", "small"} {
		if got, known, err := l.Verifier(t.Context(), realm, "known"); err == nil || known || len(got.V) > 0 {
			t.Errorf("%s: no error", realm)
		}
	}
}
