// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package srp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/certless"
	users "github.com/caddy-est/estra/ra/srp"
)

// A probe is a client that knows no password: it goes as far as a guess, and
// looks at what it is told.
type probe struct {
	conn  net.Conn
	left  []byte // of handshake messages
	hello []byte // the server's, without header
	keys  []byte // ServerKeyExchange
	// flight and end are how long the server took for its first flight, and for
	// its alert.
	flight, end time.Duration
	alert       []byte
}

func vec16(parts ...[]byte) []byte {
	all := slices.Concat(parts...)
	return append([]byte{byte(len(all) >> 8), byte(len(all))}, all...)
}

func extension(id byte, data ...[]byte) []byte { return append([]byte{0, id}, vec16(data...)...) }

func message(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func record(kind byte, body []byte) []byte { return append([]byte{kind, 3, 3}, vec16(body)...) }

// random is never all zeros.
func random(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	return p
}

// clientHello asks for a session to be resumed, for a ticket and for compression.
func clientHello(version byte, name string, more ...[]byte) []byte {
	extensions := append([][]byte{
		extension(12, []byte{byte(len(name))}, []byte(name)), extension(22), extension(23), extension(35), extension(13, vec16([]byte{4, 1, 2, 1})),
	}, more...)
	return message(1, slices.Concat([]byte{3, version}, random(32), []byte{32}, random(32), vec16([]byte{0xc0, 0x1d, 0xc0, 0x20}), []byte{2, 1, 0}, vec16(extensions...)))
}

func dial(t *testing.T, port string) *probe {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &probe{conn: conn}
}

// record reads one record.
func (p *probe) record() (kind byte, body []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(p.conn, header[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, int(header[3])<<8|int(header[4]))
	_, err = io.ReadFull(p.conn, body)
	return header[0], body, err
}

// next reads one handshake message; nil: an alert came.
func (p *probe) next(t *testing.T) (kind byte, body []byte) {
	t.Helper()
	for len(p.left) < 4 || len(p.left) < 4+int(p.left[1])<<16+int(p.left[2])<<8+int(p.left[3]) {
		kind, more, err := p.record()
		if err != nil {
			t.Fatal(err)
		}
		if kind == 21 {
			p.alert = more
			return 0, nil
		}
		p.left = append(p.left, more...)
	}
	n := 4 + int(p.left[1])<<16 + int(p.left[2])<<8 + int(p.left[3])
	kind, body = p.left[0], p.left[4:n]
	p.left = p.left[n:]
	return kind, body
}

// guess goes to the end.
func (p *probe) guess(t *testing.T, name string) {
	t.Helper()
	start := time.Now()
	_, _ = p.conn.Write(record(22, clientHello(3, name)))
	for kind := byte(0); kind != 14; { // ServerHelloDone
		var body []byte
		switch kind, body = p.next(t); kind {
		case 0:
			t.Fatalf("%s: the alert %x before a password", name, p.alert)
		case 2:
			p.hello = body
		case 12:
			p.keys = body
		}
	}
	p.flight = time.Since(start)
	a := random(len(users.Verifier{Group: group2048}.Group.N()))
	a[0] &= 0x7f
	start = time.Now()
	_, _ = p.conn.Write(slices.Concat(record(22, message(16, vec16(a))), record(20, []byte{1}), record(22, random(16+16+20))))
	kind, body, err := p.record()
	p.end = time.Since(start)
	if err != nil || kind != 21 {
		t.Fatalf("%s: record %d %x, %v", name, kind, body, err)
	}
	p.alert = body
	if _, _, err := p.record(); err == nil {
		t.Errorf("%s: the connection goes on after its alert", name)
	}
}

var group2048, _ = users.GroupNamed("2048")

// fields takes ServerKeyExchange apart (RFC 5054 section 2.8.2): N, g, s, B.
func fields(t *testing.T, body []byte) (all [4][]byte) {
	t.Helper()
	for i := range all {
		width := 2
		if i == 2 {
			width = 1
		}
		if len(body) < width {
			t.Fatalf("ServerKeyExchange is cut: %x", body)
		}
		n := int(body[width-1])
		if width == 2 {
			n |= int(body[0]) << 8
		}
		all[i], body = body[width:width+n], body[width+n:]
	}
	if len(body) > 0 {
		t.Fatalf("ServerKeyExchange goes on: %x", body)
	}
	return all
}

func TestThreat_TheServersFlightTellsNothingAndResumesNothing(t *testing.T) {
	port, _ := serve(t, "2048")
	salts := map[string][]byte{}
	for _, name := range []string{user, "mallory", user, "mallory", "eve", "x"} {
		p := dial(t, port)
		p.guess(t, name)
		if !bytes.Equal(p.alert, []byte{2, 20}) {
			t.Errorf("%s: the alert is %x", name, p.alert)
		}
		// version, random, an empty session, the suite, no compression
		if !bytes.Equal(p.hello[:2], []byte{3, 3}) || p.hello[34] != 0 || !bytes.Equal(p.hello[35:38], []byte{0xc0, 0x20, 0}) {
			t.Errorf("%s: ServerHello is %x", name, p.hello)
		}
		extensions := p.hello[40:]
		for id, want := range map[byte]bool{22: true, 23: true, 35: false} {
			if got := bytes.Contains(extensions, extension(id)); got != want {
				t.Errorf("%s: extension %d: %t", name, id, got)
			}
		}
		got := fields(t, p.keys)
		if !bytes.Equal(got[0], group2048.N()) || !bytes.Equal(got[1], group2048.G()) {
			t.Errorf("%s: another group", name)
		}
		if known, again := salts[name]; again && !bytes.Equal(known, got[2]) {
			t.Errorf("%s: two salts, %x and %x", name, known, got[2])
		}
		salts[name] = got[2]
	}
	for name, salt := range salts {
		if len(salt) < len(salts[user])-1 || len(salt) > len(salts[user])+1 { // a zero in front is left out
			t.Errorf("the salt of %s has %d bytes", name, len(salt))
		}
	}
}

func TestASmallerHelloIsRefused(t *testing.T) {
	port, reps := serve(t, "2048")
	for name, test := range map[string]struct {
		hello []byte
		alert byte
		want  certless.Outcome
	}{
		"TLS 1.1":                {clientHello(2, user), 70, certless.Broken},
		"a name with a zero":     {clientHello(3, "dev\x00ice"), 0, certless.Broken},
		"no extended secret":     {bytes.Replace(clientHello(3, user), extension(23), extension(99), 1), 40, certless.Unfit},
		"no encrypt-then-MAC":    {bytes.Replace(clientHello(3, user), extension(22), extension(99), 1), 40, certless.Unfit},
		"something else follows": {append(clientHello(3, user), message(20, random(12))...), 0, certless.Broken},
	} {
		p := dial(t, port)
		_, _ = p.conn.Write(record(22, test.hello))
		kind, _ := p.next(t)
		for kind != 0 && kind != 14 {
			kind, _ = p.next(t)
		}
		if kind == 14 { // the message that follows is refused now
			_, p.alert, _ = p.record()
		}
		if len(p.alert) != 2 || p.alert[0] != 2 || test.alert != 0 && p.alert[1] != test.alert {
			t.Errorf("%s: the alert is %x", name, p.alert)
		}
	}
	got := map[certless.Outcome]int{}
	for _, r := range reps.wait(t, 5) {
		got[r.Outcome]++
	}
	if got[certless.Unfit] != 2 || got[certless.Broken] != 3 {
		t.Errorf("%v", got)
	}
}

// slowly is a Lookup that has to think about those it doesn't know.
type slowly struct{ users.Lookup }

func (s slowly) Verifier(ctx context.Context, realm, name string) (users.Verifier, bool, error) {
	v, known, err := s.Lookup.Verifier(ctx, realm, name)
	if !known {
		time.Sleep(3 * time.Millisecond)
	}
	return v, known, err
}

// above is how often one of a is above one of b: a half where they are alike.
func above(a, b []time.Duration) float64 {
	sum := 0.0
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				sum++
			case x == y:
				sum += 0.5
			}
		}
	}
	return sum / float64(len(a)*len(b))
}

// TestThreat_TimeTellsNothingOfAUser compares known and unknown users, and those who
// are throttled, taking turns at random: their places in order, not how long they
// take, so that a machine with other work changes nothing. By chance alone the
// measure is off by more than 0.15 in one run of a million.
func TestThreat_TimeTellsNothingOfAUser(t *testing.T) {
	const each, bound = 200, 0.15
	measure := func(look users.Lookup) (flight, end [2][]time.Duration) {
		port, _ := serveFor(t, look, nil)
		turns := append(make([]int, each), slices.Repeat([]int{1}, each)...)
		mathrand.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
		for i, who := range turns {
			p := dial(t, port)
			name := user
			if who == 1 {
				name = fmt.Sprintf("device-%d", 1000+i)
			}
			p.guess(t, name)
			_ = p.conn.Close()
			flight[who], end[who] = append(flight[who], p.flight), append(end[who], p.end)
		}
		return flight, end
	}
	flight, end := measure(lookup(t, "2048"))
	for what, of := range map[string][2][]time.Duration{"the first flight": flight, "the alert": end} {
		if got := above(of[1], of[0]); got < 0.5-bound || got > 0.5+bound {
			t.Errorf("%s: an unknown user takes longer than a known one in %.2f of all pairs", what, got)
		}
	}
	if flight, _ := measure(slowly{lookup(t, "2048")}); above(flight[1], flight[0]) < 0.5+bound {
		t.Error("a look-up that does tell isn't found")
	}
}

// TestASlowClientInPiecesIsLetIn: its ClientHello in records of three bytes, each
// sent alone.
func TestASlowClientInPiecesIsLetIn(t *testing.T) {
	port, _ := serve(t, "2048")
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go func() {
		client, err := front.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return
		}
		defer server.Close()
		_, body, err := (&probe{conn: client}).record()
		if err != nil {
			return
		}
		for part := range slices.Chunk(body, 3) {
			for _, b := range record(22, part) {
				_, _ = server.Write([]byte{b})
			}
		}
		go func() { _, _ = io.Copy(server, client) }()
		_, _ = io.Copy(client, server)
	}()
	_, behind, _ := net.SplitHostPort(front.Addr().String())
	if out, err := curl(t, user, password, "https://127.0.0.1:"+behind+"/"); err != nil || !strings.HasPrefix(out, "devices/device-1 ") {
		t.Errorf("%q, %v", out, err)
	}
}
