// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/wire"
)

// overHTTP3 posts a request over QUIC, with Basic credentials.
func overHTTP3(t *testing.T, s *site, op string, b64 []byte, change func(*tls.Config)) *http.Response {
	t.Helper()
	return post3(t, s, op, func(tls.ConnectionState) []byte { return b64 }, change)
}

// post3 posts a body that may depend on the connection. A connection with a
// client certificate has no Basic credentials.
func post3(t *testing.T, s *site, op string, content func(tls.ConnectionState) []byte, change func(*tls.Config)) *http.Response {
	t.Helper()
	cfg := &tls.Config{RootCAs: s.tlsPool(), ServerName: "localhost", MinVersion: tls.VersionTLS13, NextProtos: []string{http3.NextProtoH3}}
	if change != nil {
		change(cfg)
	}
	conn, err := quic.DialAddr(t.Context(), fmt.Sprintf("localhost:%d", s.port), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url(op),
		bytes.NewReader(content(conn.ConnectionState().TLS)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	if len(cfg.Certificates) == 0 {
		req.SetBasicAuth(user, password)
	}
	res, err := new(http3.Transport).NewClientConn(conn).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// A device's life over HTTP/3: a label, a linked request, a renewal with the
// certificate, a body that is too large.
func TestADevicesLifeOverHTTP3(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	d := newDevice(t, s)
	linked := func(cs tls.ConnectionState) []byte {
		der, err := estclient.Request(rand.Reader, newKey(t), namesOf(t, "a.example.net"), binding.FromTLS(&cs).Value())
		if err != nil {
			t.Fatal(err)
		}
		return wire.EncodeBody(der, false)
	}
	file := func(name string) func(tls.ConnectionState) []byte {
		src, err := os.ReadFile(filepath.Join(d.dir, name+".b64"))
		if err != nil {
			t.Fatal(err)
		}
		return func(tls.ConnectionState) []byte { return src }
	}

	for _, name := range []string{"one", "two"} {
		d.csr(name, "/CN=a.example.net/O=Example Net", "")
	}
	res := post3(t, s, "devices/simpleenroll", file("one"), nil)
	answer := body(t, res)
	if res.StatusCode != 200 || res.ProtoMajor != 3 {
		t.Fatalf("%s over %s: %s", res.Status, res.Proto, answer)
	}
	write(t, d.dir, "one.ans", answer)
	sh(t, d.dir, "openssl base64 -d -A -in one.ans | openssl pkcs7 -inform DER -print_certs | openssl x509 -out one.pem")
	if r := s.record(res.Header.Get("X-Request-Id")); string(r.Label) != "devices" || r.TLS.Version != "1.3" || r.TLS.Linked != "absent" {
		t.Errorf("the record has the label %q, TLS %+v", r.Label, r.TLS)
	}

	pair, err := tls.LoadX509KeyPair(filepath.Join(d.dir, "one.pem"), filepath.Join(d.dir, "one.key"))
	if err != nil {
		t.Fatal(err)
	}
	res = post3(t, s, "devices/simplereenroll", file("two"), func(c *tls.Config) { c.Certificates = []tls.Certificate{pair} })
	if text := body(t, res); res.StatusCode != 200 {
		t.Errorf("a renewal: %s %s", res.Status, text)
	} else if r := s.record(res.Header.Get("X-Request-Id")); r.Who == nil || r.Who.Method != "client_cert" || r.Outcome != "issued" {
		t.Errorf("the record of the renewal has who %+v, outcome %s", r.Who, r.Outcome)
	}

	res = post3(t, s, "simpleenroll", linked, nil)
	if text := body(t, res); res.StatusCode != 200 {
		t.Errorf("a linked request: %s %s", res.Status, text)
	} else if r := s.record(res.Header.Get("X-Request-Id")); r.TLS.Linked != "matched" {
		t.Errorf("the record of the linked request has %+v", r.TLS)
	}
	// The linking value of another connection.
	var stolen []byte
	post3(t, s, "simpleenroll", func(cs tls.ConnectionState) []byte { stolen = linked(cs); return nil }, nil).Body.Close()
	if res = overHTTP3(t, s, "simpleenroll", stolen, nil); res.StatusCode != 403 {
		t.Errorf("a linking value of another connection: %s", res.Status)
	}
	res.Body.Close()

	res = overHTTP3(t, s, "simpleenroll", bytes.Repeat([]byte("A"), 3<<20), nil)
	if text := body(t, res); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("3 MiB: %s %s", res.Status, text)
	}
}
