// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// answer is what both ends of a connection saw.
type answer struct {
	state  *tls.ConnectionState // the client's
	server string               // the server's value
}

// exchange starts a server, and makes requests to it, each on a connection of
// its own that may resume the one before.
func exchange(t *testing.T, version uint16, http2 bool, requests int) []answer {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, FromTLS(r.TLS).Value())
	}))
	server.TLS = &tls.Config{MinVersion: version, MaxVersion: version}
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := server.Client().Transport.(*http.Transport)
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	var answers []answer
	for range requests {
		response, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		answers = append(answers, answer{response.TLS, string(body)})
		transport.CloseIdleConnections()
	}
	return answers
}

func TestBothEndsOfAConnectionHaveTheSameValue(t *testing.T) {
	cases := []struct {
		name    string
		version uint16
		http2   bool
		length  int
	}{
		{"TLS 1.2 and HTTP/1.1", tls.VersionTLS12, false, 16},
		{"TLS 1.2 and HTTP/2", tls.VersionTLS12, true, 16},
		{"TLS 1.3 and HTTP/1.1", tls.VersionTLS13, false, 44},
		{"TLS 1.3 and HTTP/2", tls.VersionTLS13, true, 44},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			answers := exchange(t, c.version, c.http2, 2)
			for i, a := range answers {
				if a.state.DidResume != (i == 1) {
					t.Errorf("connection %d: resumed %v", i+1, a.state.DidResume)
				}
				client := FromTLS(a.state)
				if client.Version != c.version || len(client.Value()) != c.length || client.Value() != a.server {
					t.Errorf("connection %d: client %q, server %q", i+1, client.Value(), a.server)
				}
			}
			if answers[0].server == answers[1].server {
				t.Error("a resumed connection has the value of the first")
			}
		})
	}
}

func TestARequestIsBoundToItsOwnConnection(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		answers := exchange(t, version, false, 2)
		bound, err := csr.Parse(csrtest.New(t,
			csrtest.Attribute(ChallengePassword.String(), csrtest.Printable(answers[0].server)),
			csrtest.Attribute(IdentityLinking.String(), csrtest.UTF8(answers[0].server))))
		if err != nil {
			t.Fatal(err)
		}
		if got := Check(FromTLS(answers[0].state), bound); got != policy.Matched {
			t.Errorf("%s on its own connection", got)
		}
		if got := Check(FromTLS(answers[1].state), bound); got != policy.Mismatched {
			t.Errorf("%s on another connection", got)
		}
	}
}

func TestExporterHasLabelAndEmptyContextOfRFC9266(t *testing.T) {
	a := exchange(t, tls.VersionTLS13, false, 1)[0]
	want, err := a.state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil || string(FromTLS(a.state).Exporter) != string(want) {
		t.Errorf("another exporter value; %v", err)
	}
}

func TestFromTLSWithoutAConnection(t *testing.T) {
	for name, state := range map[string]*tls.ConnectionState{
		"nil":                     nil,
		"an unfinished handshake": {Version: tls.VersionTLS13},
		"TLS 1.1":                 {Version: tls.VersionTLS11, HandshakeComplete: true, TLSUnique: []byte("unique")},
		"TLS 1.2, no tls-unique":  {Version: tls.VersionTLS12, HandshakeComplete: true},
	} {
		if got := FromTLS(state).Value(); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestFromTLSCopiesTLSUnique(t *testing.T) {
	state := &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true, TLSUnique: []byte("twelve bytes")}
	c := FromTLS(state)
	state.TLSUnique[0] = 'T'
	if string(c.Unique) != "twelve bytes" {
		t.Error("the channel shares memory with the connection")
	}
}

func TestThreat_ChannelIsNotFormatted(t *testing.T) {
	for want, c := range map[string]Channel{"TLS 1.2": tls12, "TLS 1.3": tls13, "no TLS": {}} {
		holder := struct{ Channel Channel }{c}
		if got := fmt.Sprintf("%v %+v %s", c, holder, c); strings.Count(got, want) != 3 || strings.Contains(got, "251") {
			t.Errorf("formats as %s", got)
		}
	}
}
