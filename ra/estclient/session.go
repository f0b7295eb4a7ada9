// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"

	"github.com/caddy-est/estra/policy"
)

// cmcRA is id-kp-cmcRA (RFC 6402 section 2.10).
var cmcRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}

// A session is one TLS connection and the one exchange that it is for.
type session struct {
	conn *tls.Conn
	// verified is false on the provisional connection of a bootstrap.
	verified bool
}

// provisional opens a connection to a server that nothing is known of. It
// offers no client certificate, and is good for /cacerts alone (RFC 7030
// section 4.1.1).
func (c *Client) provisional(ctx context.Context, u *url.URL) (*session, error) {
	config := c.tlsConfig(u)
	conn, err := c.handshake(ctx, u, config)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn}, nil
}

// open makes a connection to a server that verifies under our anchors.
// Certificate is the client's, or nil for none.
func (c *Client) open(ctx context.Context, u *url.URL, certificate *tls.Certificate) (*session, error) {
	config, err := c.TLS(certificate)
	if err != nil {
		return nil, err
	}
	conn, err := c.handshake(ctx, u, config)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, verified: true}, nil
}

// TLS is how a connection for exchanges is made: the server must verify under
// our anchors. Certificate is the client's, or nil for none. What it gives is
// good for several connections at once, while nobody changes the Client.
func (c *Client) TLS(certificate *tls.Certificate) (*tls.Config, error) {
	u, err := c.Endpoint(policy.CACerts)
	if err != nil {
		return nil, err
	}
	if len(c.Explicit) == 0 && c.Implicit == nil {
		return nil, fmt.Errorf("no trust anchors: %w", ErrNotAccepted)
	}
	config := c.tlsConfig(u)
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return c.authorize(state.PeerCertificates, u.Hostname())
	}
	if certificate != nil {
		// The server's CA hints are hints: whether the certificate will do is
		// for the server to say, and with a text.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		}
	}
	return config, nil
}

func (c *Client) tlsConfig(u *url.URL) *tls.Config {
	config := &tls.Config{
		ServerName: u.Hostname(),
		MinVersion: max(c.MinVersion, tls.VersionTLS12), // RFC 8996
		MaxVersion: c.MaxVersion,
		Rand:       c.Rand,
		Time:       c.now,
		// Verified by authorize instead: RFC 7030 section 3.6.1 lets a server
		// be known by id-kp-cmcRA where its name doesn't match.
		InsecureSkipVerify: true, //nolint:gosec // see above
		NextProtos:         []string{"http/1.1"},
	}
	if c.HTTP2 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	return config
}

func (c *Client) handshake(ctx context.Context, u *url.URL, config *tls.Config) (*tls.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	raw, err := dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS with %s: %w", u.Host, err)
	}
	return conn, nil
}

// authorize is RFC 7030 section 3.6: under an Explicit anchor the server is
// known by its name or by id-kp-cmcRA, under an Implicit one by its name.
func (c *Client) authorize(presented []*x509.Certificate, host string) error {
	if len(presented) == 0 {
		return errors.New("the server has no certificate")
	}
	leaf := presented[0]
	options := x509.VerifyOptions{
		Roots:         pool(c.Explicit),
		Intermediates: pool(presented[1:], c.intermediates),
		CurrentTime:   c.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	_, explicit := leaf.Verify(options)
	named := leaf.VerifyHostname(host)
	if explicit == nil && (named == nil || slices.ContainsFunc(leaf.UnknownExtKeyUsage, cmcRA.Equal)) {
		return nil
	}
	if explicit == nil {
		return fmt.Errorf("the server's certificate has neither our name for it nor id-kp-cmcRA (RFC 7030 section 3.6.1): %w", named)
	}
	if c.Implicit == nil {
		return fmt.Errorf("the server's certificate does not verify under the explicit trust anchors: %w", explicit)
	}
	options.Roots = c.Implicit
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("the server's certificate does not verify under any trust anchor: %w", err)
	}
	return named
}

// pool never gives nil, which would stand for the system's roots.
func pool(lists ...[]*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, list := range lists {
		for _, cert := range list {
			p.AddCert(cert)
		}
	}
	return p
}

// do sends one request over the session's connection and reads the answer.
// The connection is closed afterwards.
func (s *session) do(req *http.Request, http2 bool) (*answer, error) {
	defer s.conn.Close()
	var spent atomic.Bool
	transport := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			if spent.Swap(true) {
				return nil, errors.New("the connection is spent")
			}
			return s.conn, nil
		},
		DisableCompression:     true,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      http2,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	// RoundTrip follows no redirect: what was bound to this channel must not
	// go to another (RFC 7030 section 3.2.1).
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	return readAnswer(resp)
}
