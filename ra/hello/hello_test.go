// SPDX-License-Identifier: Apache-2.0

package hello_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/hello"
)

// u16 puts a length of two bytes before the parts.
func u16(parts ...[]byte) []byte {
	all := slices.Concat(parts...)
	return append([]byte{byte(len(all) >> 8), byte(len(all))}, all...)
}

func extension(id byte, data ...[]byte) []byte { return append([]byte{0, id}, u16(data...)...) }

// message is a ClientHello with these extensions.
func message(extensions ...[]byte) []byte {
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0}, u16([]byte{0xc0, 0x2b}), []byte{1, 0}, u16(extensions...))
	return append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// records cuts a message into records of n bytes.
func records(msg []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(msg, n) {
		out = append(out, 22, 3, 1)
		out = append(out, u16(part)...)
	}
	return out
}

// srpHello offers SRP with a suite that takes no certificate.
func srpHello(suite byte, extensions ...[]byte) []byte {
	msg := message(extensions...)
	return bytes.Replace(msg, []byte{0, 2, 0xc0, 0x2b}, []byte{0, 2, 0xc0, suite}, 1)
}

var (
	named  = extension(0, u16([]byte{0}, u16([]byte("est.example.net"))))
	alice  = extension(12, []byte{5}, []byte("alice"))
	both   = slices.Concat(extension(22), extension(23))
	hashed = extension(3, u16([]byte{1}, hash))
)

func TestAClientHelloOffersSRP(t *testing.T) {
	for name, test := range map[string]struct {
		msg     []byte
		want    hello.Hello
		offers  bool
		failure string
	}{
		"AES-128 and all that is demanded": {msg: srpHello(0x1d, named, alice, both), offers: true, want: hello.Hello{
			ServerName: "est.example.net", User: "alice", Passworded: true, EncryptThenMAC: true, ExtendedMasterSecret: true,
		}},
		"AES-256":                            {msg: srpHello(0x20, alice), offers: true, want: hello.Hello{User: "alice", Passworded: true}},
		"3DES is no suite":                   {msg: srpHello(0x1a, alice), want: hello.Hello{User: "alice"}},
		"a suite with a certificate":         {msg: srpHello(0x1e, alice), want: hello.Hello{User: "alice"}},
		"a suite, and no user":               {msg: srpHello(0x20, named), want: hello.Hello{ServerName: "est.example.net", Passworded: true}},
		"an empty user":                      {msg: srpHello(0x20, extension(12, []byte{0})), failure: "the user name of SRP has a wrong length"},
		"a user that is cut":                 {msg: srpHello(0x20, extension(12, []byte{9}, []byte("alice"))), failure: "the user name of SRP has a wrong length"},
		"something behind the user":          {msg: srpHello(0x20, extension(12, []byte{1}, []byte("alice"))), failure: "the user name of SRP has a wrong length"},
		"the extension twice":                {msg: srpHello(0x20, alice, alice), failure: "the extension 12 stands twice"},
		"a server name of a kind to come":    {msg: srpHello(0x20, extension(0, u16([]byte{7}, u16([]byte("x")))), alice), offers: true, want: hello.Hello{User: "alice", Passworded: true}},
		"a list of server names that is cut": {msg: srpHello(0x20, extension(0, []byte{0, 9, 0}), alice), failure: "the list of server names has a wrong length"},
		"a server name that is cut":          {msg: srpHello(0x20, extension(0, u16([]byte{0, 0, 9, 'x'})), alice), failure: "the ClientHello ends too soon"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hello.Parse(test.msg)
			if test.failure != "" {
				if err == nil || !strings.Contains(err.Error(), test.failure) {
					t.Fatalf("the error is %v", err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(*got, test.want) || got.OffersSRP() != test.offers {
				t.Errorf("%+v, offers %t, %v", got, got.OffersSRP(), err)
			}
		})
	}
	var none *hello.Hello
	if none.OffersSRP() {
		t.Error("a ClientHello that couldn't be read offers SRP")
	}
}

// A pieces connection gives so many bytes at once.
type pieces struct {
	net.Conn
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.left)
	p.left = p.left[n:]
	return n, nil
}

func TestPeekTakesNothingAway(t *testing.T) {
	offer := srpHello(0x20, named, alice, both)
	for name, test := range map[string]struct {
		stream []byte
		offers bool
		failed error
	}{
		"in one record":            {append(records(offer, 1<<14), "and more"...), true, nil},
		"in records of one byte":   {append(records(offer, 1), "and more"...), true, nil},
		"that offers no SRP":       {append(records(message(named), 1<<14), "and more"...), false, nil},
		"plain HTTP":               {[]byte("GET / HTTP/1.1\r\n\r\n"), false, nil},
		"that is cut":              {records(offer, 1<<14)[:50], false, io.EOF},
		"nothing":                  {nil, false, io.EOF},
		"in too many records":      {records(srpHello(0x20, alice, extension(21, make([]byte, hello.MaxRecords))), 1), false, nil},
		"of the longest there are": {records(srpHello(0x20, alice, extension(21, make([]byte, hello.MaxSize-72))), 40), true, nil},
	} {
		for _, size := range []int{1, 7, 4096} {
			conn := hello.NewConn(&pieces{left: test.stream, size: size})
			got, err := conn.Peek()
			if got.OffersSRP() != test.offers || !errors.Is(err, test.failed) {
				t.Errorf("%s, %d bytes at once: %+v, %v", name, size, got, err)
			}
			if again, err := conn.Peek(); test.failed == nil && (again != got || err != nil) {
				t.Errorf("%s: peeked at twice: %+v, %v", name, again, err)
			}
			if back, err := io.ReadAll(conn); err != nil || !bytes.Equal(back, test.stream) {
				t.Errorf("%s, %d bytes at once: %d of %d bytes are read, %v", name, size, len(back), len(test.stream), err)
			}
		}
	}
}

var hash = bytes.Repeat([]byte{7}, 20)

func TestAClientHelloNamesItsCAs(t *testing.T) {
	sni := extension(0, u16([]byte{0}, u16([]byte("est.example.net"))))
	long := message(extension(21, make([]byte, hello.MaxSize)))
	for name, test := range map[string]struct {
		msg         []byte
		names       []string
		keys, certs int
		failure     string
	}{
		"none at all":                           {msg: message(sni)},
		"certificate_authorities with two":      {msg: message(sni, extension(47, u16(u16([]byte("one")), u16([]byte("two"))))), names: []string{"one", "two"}},
		"trusted_ca_keys of all kinds":          {msg: message(extension(3, u16([]byte{0, 1}, hash, []byte{2}, u16([]byte("three")), []byte{3}, hash))), names: []string{"three"}, keys: 1, certs: 1},
		"both extensions":                       {msg: message(extension(3, u16([]byte{2}, u16([]byte("a")))), extension(47, u16(u16([]byte("b"))))), names: []string{"a", "b"}},
		"pre_agreed alone names nobody":         {msg: message(extension(3, u16([]byte{0})))},
		"an empty list":                         {msg: message(extension(47, u16()))},
		"the same extension twice":              {msg: message(extension(47, u16(u16([]byte("b")))), extension(47, u16(u16([]byte("c"))))), failure: "the extension 47 stands twice"},
		"an empty name":                         {msg: message(extension(47, u16(u16()))), failure: "extension 47 has a CA that can't be read"},
		"a hash that is cut":                    {msg: message(extension(3, u16([]byte{1}, hash[:19]))), failure: "extension 3 has a CA that can't be read"},
		"an unknown kind":                       {msg: message(extension(3, u16([]byte{4}, hash))), failure: "extension 3 has a CA that can't be read"},
		"a list that is longer than its data":   {msg: message(extension(47, []byte{0, 9, 0, 1, 'a'})), failure: "the list of extension 47 has a wrong length"},
		"a list that is shorter than its data":  {msg: message(extension(47, u16(u16([]byte("b"))), []byte{0})), failure: "the list of extension 47 has a wrong length"},
		"an extension without its data":         {msg: message([]byte{0, 47, 0, 9}), failure: "the ClientHello ends too soon"},
		"as many CAs as are read":               {msg: message(extension(47, u16(bytes.Repeat([]byte{0, 1, 'a'}, hello.MaxCAs)))), names: slices.Repeat([]string{"a"}, hello.MaxCAs)},
		"one CA more":                           {msg: message(extension(47, u16(bytes.Repeat([]byte{0, 1, 'a'}, hello.MaxCAs+1)))), failure: "more than 512 CAs are named"},
		"another message":                       {msg: append([]byte{2}, message()[1:]...), failure: "the message isn't one ClientHello"},
		"a wrong length":                        {msg: append(message(), 0), failure: "the message isn't one ClientHello"},
		"nothing":                               {failure: "the message isn't one ClientHello"},
		"a message that is too long to be read": {msg: long, failure: "at most 32768 are read"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hello.Parse(test.msg)
			if test.failure != "" {
				if err == nil || !strings.Contains(err.Error(), test.failure) {
					t.Fatalf("the error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, n := range got.Names {
				names = append(names, string(n))
			}
			if !slices.Equal(names, test.names) || len(got.KeyHashes) != test.keys || len(got.CertHashes) != test.certs {
				t.Errorf("%q %x %x", names, got.KeyHashes, got.CertHashes)
			}
			if empty := len(names)+test.keys+test.certs == 0; got.Empty() != empty {
				t.Errorf("Empty is %t", got.Empty())
			}
		})
	}
}

func TestAReaderTakesAnyPieces(t *testing.T) {
	msg := message(extension(47, u16(u16([]byte("one")))))
	for _, size := range []int{1, 3, 7, 1 << 14} {
		for _, piece := range []int{1, 2, 5, 6, 1 << 14} {
			stream := append(records(msg, size), "and what follows"...)
			var r hello.Reader
			for part := range slices.Chunk(stream, piece) {
				r.Feed(part)
			}
			if got := r.Hello(); !r.Done() || got.Empty() || string(got.Names[0]) != "one" {
				t.Errorf("records of %d bytes, read %d at once: done %t, %+v", size, piece, r.Done(), got)
			}
		}
	}
}

func TestAReaderGivesUpWhereNoClientHelloIs(t *testing.T) {
	for name, stream := range map[string][]byte{
		"plain HTTP":                  []byte("GET"),
		"another record":              {23},
		"another version":             {22, 2, 0, 0, 9},
		"an empty record":             {22, 3, 1, 0, 0},
		"a record that is too long":   {22, 3, 1, 0x40, 1},
		"another message":             {22, 3, 1, 0, 9, 2},
		"a message without content":   {22, 3, 1, 0, 4, 1, 0, 0, 0},
		"a message that is too long":  {22, 3, 1, 0, 9, 1, 0, 0x80, 0},
		"a message that is malformed": records(append([]byte{1, 0, 0, 1}, 9), 9),
	} {
		var r hello.Reader
		r.Feed(stream)
		if !r.Done() || r.Hello() != nil {
			t.Errorf("%s: done %t, %+v", name, r.Done(), r.Hello())
		}
	}
	var r hello.Reader
	r.Feed(records(message(), 1<<14)[:40])
	if r.Done() || r.Hello() != nil {
		t.Error("a ClientHello that isn't complete counts as one")
	}
}

// What crypto/tls sends is complete and names nobody.
func TestGosOwnClientHelloIsRead(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "est.example.net"}).Handshake() // ended below
	}()
	var r hello.Reader
	buf := make([]byte, 100)
	for !r.Done() {
		n, err := server.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		r.Feed(buf[:n])
	}
	_ = server.Close()
	if r.Hello() != nil {
		t.Errorf("%+v", r.Hello())
	}
}

func certificate(t *testing.T, cn string, key crypto.Signer, parent *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, IsCA: !strings.Contains(cn, "."), BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	if parent == nil {
		parent, signer = ca, key
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// What a client may name of the chain leaf, issuing CA, root: the formats are
// those of RFC 6066 section 6.
func TestAClientTrustsAChainByEveryNameOfItsCAs(t *testing.T) {
	rootKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := certificate(t, "root", rootKey, nil, nil)
	issuing := certificate(t, "issuing", key, root, rootKey)
	leaf := certificate(t, "est.example.net", key, issuing, key)
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuing.RawSubjectPublicKeyInfo, &info); err != nil {
		t.Fatal(err)
	}
	full, short := []*x509.Certificate{leaf, issuing, root}, []*x509.Certificate{leaf, issuing}
	for name, test := range map[string]struct {
		said  hello.Hello
		chain []*x509.Certificate
		want  bool
	}{
		"the root's name":                               {hello.Hello{Names: [][]byte{root.RawSubject}}, full, true},
		"the root's name, which the chain hasn't":       {hello.Hello{Names: [][]byte{root.RawSubject}}, short, true},
		"the issuing CA's name":                         {hello.Hello{Names: [][]byte{issuing.RawSubject}}, short, true},
		"another name before":                           {hello.Hello{Names: [][]byte{{1}, root.RawSubject}}, full, true},
		"the leaf's own name":                           {hello.Hello{Names: [][]byte{leaf.RawSubject}}, full, false},
		"the hash of the root's modulus":                {hello.Hello{KeyHashes: [][20]byte{sha1.Sum(rootKey.N.Bytes())}}, full, true},
		"the hash of the issuing CA's subjectPublicKey": {hello.Hello{KeyHashes: [][20]byte{sha1.Sum(info.Key.Bytes)}}, full, true},
		"the root's hash, which the chain hasn't":       {hello.Hello{KeyHashes: [][20]byte{sha1.Sum(rootKey.N.Bytes())}}, short, false},
		"the hash of the root's certificate":            {hello.Hello{CertHashes: [][20]byte{sha1.Sum(root.Raw)}}, full, true},
		"the hash of the leaf's certificate":            {hello.Hello{CertHashes: [][20]byte{sha1.Sum(leaf.Raw)}}, full, false},
		"a hash of nothing, as a CA without hashes has": {hello.Hello{KeyHashes: make([][20]byte, 1), CertHashes: make([][20]byte, 1)}, short, false},
		"nothing": {hello.Hello{}, full, false},
	} {
		if got := test.said.Trusts(hello.CAsOf(test.chain)); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	var none *hello.Hello
	if none.Trusts(hello.CAsOf(full)) {
		t.Error("a ClientHello that couldn't be read names a CA")
	}
}

// FuzzReader: in pieces it finds what it finds at once, it stays within its
// bound, and it ends.
func FuzzReader(f *testing.F) {
	good := message(extension(3, u16([]byte{0, 1}, hash, []byte{2}, u16([]byte("three")), []byte{3}, hash)), extension(47, u16(u16([]byte("one")))))
	f.Add(records(good, 1<<14), uint8(1))
	f.Add(records(good, 5), uint8(3))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, uint8(2))
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint8(9))
	f.Add(records(srpHello(0x20, named, alice, both), 1<<14), uint8(200))
	f.Add(records(srpHello(0x1d, both, alice, hashed), 1), uint8(0))
	f.Add(records(srpHello(0x20, extension(12, []byte{9}, []byte("alice"))), 20), uint8(4))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		var whole, pieces hello.Reader
		whole.Feed(stream)
		for part := range slices.Chunk(stream, int(piece)+1) {
			pieces.Feed(part)
		}
		if whole.Done() != pieces.Done() || whole.Hello().Empty() != pieces.Hello().Empty() || whole.Hello().OffersSRP() != pieces.Hello().OffersSRP() {
			t.Errorf("at once: done %t, %+v; in pieces: done %t, %+v", whole.Done(), whole.Hello(), pieces.Done(), pieces.Hello())
		}
		if got := whole.Hello(); got != nil {
			kept := 20 * (len(got.KeyHashes) + len(got.CertHashes))
			for _, name := range got.Names {
				kept += len(name)
			}
			kept += len(got.User) + len(got.ServerName)
			if kept > len(stream) {
				t.Errorf("%d bytes are kept of %d", kept, len(stream))
			}
		}
	})
}

// FuzzParse: no panic, and nothing beside an error.
func FuzzParse(f *testing.F) {
	f.Add(message(extension(3, u16([]byte{1}, hash)), extension(47, u16(u16([]byte("one"))))))
	f.Add(message())
	f.Add(srpHello(0x20, named, alice, both))
	f.Add(srpHello(0x1d, alice, hashed, extension(0, u16([]byte{7}, u16([]byte("x"))))))
	f.Add(srpHello(0x20, alice, alice))
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := hello.Parse(msg)
		if (got == nil) == (err == nil) {
			t.Errorf("%+v, %v", got, err)
		}
		got.Trusts(nil)
	})
}
