// SPDX-License-Identifier: Apache-2.0

// Package estclient is an EST client (RFC 7030): it learns the CA
// certificates, asks for the CSR attributes, enrolls and renews. It sends
// credentials only to a server that it has verified, and takes a certificate
// only for its own key and under its own trust anchors.
package estclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
)

// ErrNotAccepted says that there are no trust anchors, because nobody has
// accepted the CA certificates: nothing but Bootstrap is possible (RFC 7030
// section 4.1.1).
var ErrNotAccepted = errors.New("the CA certificates have not been accepted (RFC 7030 section 4.1.1)")

// A Client speaks to one EST server. Each exchange has a connection of its
// own, so that a channel-bound request is the only one on it (RFC 9266
// section 4.1). A Client is not for use by several goroutines at once.
type Client struct {
	// URL is the server: https://host or https://host:port, without a path.
	URL string
	// Label is the extra path segment that chooses a CA (RFC 7030 section
	// 3.2.2); empty for none.
	Label string

	// Explicit is the Explicit TA database (RFC 7030 section 3.1): under
	// these the server must verify, and what it issues. Bootstrap fills it.
	Explicit []*x509.Certificate
	// Implicit, when not nil, verifies the server too, by its name alone
	// (RFC 7030 section 3.6.2). With no Explicit anchors, CACerts over such
	// a connection fills them.
	Implicit *x509.CertPool

	// Basic, when not nil, goes with every enrolment (RFC 7617), without
	// waiting for a challenge.
	Basic *Credentials
	// Certificate, when not nil, is the TLS client certificate of Enroll.
	// Reenroll uses the certificate that it renews.
	Certificate *tls.Certificate
	// Link puts the channel binding into every request, also where the
	// server's CSR attributes don't ask for it (RFC 7030 section 3.5). Without
	// it a request that is refused for want of linking is made anew, once.
	Link bool

	// MinVersion and MaxVersion bound the TLS version; 0 means TLS 1.2 and
	// the newest.
	MinVersion, MaxVersion uint16
	// HTTP2 offers HTTP/2 beside HTTP/1.1.
	HTTP2 bool
	// UserAgent is sent as it is; empty means "estra".
	UserAgent string
	// Timeout bounds one exchange, dialling included; 0 means 30 seconds.
	Timeout time.Duration

	// Wait is how long a request that is pending (202) is repeated, each time after
	// what the server says; 0: not at all.
	Wait time.Duration
	// Waits, when not nil, is told before each wait.
	Waits func(pending *StatusError, after time.Duration)

	// Dial opens the TCP connection; nil means the standard dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock of certificate checks; nil means time.Now.
	Now func() time.Time
	// Rand is the randomness of signatures; nil means crypto/rand.
	Rand io.Reader

	// intermediates are the other certificates of the last /cacerts answer.
	intermediates []*x509.Certificate
}

// Credentials are those of HTTP Basic. The user may be empty (RFC 7030
// section 3.2.3).
type Credentials struct {
	User     string
	Password Secret
}

// A Secret is text that no format verb and no encoder shows.
type Secret = secret.Text

// operations are the names that a label may not have (RFC 7030 section
// 3.2.2).
var operations = []policy.Op{
	policy.CACerts, policy.SimpleEnroll, policy.SimpleReenroll,
	policy.FullCMC, policy.ServerKeygen, policy.CSRAttrs,
}

// Check says whether URL and Label are usable, without asking anybody.
func (c *Client) Check() error {
	_, err := c.Endpoint(policy.CACerts)
	return err
}

// Endpoint is the URL of an operation.
func (c *Client) Endpoint(op policy.Op) (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("EST server: %w", err)
	}
	if u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("EST server %q: want https://host[:port]", c.URL)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("EST server %q: nothing may follow host and port; the path is /.well-known/est", u.Redacted())
	}
	path := "/.well-known/est/"
	if c.Label != "" {
		if err := checkLabel(c.Label); err != nil {
			return nil, err
		}
		path += c.Label + "/"
	}
	return &url.URL{Scheme: "https", Host: u.Host, Path: path + string(op)}, nil
}

func checkLabel(label string) error {
	for _, op := range operations {
		if label == string(op) {
			return fmt.Errorf("label %q is the name of an operation (RFC 7030 section 3.2.2)", label)
		}
	}
	for _, r := range label {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && !strings.ContainsRune("-._~", r) {
			return fmt.Errorf("label %q: only letters, digits and - . _ ~ are possible", label)
		}
	}
	if label == "." || label == ".." {
		return fmt.Errorf("label %q is no path segment", label)
	}
	return nil
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c *Client) random() io.Reader {
	if c.Rand != nil {
		return c.Rand
	}
	return rand.Reader
}

func (c *Client) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return 30 * time.Second
}
