// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Caddy takes TLS early data on HTTP/3, where sessions are resumed. It can be
// replayed by anybody, so an enrolment in it is sent back (RFC 8470 section 5.2).
func TestThreat_AnEnrolmentInEarlyDataIsSentBack(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: tickets, policy: strings.Replace(basicAlone, "linking: required", "linking: if_present", 1)})
	cfg := &tls.Config{
		RootCAs: s.tlsPool(), ServerName: "localhost", MinVersion: tls.VersionTLS13,
		NextProtos: []string{http3.NextProtoH3}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	dial := func() *quic.Conn {
		conn, err := quic.DialAddrEarly(t.Context(), fmt.Sprintf("127.0.0.1:%d", s.port), cfg, &quic.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
		return conn
	}
	first := dial()
	<-first.HandshakeComplete()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("cacerts"), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := new(http3.Transport).NewClientConn(first).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body(t, res)

	// The handshake may be over before the server looks: then the request isn't
	// early any more.
	early := 0
	for range 20 {
		conn := dial()
		status := postEarly(t, s, conn)
		<-conn.HandshakeComplete()
		if !conn.ConnectionState().Used0RTT {
			t.Fatal("the server took no early data")
		}
		if status == http.StatusTooEarly {
			early++
		} else if status != http.StatusBadRequest {
			t.Errorf("status %d", status)
		}
		if early == 3 {
			break
		}
	}
	if early == 0 {
		t.Fatal("no request in early data was answered with 425")
	}
	time.Sleep(100 * time.Millisecond)
	sentBack := 0
	for _, r := range s.records() {
		if r.Kind == "early_data" {
			sentBack++
			if r.Status != http.StatusTooEarly || r.Who != nil || r.Cert != nil {
				t.Errorf("the record has status %d, who %+v, cert %+v", r.Status, r.Who, r.Cert)
			}
		}
	}
	if sentBack != early {
		t.Errorf("%d records of early data, want %d", sentBack, early)
	}
}

// postEarly sends a request without waiting for the handshake. It has no body:
// quic-go sends none so early. Without early data it gets 400.
func postEarly(t *testing.T, s *site, conn *quic.Conn) int {
	t.Helper()
	stream, err := new(http3.Transport).NewClientConn(conn).OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url("simpleenroll"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth(user, password)
	if err := stream.SendRequestHeader(req); err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	res, err := stream.ReadResponse()
	if err != nil {
		t.Fatal(err)
	}
	body(t, res)
	return res.StatusCode
}
