// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A reply is an answer with its header names as they were on the wire.
type reply struct {
	status int
	header map[string]string
	body   string
}

// A peer is a client with one connection that it knows all about.
type peer interface {
	state() tls.ConnectionState
	// post sends the bodies at once, and reads as many answers as there come.
	post(path, user string, bodies ...string) []reply
	// ends says whether the server has ended the connection. What should be,
	// it says how long to wait for.
	ends(should bool) bool
}

// connect opens a connection for an HTTP version.
func (x *site) connect(t *testing.T, major int, version uint16, certs ...tls.Certificate) peer {
	t.Helper()
	switch major {
	case 1:
		return &peer1{x.dial(t, version, certs...)}
	case 2:
		return x.connect2(t, version, certs...)
	default:
		client, conn := x.third(t, certs...)
		return &peer3{t, client, conn}
	}
}

type peer1 struct{ *line }

func (p *peer1) state() tls.ConnectionState { return p.ConnectionState() }

func (p *peer1) post(path, user string, bodies ...string) []reply {
	p.t.Helper()
	var header, all []string
	if user != "" {
		header = []string{basic}
	}
	for _, b := range bodies {
		all = append(all, posting(path, b, header...))
	}
	p.send(all...)
	var replies []reply
	for range bodies {
		if _, err := p.r.Peek(1); errors.Is(err, io.EOF) {
			break
		}
		s := p.read()
		r := reply{status: s.status, header: map[string]string{}, body: s.body}
		for _, h := range s.head[1:] {
			name, value, _ := strings.Cut(h, ": ")
			r.header[name] = value
		}
		replies = append(replies, r)
	}
	return replies
}

func (p *peer1) ends(should bool) bool {
	p.t.Helper()
	if should {
		return p.closed()
	}
	p.send("GET " + root + "/cacerts HTTP/1.1\r\nHost: est.example\r\n\r\n")
	return p.read().status != 200
}

// peer2 speaks HTTP/2 frame by frame: net/http would hide a GOAWAY.
type peer2 struct {
	*tls.Conn
	t      *testing.T
	frames *http2.Framer
	next   uint32 // stream
	goaway bool
}

func (x *site) connect2(t *testing.T, version uint16, certs ...tls.Certificate) *peer2 {
	t.Helper()
	conn, err := tls.Dial("tcp", x.http.Listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, Certificates: certs, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := &peer2{Conn: conn, t: t, frames: http2.NewFramer(conn, conn), next: 1}
	p.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = io.WriteString(conn, http2.ClientPreface)
	p.must(err)
	p.must(p.frames.WriteSettings())
	return p
}

func (p *peer2) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer2) state() tls.ConnectionState { return p.ConnectionState() }

func (p *peer2) head(end bool, fields ...string) uint32 {
	p.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		p.must(encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	id := p.next
	p.next += 2
	p.must(p.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end}))
	return id
}

func (p *peer2) post(path, user string, bodies ...string) []reply {
	p.t.Helper()
	fields := []string{":method", "POST", ":scheme", "https", ":authority", "est.example", ":path", root + "/" + path, "content-type", "application/pkcs10"}
	if user != "" {
		fields = append(fields, "authorization", strings.TrimPrefix(basic, "Authorization: "))
	}
	var ids []uint32
	for range bodies { // all are open before the first can be answered
		ids = append(ids, p.head(false, fields...))
	}
	for i, b := range bodies {
		p.must(p.frames.WriteData(ids[i], true, []byte(b)))
	}
	found := map[uint32]*reply{}
	for left := len(bodies); left > 0; {
		if p.frame(10*time.Second, found) {
			left--
		}
	}
	var replies []reply
	for _, id := range ids {
		replies = append(replies, *found[id])
	}
	return replies
}

// frame reads one, and says whether an answer ended with it.
func (p *peer2) frame(wait time.Duration, found map[uint32]*reply) bool {
	p.t.Helper()
	p.must(p.SetReadDeadline(time.Now().Add(wait)))
	f, err := p.frames.ReadFrame()
	p.must(err)
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			p.must(p.frames.WriteSettingsAck())
		}
	case *http2.GoAwayFrame:
		p.goaway = true
	case *http2.MetaHeadersFrame:
		r := &reply{header: map[string]string{}}
		for _, field := range f.Fields {
			r.header[field.Name] = field.Value
		}
		r.status = int(r.header[":status"][0]-'0')*100 + int(r.header[":status"][1]-'0')*10 + int(r.header[":status"][2]-'0')
		found[f.StreamID] = r
		return f.StreamEnded()
	case *http2.DataFrame:
		found[f.StreamID].body += string(f.Data())
		return f.StreamEnded()
	case *http2.RSTStreamFrame:
		p.t.Fatalf("stream %d was reset: %v", f.StreamID, f.ErrCode)
	}
	return false
}

func (p *peer2) ends(should bool) bool {
	p.t.Helper()
	if !should {
		p.head(true, ":method", "GET", ":scheme", "https", ":authority", "est.example", ":path", root+"/cacerts")
	}
	found := map[uint32]*reply{}
	for !p.goaway && !p.frame(5*time.Second, found) {
	}
	return p.goaway
}

type peer3 struct {
	t      *testing.T
	client *http3.ClientConn
	conn   *quic.Conn
}

func (p *peer3) state() tls.ConnectionState { return p.conn.ConnectionState().TLS }

func (p *peer3) post(path, user string, bodies ...string) []reply {
	p.t.Helper()
	var replies []reply
	for _, b := range bodies {
		req, err := http.NewRequestWithContext(p.t.Context(), "POST", "https://est.example"+root+"/"+path, strings.NewReader(b))
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/pkcs10")
		if user != "" {
			req.Header.Set("Authorization", strings.TrimPrefix(basic, "Authorization: "))
		}
		res, err := p.client.RoundTrip(req)
		if err != nil {
			p.t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			p.t.Fatal(err)
		}
		_ = res.Body.Close()
		r := reply{status: res.StatusCode, header: map[string]string{}, body: string(text)}
		for name, values := range res.Header {
			r.header[strings.ToLower(name)] = values[0]
		}
		replies = append(replies, r)
	}
	return replies
}

func (p *peer3) ends(bool) bool {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), "GET", "https://est.example"+root+"/cacerts", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := p.client.RoundTrip(req)
	if err != nil {
		return true
	}
	_ = res.Body.Close()
	return res.StatusCode != 200
}

// third serves the site over HTTP/3 too, and gives a connection to it.
func (x *site) third(t *testing.T, certs ...tls.Certificate) (*http3.ClientConn, *quic.Conn) {
	t.Helper()
	x.quic.Do(func() {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http3.Server{Handler: x, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{
			Certificates: x.http.TLS.Certificates, ClientAuth: tls.RequestClientCert,
		})}
		go func() { _ = server.Serve(packets) }()
		x.t.Cleanup(func() { _ = server.Close(); _ = packets.Close() })
		x.udp = packets.LocalAddr().String()
	})
	conn, err := quic.DialAddr(t.Context(), x.udp,
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{http3.NextProtoH3}, Certificates: certs}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return new(http3.Transport).NewClientConn(conn), conn
}
