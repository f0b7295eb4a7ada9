// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// What OpenSSL 3.0 and sha1sum said of a key:
//
//	openssl rsa -in key.pem -modulus -noout | sha1sum
//	openssl rsa -in key.pem -pubout -outform DER | sha256sum
const (
	listedModulus = "d5af939771554be15c9a7741e83f999ca29761a0cd2a7f4db6162e755b2f7ee4" +
		"4fa0c5f0892ccd6595cc34c8a876810274aa76bbf14d47cdc63e4cf644ca7bc7"
	listedSHA1 = "16be5bd7d08301ae945281ae79992eb9aaa73fd2"
	listedSPKI = "693740c330311be81f4e5db74d7116100bdc43f722b59c40ef3947f9e490ca58"
)

func TestAListHasWhatItsLinesSay(t *testing.T) {
	n := hexNumber(t, listedModulus)
	var spki [sha256.Size]byte
	if _, err := hex.Decode(spki[:], []byte(listedSPKI)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, src           string
		debian              bool
		len                 int
		hasModulus, hasSPKI bool
	}{
		{"nothing", "", true, 0, false, false},
		{"comments alone", "# RSA keys, 2048 bits\n\n   \n#\n", true, 0, false, false},
		{"openssl-blacklist", "# comment\n0000000000000000000a\n" + listedSHA1[20:] + "\nffffffffffffffffffff\n", true, 3, true, false},
		{"the whole SHA-1", listedSHA1, true, 1, true, false},
		{"upper case, a comment after it, CRLF", strings.ToUpper(listedSHA1[20:]) + " # a router\r\n", true, 1, true, false},
		{"the other half of the SHA-1", listedSHA1[:20], true, 1, false, false},
		{"an SPKI among Debian's", listedSPKI + "\n", true, 1, false, true},
		{"an SPKI", "\t" + listedSPKI + "#stolen\n" + strings.Repeat("0", 64), false, 2, false, true},
		{"a byte order mark would be a mistake, a line twice is none", listedSPKI + "\n" + listedSPKI, false, 2, false, true},
	} {
		parse := ParseSPKIList
		if c.debian {
			parse = ParseDebianList
		}
		list, mistakes := parse([]byte(c.src))
		if len(mistakes) > 0 || list.Len() != c.len || list.HasModulus(n) != c.hasModulus || list.HasSPKI(spki) != c.hasSPKI {
			t.Errorf("%s: %d hashes, modulus %v, SPKI %v, mistakes %v",
				c.name, list.Len(), list.HasModulus(n), list.HasSPKI(spki), mistakes)
		}
		if list.HasModulus(big.NewInt(35)) || list.HasModulus(nil) || list.HasSPKI([sha256.Size]byte{1}) {
			t.Errorf("%s: it has what isn't on it", c.name)
		}
	}
}

func TestMistakesOfAListHaveTheirLines(t *testing.T) {
	for _, c := range []struct {
		name, src string
		debian    bool
		want      string
	}{
		{"an odd length", "#\nabc\n", false, `2:1: a line has the 64 hexadecimal digits of a key's SPKI SHA-256, and this is "abc"`},
		{"a SHA-1 among SPKIs", "\n\n  " + listedSHA1, false, "3:3: a line has the 64 hexadecimal digits of a key's SPKI SHA-256, and this has 40"},
		{"two on a line", listedSPKI + " " + listedSPKI, false, "1:1: a line has the 64 hexadecimal digits of a key's SPKI SHA-256, and this has 129 characters"},
		{"a fingerprint with colons", "16:be:5b:d7", true, `1:1: a line has 20, 40 or 64 hexadecimal digits: the end or the whole of the SHA-1 that openssl-blacklist has, or a key's SPKI SHA-256, and this is "16:be:5b:d7"`},
		{"an MD5", strings.Repeat("0", 32), true, "1:1: a line has 20, 40 or 64 hexadecimal digits: the end or the whole of the SHA-1 that openssl-blacklist has, or a key's SPKI SHA-256, and this has 32"},
		{"control characters", "\x1b[2J", false, `1:1: a line has the 64 hexadecimal digits of a key's SPKI SHA-256, and this is "\x1b[2J"`},
	} {
		parse := ParseSPKIList
		if c.debian {
			parse = ParseDebianList
		}
		_, mistakes := parse([]byte(c.src))
		if len(mistakes) != 1 || fmt.Sprintf("%d:%d: %s", mistakes[0].Line, mistakes[0].Col, mistakes[0].Message) != c.want {
			t.Errorf("%s: %v, want %s", c.name, mistakes, c.want)
		}
	}
	if _, mistakes := ParseSPKIList([]byte(strings.Repeat("x\n", 1000))); len(mistakes) != mostMistakes {
		t.Errorf("%d mistakes of a file that is no list", len(mistakes))
	}
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte(listedSHA1[20:]+"\n# x\n"+listedSPKI), true)
	f.Add([]byte("\xff\x00#\r"), false)
	f.Fuzz(func(t *testing.T, src []byte, debian bool) {
		list, mistakes := parseList(src, debian)
		for _, m := range mistakes {
			if m.Line < 1 || m.Col < 1 || m.Message == "" {
				t.Errorf("a mistake without place or words: %+v", m)
			}
		}
		for _, sum := range list.spki {
			if !list.HasSPKI(sum) {
				t.Errorf("%x is on the list, and isn't found", sum)
			}
		}
		list.HasModulus(big.NewInt(3))
	})
}

func BenchmarkListOf100000(b *testing.B) {
	var src strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&src, "%020x\n", i*7919)
	}
	list, _ := ParseDebianList([]byte(src.String()))
	n := hexNumber(b, listedModulus)
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			ParseDebianList([]byte(src.String()))
		}
	})
	b.Run("look", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			list.HasModulus(n)
		}
	})
}
