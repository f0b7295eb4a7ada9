// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cms"
)

// A connection speaks HTTP/1.1, with as little work as may be: what the load
// needs, the servers don't have.
type connection struct {
	conn net.Conn
	read *bufio.Reader
}

func newConnection(conn net.Conn) *connection { return &connection{conn, bufio.NewReader(conn)} }

func dial(address string, cfg *tls.Config) (*connection, error) {
	conn, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		return nil, err
	}
	return newConnection(conn), nil
}

// post sends a request and reads all of the answer.
func (c *connection) post(head string, body []byte) (response *http.Response, answer []byte, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, nil, err
	}
	if _, err := c.conn.Write(append([]byte(head), body...)); err != nil {
		return nil, nil, err
	}
	response, err = http.ReadResponse(c.read, nil)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response, answer, err
}

// An enroller is one or many devices at /simpleenroll.
type enroller struct {
	fleet     *fleet
	job       job
	tls       *tls.Config
	handshake *atomic.Value

	kept    *connection
	checked bool // the first answer was looked into
}

func (e *enroller) call() error {
	d, label := e.fleet.take()
	c := e.kept
	if c == nil {
		var err error
		if c, err = e.connect(d); err != nil {
			return err
		}
		if e.job.New {
			defer c.conn.Close()
		} else {
			e.kept = c
		}
	}
	der := d.csr
	if e.job.Fresh {
		var err error
		conn, ok := c.conn.(*tls.Conn)
		if !ok {
			return errors.New("only connections of crypto/tls sign for each enrolment here")
		}
		if der, err = d.request(conn, e.job.Linked); err != nil {
			return err
		}
	}
	body := base64.StdEncoding.AppendEncode(nil, der)
	response, answer, err := c.post(e.head(label, len(body)), body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d: %.200s", e.job.Address, response.StatusCode, answer)
	}
	if e.checked || e.job.Empty {
		return nil
	}
	e.checked = true
	return check(answer, d)
}

// once sends a request on the connection that is kept, and gives what is said.
func (e *enroller) once() (*http.Response, error) {
	d, label := e.fleet.take()
	body := base64.StdEncoding.AppendEncode(nil, d.csr)
	response, _, err := e.kept.post(e.head(label, len(body)), body)
	return response, err
}

func (e *enroller) connect(d *device) (*connection, error) {
	cfg := e.tls.Clone()
	if e.job.Basic == "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &d.cert, nil }
	}
	if e.job.SRP {
		if !e.checked {
			e.handshake.Store("TLS 1.2, SRP-2048, TLS_SRP_SHA_WITH_AES_256_CBC_SHA")
		}
		return dialSRP(e.job.Address)
	}
	c, err := dial(e.job.Address, cfg)
	if err != nil {
		return nil, err
	}
	if conn, ok := c.conn.(*tls.Conn); ok && !e.checked {
		state := conn.ConnectionState()
		e.handshake.Store(fmt.Sprintf("%s, %s, %s", tls.VersionName(state.Version), state.CurveID, tls.CipherSuiteName(state.CipherSuite)))
	}
	return c, nil
}

func (e *enroller) head(label string, length int) string {
	credentials := ""
	if e.job.Fresh {
		// The server closes after a linked request: so it is to do for others.
		credentials = "Connection: close\r\n"
	}
	if e.job.Basic != "" {
		credentials += "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(e.job.Basic)) + "\r\n"
	}
	return fmt.Sprintf("POST "+estPath+" HTTP/1.1\r\nHost: localhost\r\n%sContent-Type: application/pkcs10\r\nContent-Length: %d\r\n\r\n",
		label, credentials, length)
}

func (e *enroller) close() {
	if e.kept != nil {
		e.kept.conn.Close()
	}
}

// check looks into an answer: it must be a certificate for the key asked for.
func check(answer []byte, d *device) error {
	der, err := base64.StdEncoding.DecodeString(string(answer))
	if err != nil {
		return err
	}
	certs, err := cms.ParseCertsOnly(der)
	if err != nil {
		return err
	}
	request, err := csr.Parse(d.csr)
	if err != nil {
		return err
	}
	if len(certs) != 1 || !bytes.Equal(certs[0].RawSubjectPublicKeyInfo, request.RawSPKI) {
		return errors.New("the answer isn't one certificate for the key of the request")
	}
	return nil
}
