// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

// byNameAndByAddress is a site that devices dial either way.
const byNameAndByAddress = `localhost:PORT, 127.0.0.1:PORT {
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
	}
}
`

// TestAnswersOnTheWire reads what Caddy sends byte for byte: libest compares
// header names so, and strongSwan 5.9 takes the header from the first 1,024
// bytes.
func TestAnswersOnTheWire(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: byNameAndByAddress, policy: devices})
	good := request(t, "a.example.net")
	authorization := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	for _, version := range tlsVersions {
		for host, sni := range map[string]string{
			"localhost": "localhost",
			// Go's client sends no address as a server name, RFC 6066 section 3
			// allows none, and devices do. It drops the dot after it has looked.
			"127.0.0.1": "127.0.0.1.",
		} {
			t.Run(tls.VersionName(version)+" "+host, func(t *testing.T) {
				for _, c := range []struct {
					method, op, header, body string
					status                   int
				}{
					{"GET", "cacerts", "", "", 200},
					{"GET", "csrattrs", "", "", 200},
					{"POST", "simpleenroll", "", good, 401},
					{"POST", "simpleenroll", authorization, good, 200},
					{"POST", "simpleenroll", authorization, "rubbish", 400},
					{"POST", "simplereenroll", "", good, 403},
					{"POST", "nolabel/simpleenroll", "", good, 404},
					{"GET", "simpleenroll", "", "", 405},
				} {
					head, answer := s.raw(t, version, sni, fmt.Sprintf(
						"%s /.well-known/est/%s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/pkcs10\r\n%sContent-Length: %d\r\n\r\n%s",
						c.method, c.op, host, s.port, c.header, len(c.body), c.body))
					checkHead(t, c.op, head, len(answer), c.status)
				}
			})
		}
	}
}

// TestThreat_OtherSpellingsOfThePrefixAreRefused: no other handler of the site
// answers them, and no empty 200 of Caddy passes for an enrolment.
func TestThreat_OtherSpellingsOfThePrefixAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: strings.Replace(smallest, "\test {", "\trespond \"another handler\"\n\test {", 1), policy: devices})
	good := request(t, "a.example.net")
	authorization := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	for _, path := range []string{
		"//.well-known/est/simpleenroll", "/.well-known//est/simpleenroll", "/.well-known%2Fest/simpleenroll",
		"/.well-known/%65st/simpleenroll", "/x/../.well-known/est/simpleenroll", "/./.well-known/est/devices/simpleenroll",
	} {
		head, answer := s.raw(t, tls.VersionTLS13, "localhost", fmt.Sprintf(
			"POST %s HTTP/1.1\r\nHost: localhost:%d\r\nContent-Type: application/pkcs10\r\n%sContent-Length: %d\r\n\r\n%s",
			path, s.port, authorization, len(good), good))
		if !strings.HasPrefix(head, "HTTP/1.1 404 ") || !strings.HasPrefix(answer, "operation not offered (") {
			t.Errorf("%s: %q %q", path, head, answer)
		}
		_, rest, _ := strings.Cut(head, "\r\nX-Request-Id: ")
		id, _, _ := strings.Cut(rest, "\r\n")
		if r := s.record(id); r.Status != 404 || r.Outcome != "refused" || r.Who != nil || r.Label != "" {
			t.Errorf("%s: the record says %+v", path, r)
		}
	}
}

// raw sends one request on a connection of its own, and returns the answer's
// head and body.
func (s *site) raw(t *testing.T, version uint16, sni, request string) (head, body string) {
	t.Helper()
	asked := false
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{
		ServerName: sni, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return new(tls.Certificate), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !asked {
		t.Error("the handshake asks for no client certificate")
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for !strings.HasSuffix(head, "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", head, err)
		}
		head += line
	}
	_, rest, _ := strings.Cut(head, "\r\nContent-Length: ")
	length, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(length)
	if err != nil {
		t.Fatalf("no Content-Length in %q", head)
	}
	all := make([]byte, n)
	if _, err := io.ReadFull(r, all); err != nil {
		t.Fatal(err)
	}
	return head, string(all)
}

func checkHead(t *testing.T, op, head string, length, status int) {
	t.Helper()
	if want := fmt.Sprintf("HTTP/1.1 %d ", status); !strings.HasPrefix(head, want) {
		t.Errorf("%s: %q, want %d", op, head, status)
	}
	if len(head) >= 1024 {
		t.Errorf("%s: the head has %d bytes: %q", op, len(head), head)
	}
	if challenged := strings.Contains(head, "\r\nWWW-Authenticate: Basic realm="); challenged != (status == 401) {
		t.Errorf("%s: %q, want WWW-Authenticate with 401 alone", op, head)
	}
	if strings.Contains(head, "\r\nTransfer-Encoding:") || (length == 0) != (status == 401) {
		t.Errorf("%s: a body of %d bytes after %q", op, length, head)
	}
}
