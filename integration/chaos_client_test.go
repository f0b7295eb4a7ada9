// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/estclient"
)

// hangUpRounds together have a client hang up at every byte.
const hangUpRounds = 8

// clientHangsUp has clients that hang up at every byte of a request, and within its
// answer.
func clientHangsUp(t *testing.T, c *chaos) func(int) {
	fronted(t, c)
	return func(i int) {
		c.site.run()
		c.busy(func() {
			d := c.next()
			request := c.raw(d)
			for at := i % hangUpRounds; at < len(request); at += hangUpRounds {
				c.hangUp(request[:at], 0)
			}
			for range 4 {
				c.hangUp(request, mathrand.IntN(2000))
			}
		})
	}
}

// raw is a device's request as it goes over the wire.
func (c *chaos) raw(d *crashed) []byte {
	der, err := estclient.Request(rand.Reader, d.key, namesOf(c.t, d.name), "")
	if err != nil {
		c.t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(der)
	return fmt.Appendf(nil, "POST /.well-known/est/devices/simpleenroll HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\nContent-Type: application/pkcs10\r\nContent-Length: %d\r\n\r\n%s",
		base64.StdEncoding.EncodeToString([]byte(user+":"+password)), len(text), text)
}

// hangUp sends a part of a request, reads a part of the answer, and is gone.
func (c *chaos) hangUp(request []byte, read int) {
	c.mu.Lock()
	c.counts.requests++
	c.mu.Unlock()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.site.port), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
	if err != nil {
		c.t.Error(err)
		return
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		c.t.Error(err)
	}
	if read > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, conn, int64(read)) // there may be less
	}
}
