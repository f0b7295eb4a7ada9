// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/binding"
)

// A line is a TLS connection that a test writes HTTP/1.1 to by hand.
type line struct {
	*tls.Conn
	t testing.TB
	r *bufio.Reader
}

func (x *site) dial(t testing.TB, version uint16, certs ...tls.Certificate) *line {
	t.Helper()
	conn, err := tls.Dial("tcp", x.http.Listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, Certificates: certs, MinVersion: version, MaxVersion: version,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &line{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

func (l *line) send(parts ...string) {
	l.t.Helper()
	if _, err := io.WriteString(l.Conn, strings.Join(parts, "")); err != nil {
		l.t.Fatal(err)
	}
}

// A said is an answer as it was on the wire.
type said struct {
	status int
	head   []string // header lines as sent
	size   int      // of all that stands before the body
	body   string
}

// get finds a header by its name, byte for byte as libest does.
func (s said) get(name string) (string, bool) {
	for _, h := range s.head {
		if value, ok := strings.CutPrefix(h, name+": "); ok {
			return value, true
		}
	}
	return "", false
}

// read takes one answer. It must have a Content-Length, and is not chunked.
func (l *line) read() said {
	l.t.Helper()
	var s said
	for {
		text, err := l.r.ReadString('\n')
		if err != nil {
			l.t.Fatalf("after %q: %v", s.head, err)
		}
		s.size += len(text)
		text, ok := strings.CutSuffix(text, "\r\n")
		if !ok {
			l.t.Fatalf("line %q", text)
		}
		if text == "" {
			break
		}
		s.head = append(s.head, text)
	}
	if _, err := fmt.Sscanf(s.head[0], "HTTP/1.1 %d", &s.status); err != nil {
		l.t.Fatalf("%q: %v", s.head[0], err)
	}
	length, _ := s.get("Content-Length")
	n, err := strconv.Atoi(length)
	if err != nil {
		l.t.Fatalf("Content-Length %q in %q", length, s.head)
	}
	all := make([]byte, n)
	if _, err := io.ReadFull(l.r, all); err != nil {
		l.t.Fatal(err)
	}
	s.body = string(all)
	for _, h := range s.head[1:] {
		if name, _, _ := strings.Cut(h, ":"); name != textproto.CanonicalMIMEHeaderKey(name) && name != headerChallenge && name != binding.HeaderRequired {
			l.t.Errorf("header name %q", name)
		}
	}
	return s
}

// closed says whether the server has closed the connection after its answer.
func (l *line) closed() bool {
	l.t.Helper()
	if err := l.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		l.t.Fatal(err)
	}
	_, err := l.r.ReadByte()
	return err == io.EOF
}

// posting is a request by hand.
func posting(path, body string, header ...string) string {
	head := "POST " + root + "/" + path + " HTTP/1.1\r\nHost: est.example\r\nContent-Type: application/pkcs10\r\n"
	for _, h := range header {
		head += h + "\r\n"
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

const basic = "Authorization: Basic ZXN0dXNlcjplc3Rwd2Q="
