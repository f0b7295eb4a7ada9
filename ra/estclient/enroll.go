// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/wire"
)

// Enrolled is a certificate that was issued to us and has been checked.
type Enrolled struct {
	Certificate *x509.Certificate
	// Chain is from Certificate to one of the Explicit anchors, both ends
	// included.
	Chain []*x509.Certificate
	// CSR is the request as it was sent, DER.
	CSR []byte
	// Linked is the type of binding that ties the request to its channel, such
	// as binding.TLSExporter; "" for none.
	Linked string
	// RequestID is the server's name for the exchange, where it gives one.
	RequestID string

	asked []csr.Extension // by the request
}

// CSRAttrs asks what a request should carry (RFC 7030 section 4.5). A server
// that has nothing to say (204, 404 or an empty list) gives nil.
func (c *Client) CSRAttrs(ctx context.Context) ([]csrattrs.AttrOrOID, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	u, err := c.Endpoint(policy.CSRAttrs)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, u, nil)
	if err != nil {
		return nil, err
	}
	a, err := c.get(ctx, s, policy.CSRAttrs)
	if err != nil {
		return nil, err
	}
	switch a.status {
	case http.StatusNoContent, http.StatusNotFound: // RFC 7030 section 4.5.2
		return nil, nil
	case http.StatusOK:
	default:
		return nil, a.refusal(policy.CSRAttrs, c.now())
	}
	return ReadCSRAttrs(a.header.Get("Content-Type"), a.body)
}

// ReadCSRAttrs reads an answer of /csrattrs with status 200.
func ReadCSRAttrs(contentType string, body []byte) ([]csrattrs.AttrOrOID, error) {
	if !wire.IsCSRAttrs(contentType) {
		return nil, fmt.Errorf("csrattrs: the answer has the type %q, want %s", printable(contentType, 100), wire.TypeCSRAttrs)
	}
	der, _, err := wire.DecodeBody(body)
	if err != nil {
		return nil, fmt.Errorf("csrattrs: %w", err)
	}
	return csrattrs.Parse(der)
}

// Enroll asks for a certificate for key (RFC 7030 section 4.2.1), with the
// client's Basic credentials and Certificate, where it has them. The request is
// t, filled with what /csrattrs says (see [Template.Fill]). A request
// that isn't granted, or not yet, is a *StatusError.
func (c *Client) Enroll(ctx context.Context, key crypto.Signer, t Template) (*Enrolled, error) {
	return c.enroll(ctx, policy.SimpleEnroll, key, t, c.Certificate)
}

// Reenroll renews current, with its names, for a key that may be a new one
// (RFC 7030 section 4.2.2). What /csrattrs says of names doesn't count. The
// connection is authenticated with current;
// Basic credentials, where the client has them, go along.
func (c *Client) Reenroll(ctx context.Context, current tls.Certificate, key crypto.Signer) (*Enrolled, error) {
	if len(current.Certificate) == 0 {
		return nil, errors.New("simplereenroll: no current certificate")
	}
	leaf, err := x509.ParseCertificate(current.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("simplereenroll: current certificate: %w", err)
	}
	names, err := csr.NamesOf(leaf)
	if err != nil {
		return nil, fmt.Errorf("simplereenroll: current certificate: %w", err)
	}
	return c.enroll(ctx, policy.SimpleReenroll, key, Template{Names: names}, &current)
}

func (c *Client) enroll(ctx context.Context, op policy.Op, key crypto.Signer, t Template, certificate *tls.Certificate) (*Enrolled, error) {
	if key == nil {
		return nil, fmt.Errorf("%s: no key", op)
	}
	done, err := c.ask(ctx, op, key, t, certificate, (*answer).certificates)
	if err != nil {
		return nil, err
	}
	if err := c.check(done, key.Public()); err != nil {
		return nil, fmt.Errorf("%s: the certificate that the server sent is not taken: %w", op, err)
	}
	return done, nil
}

// ask sends a request, and reads what was issued; nothing of it is checked.
func (c *Client) ask(ctx context.Context, op policy.Op, key crypto.Signer, t Template, certificate *tls.Certificate, read reader) (*Enrolled, error) {
	wanted, err := c.Wanted(ctx)
	if err != nil {
		return nil, err
	}
	if op == policy.SimpleReenroll {
		// RFC 7030 section 4.2.2: the names are those of the certificate.
		t = t.fillRest(wanted)
	} else if t, err = t.Fill(wanted); err != nil {
		return nil, err
	}
	// RFC 7030 section 4.2 recommends to have the CA certificates first.
	if len(c.intermediates) == 0 {
		if _, err := c.CACerts(ctx); err != nil {
			return nil, err
		}
	}
	link := c.Link || asksLinking(wanted)
	return c.untilDecided(ctx, func() (*Enrolled, error) {
		done, err := c.post(ctx, op, key, t, certificate, link, read)
		if refused, ok := errors.AsType[*StatusError](err); ok && !link && refused.LinkBy != "" {
			// /csrattrs didn't say so, and the refusal does: once more, with a
			// request made anew for the connection that it goes over.
			link = true
			done, err = c.post(ctx, op, key, t, certificate, link, read)
		}
		return done, err
	})
}

// A reader takes the certificates out of a success.
type reader func(*answer) ([]*x509.Certificate, error)

// post makes the request on the connection that it is sent over, so that it
// can be bound to it.
func (c *Client) post(ctx context.Context, op policy.Op, key crypto.Signer, t Template, certificate *tls.Certificate, link bool, read reader) (*Enrolled, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	u, err := c.Endpoint(op)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, u, certificate)
	if err != nil {
		return nil, err
	}
	der, linked, err := s.request(c.random(), key, t, link)
	if err != nil {
		_ = s.conn.Close()
		return nil, err
	}
	body := wire.EncodeBody(der, false)
	req, err := c.request(ctx, s, http.MethodPost, u, bytes.NewReader(body))
	if err != nil {
		_ = s.conn.Close()
		return nil, err
	}
	req.Header.Set("Content-Type", wire.TypePKCS10)
	a, err := s.do(req, c.HTTP2)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if a.status != http.StatusOK {
		return nil, a.refusal(op, c.now())
	}
	certs, err := read(a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("%s: the answer holds %d certificates, want exactly one (RFC 7030 section 4.2.3)", op, len(certs))
	}
	return &Enrolled{Certificate: certs[0], CSR: der, Linked: linked, RequestID: a.id(), asked: t.Extensions}, nil
}

// request makes the CSR, bound to the session where link says so, and tells
// the type of the binding.
func (s *session) request(random io.Reader, key crypto.Signer, t Template, link bool) (der []byte, linked string, err error) {
	value, linked, err := s.challenge(link)
	if err != nil {
		return nil, "", err
	}
	der, err = Request(random, key, t, value)
	return der, linked, err
}

// challenge is what ties a request to the session, and the type of it; both are
// empty where link says no.
func (s *session) challenge(link bool) (value, linked string, err error) {
	if !link {
		return "", "", nil
	}
	state := s.conn.ConnectionState()
	channel := binding.FromTLS(&state)
	if value = channel.Value(); value == "" {
		return "", "", errors.New("this connection has nothing to link the request with (RFC 7030 section 3.5)")
	}
	return value, channel.Type(), nil
}

func (c *Client) get(ctx context.Context, s *session, op policy.Op) (*answer, error) {
	u, err := c.Endpoint(op)
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, s, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	a, err := s.do(req, c.HTTP2)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return a, nil
}

// request makes the HTTP request. Credentials go with a POST to a verified
// server and with nothing else (RFC 7030 sections 3.6 and 4.1.1).
func (c *Client) request(ctx context.Context, s *session, method string, u *url.URL, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	agent := c.UserAgent
	if agent == "" {
		agent = "estra"
	}
	req.Header.Set("User-Agent", agent)
	if c.Basic != nil && s.verified && method == http.MethodPost {
		req.SetBasicAuth(c.Basic.User, string(c.Basic.Password))
	}
	return req, nil
}

// check makes sure that the certificate is for our key and comes from the
// CA that we trust. More are certificates that may lead there.
func (c *Client) check(e *Enrolled, key crypto.PublicKey, more ...*x509.Certificate) error {
	if !sameKey(e.Certificate.PublicKey, key) {
		return errors.New("it is for another key")
	}
	leaf := *e.Certificate
	// Who asks for a critical extension knows it, if crypto/x509 doesn't.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), func(id asn1.ObjectIdentifier) bool {
		return slices.ContainsFunc(e.asked, func(x csr.Extension) bool { return x.ID.Equal(id) })
	})
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         pool(c.Explicit),
		Intermediates: pool(c.intermediates, more),
		CurrentTime:   c.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("it does not verify under the explicit trust anchors: %w", err)
	}
	e.Chain = chains[0]
	e.Chain[0] = e.Certificate
	return nil
}

func sameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
