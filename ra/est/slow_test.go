// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/ratest"
)

const soon = 100 * time.Millisecond

func TestSlowBodies(t *testing.T) {
	x := newSite(t, func(x *site) { x.Limits.BodyTimeout = soon })
	csr := csrBody(t)
	whole := posting("simpleenroll", csr, basic)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"a body that stops":                    {whole[:len(whole)-10], 400},
		"a body that never comes":              {strings.TrimSuffix(whole, csr), 400},
		"a chunk that stops":                   {strings.Replace(whole[:len(whole)-10], "Content-Length: ", "Transfer-Encoding: chunked\r\nX: ", 1), 400},
		"a long body that never comes":         {strings.Replace(posting("simpleenroll", "", basic), "Length: 0", "Length: 100000", 1), 413},
		"nobody's body that never comes":       {strings.TrimSuffix(posting("simpleenroll", csr), csr), 401},
		"a wrong type's body that never comes": {strings.TrimSuffix(strings.Replace(whole, "pkcs10", "json", 1), csr), 415},
		"a wrong path's body that never comes": {strings.TrimSuffix(posting("none", csr), csr), 404},
	} {
		t.Run(name, func(t *testing.T) {
			l := x.dial(t, tls.VersionTLS13)
			start := time.Now()
			l.send(c.request)
			s := l.read()
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("the answer took %s", took)
			}
			if v, _ := s.get("Connection"); s.status != c.status || v != "close" {
				t.Errorf("%q, want %d", s.head, c.status)
			}
			if !l.closed() {
				t.Error("the connection stays open")
			}
		})
	}
}

func TestASlowBodyOnHTTP2(t *testing.T) {
	x := newSite(t, func(x *site) { x.Limits.BodyTimeout = soon })
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "MII") }()
	req, err := http.NewRequestWithContext(t.Context(), "POST", x.http.URL+root+"/simpleenroll", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth("estuser", "estpwd")
	resp, err := x.client(true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 || resp.ProtoMajor != 2 {
		t.Errorf("%s %d", resp.Proto, resp.StatusCode)
	}
}

// The deadline of the body is over when the CA takes longer than it.
func TestASlowCAIsNotASlowBody(t *testing.T) {
	ended := make(chan error, 4)
	x := newSite(t, func(x *site) {
		x.Limits.BodyTimeout = soon
		x.Observe = func(ctx context.Context, _ Report) { ended <- ctx.Err() }
	})
	x.ca.Set(ratest.Knobs{Delay: 3 * soon})
	for _, http2 := range []bool{false, true} {
		client := x.client(http2)
		for range 2 {
			if g := x.doWith(client, call{user: right}); g.StatusCode != 200 {
				t.Errorf("HTTP/2 %v: %d %q", http2, g.StatusCode, g.body)
			}
			if err := <-ended; err != nil {
				t.Errorf("HTTP/2 %v: the request was cancelled: %v", http2, err)
			}
		}
	}
}

func TestARefusedBodyIsTakenInAndTheConnectionServesOn(t *testing.T) {
	x := newSite(t)
	l := x.dial(t, tls.VersionTLS13)
	for request, want := range map[string]int{
		posting("simpleenroll", csrBody(t)): 401, posting("none", csrBody(t)): 404,
		strings.Replace(posting("cacerts", csrBody(t)), "POST", "GET", 1): 200,
		posting("simpleenroll", csrBody(t), basic):                        200,
	} {
		l.send(request)
		if s := l.read(); s.status != want {
			t.Errorf("%q, want %d", s.head, want)
		}
	}
}

// A reset would overtake the answer where a client sends on, and many read
// nothing before they have sent all.
func TestTheAnswerToALongBodyIsReadAfterAllOfItWasSent(t *testing.T) {
	const size = 3 << 20
	x := newSite(t)
	for name, c := range map[string]struct {
		header []string
		status int
	}{
		"with a length":           {[]string{fmt.Sprintf("Content-Length: %d", size), basic}, 413},
		"with a length, nobody's": {[]string{fmt.Sprintf("Content-Length: %d", size)}, 413},
		"in chunks":               {[]string{"Transfer-Encoding: chunked", basic}, 413},
		"in chunks, nobody's":     {[]string{"Transfer-Encoding: chunked"}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			l := x.dial(t, tls.VersionTLS13)
			head, _, _ := strings.Cut(posting("simpleenroll", ""), "Content-Length")
			l.send(head, strings.Join(c.header, "\r\n"), "\r\n\r\n")
			if strings.HasPrefix(name, "in chunks") {
				l.send(fmt.Sprintf("%x\r\n", size))
			}
			for range size / 4096 {
				l.send(strings.Repeat("A", 4096))
			}
			time.Sleep(soon) // for a reset to come in
			s := l.read()
			if v, _ := s.get("Connection"); s.status != c.status || v != "close" {
				t.Errorf("%q, want %d", s.head, c.status)
			}
		})
	}
}

// What a client offers with Expect is not asked for, only to be thrown away.
func TestARefusalDoesNotAskForTheBody(t *testing.T) {
	x := newSite(t)
	l := x.dial(t, tls.VersionTLS13)
	csr := csrBody(t)
	l.send(strings.TrimSuffix(posting("simpleenroll", csr, "Expect: 100-continue"), csr))
	if s := l.read(); s.status != 401 {
		t.Errorf("%q", s.head)
	}
}

// deadlines is a ResponseWriter that notes the read deadlines.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestNoDeadlineIsLeftBehind(t *testing.T) {
	x := newSite(t)
	for name, c := range map[string]struct{ user, body string }{
		"read": {"estuser", csrBody(t)}, "taken in": {"nobody", csrBody(t)}, "empty": {"estuser", ""},
	} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("POST", root+"/simpleenroll", io.NopCloser(strings.NewReader(c.body)))
		r.Header.Set("Content-Type", "application/pkcs10")
		r.SetBasicAuth(c.user, "estpwd")
		x.ServeHTTP(w, r)
		if len(w.set) != 2 || time.Until(w.set[0]) > defaultBodyTimeout || !w.set[1].IsZero() {
			t.Errorf("%s: %v", name, w.set)
		}
	}
}

// On HTTP/2 and 3 a body is given up with its stream alone.
func TestAnUnreadBodyClosesHTTP1Only(t *testing.T) {
	x := newSite(t)
	for major, want := range map[int]string{1: "close", 2: "", 3: ""} {
		r := httptest.NewRequest("POST", root+"/simpleenroll", strings.NewReader(strings.Repeat("A", 1<<20)))
		r.ProtoMajor = major
		w := httptest.NewRecorder()
		x.ServeHTTP(w, r)
		if got := w.Header().Get("Connection"); w.Code != 413 || got != want {
			t.Errorf("HTTP/%d: %d, Connection %q", major, w.Code, got)
		}
	}
}

// A linked request on HTTP/2 ends the connection: the next one is a new one.
func TestLinkingOnHTTP2EndsTheConnection(t *testing.T) {
	x := newSite(t)
	var dialled atomic.Pointer[tls.Conn]
	var dials atomic.Int32
	client := x.client(true)
	client.Transport.(*http.Transport).DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
		conn, err := d.DialContext(ctx, network, addr)
		if err == nil {
			dials.Add(1)
			dialled.Store(conn.(*tls.Conn))
		}
		return conn, err
	}
	x.doWith(client, call{method: "GET", path: "cacerts"})
	csr := linkedTo(t, dialled.Load(), csrtest.ChallengePassword)
	g := x.doWith(client, call{path: "linked/simpleenroll", body: csr, user: right})
	if g.StatusCode != 200 || g.ProtoMajor != 2 {
		t.Fatal(g.Proto, g.StatusCode, g.body)
	}
	time.Sleep(soon / 2) // GOAWAY comes after the answer
	x.doWith(client, call{method: "GET", path: "cacerts"})
	if n := dials.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}
