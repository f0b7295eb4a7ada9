// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/wire"
)

// A FullRequest is what one Full PKI Request asks for (RFC 5272 section 3.2).
// Who asks is who signs it: Signer where there is one, else the key of the first
// of the Wishes.
type FullRequest struct {
	// Wishes are certificates asked for.
	Wishes []Wish
	// Revoke are revocations asked for (RFC 5272 section 6.11).
	Revoke []cmc.Revocation
	// Query asks what became of an earlier request. Wishes are then those of that
	// request, and are not sent again: what comes back must be for their keys.
	Query *Query
	// Signer is a certificate that signs, with its key: that which is renewed, or
	// a registration authority's. It is the TLS client certificate as well,
	// where the client has no other.
	Signer *tls.Certificate
	// Others are certificates that go along, such as those to be revoked.
	Others []*x509.Certificate
	// Secret, when not nil, proves who asks: by identityProofV2, and in each
	// request by popLinkWitnessV2 (RFC 5272 sections 6.2.1 and 6.3.1.1).
	Secret *SharedSecret
	// Registrar says that Signer is a registration authority's, who asks for
	// others: it has verified the proof of possession of each of the Wishes, and
	// who asks for it (RFC 5272 section 6.8, RFC 6402 section 2.5), and the
	// message says so. What comes back is for it to compare: no certificate is
	// held to the trust anchors here.
	Registrar bool
	// MAC authenticates the message with Secret in the place of a signature
	// (AuthenticatedData). Then Signer is none.
	MAC bool
	// HashedMAC derives the MAC from the SHA-256 of Secret in hexadecimal: what a
	// server wants that keeps hashes of secrets. It goes with MAC.
	HashedMAC bool
}

// A Wish is one certificate asked for.
type Wish struct {
	// Key is what the certificate is for. It signs the request.
	Key      crypto.Signer
	Template Template
	// CRMF writes the request as RFC 4211 has it, and not as a PKCS #10.
	CRMF bool
	// KeepNames is for a renewal: what /csrattrs says of names doesn't count.
	KeepNames bool
	// CSR is a PKCS #10 in DER that was made elsewhere, in the place of all
	// others.
	CSR []byte
	// Message is a CertReqMsg of CRMF in DER that was made elsewhere, in the
	// place of CSR.
	Message []byte
	// Unsigned is what goes along with the request, covered by no signature (RFC
	// 5272 section 3.2.3). The first id of each path is set here.
	Unsigned []cmc.UnsignedData
	// Changes are what a Registrar asks for in the place of what the request
	// says (RFC 5272 section 6.5.1). Their references are set here.
	Changes []cmc.Modification
}

// A SharedSecret is one that the server knows as well, such as a one-time
// password.
type SharedSecret struct {
	// Identification says whose it is, or which; it may be empty.
	Identification string
	Secret         Secret
}

// A Query names a request that is pending.
type Query struct {
	Token       []byte   // pendToken
	Transaction *big.Int // that of the request; nil: it had none
	// Nonce is the server's last senderNonce; nil: it had none.
	Nonce []byte
}

// A FullAnswer is what a server says to a Full PKI Request.
type FullAnswer struct {
	// Parts has one for each of Wishes and Revoke, in their order, and further
	// ones for what else the server has a word about.
	Parts []Part
	// Signer is who signed the answer. It is nil for a Simple PKI Response, which
	// nobody signs and which TLS alone vouches for, and for a MAC.
	Signer *x509.Certificate
	// Unverified is why the signature of a refusal isn't good. What the refusal
	// says is then the word of whoever is at the other end of the connection.
	Unverified error
	// Anchors are the trust anchors that the answer publishes (RFC 5272 section
	// 6.15); nil where it publishes none, or AnchorsRefused is why they don't count.
	// The Client goes on with its own.
	Anchors        *Anchors
	AnchorsRefused error
	// RequestID is the server's name for the exchange, where it gives one.
	RequestID string
}

// A Part is what became of one thing asked for.
type Part struct {
	ID   cmc.BodyPartID
	What string // "request 1 (CN=a)"
	// Said is false where the server has no word about it.
	Said bool
	cmc.StatusInfo
	// Query asks for it again, where it is pending and the server says how; nil
	// otherwise.
	Query *Query
	// Enrolled is a certificate that was issued; nil where none was.
	Enrolled *Enrolled
}

// FullCMC asks by Full CMC (RFC 7030 section 4.3). Where not everything was
// granted the error is a *CMCError, or a *StatusError where the server answers
// with no message of CMC. The answer is there with a *CMCError too.
func (c *Client) FullCMC(ctx context.Context, ask FullRequest) (*FullAnswer, error) {
	if err := ask.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", policy.FullCMC, err)
	}
	link, err := c.prepare(ctx, &ask)
	if err != nil {
		return nil, err
	}
	done, err := c.postCMC(ctx, &ask, link)
	if !link && wantsLink(err) {
		return c.postCMC(ctx, &ask, true) // as Enroll does
	}
	return done, err
}

// wantsLink tells a refusal for want of linking.
func wantsLink(err error) bool {
	if refused, ok := errors.AsType[*CMCError](err); ok {
		return refused.LinkBy != ""
	}
	refused, ok := errors.AsType[*StatusError](err)
	return ok && refused.LinkBy != ""
}

// check finds what no server could make anything of.
func (ask *FullRequest) check() error {
	switch {
	case len(ask.Wishes)+len(ask.Revoke) == 0 && ask.Query == nil:
		return errors.New("nothing is asked for")
	case ask.MAC && ask.Secret == nil:
		return errors.New("a MAC needs a shared secret")
	case ask.HashedMAC && !ask.MAC:
		return errors.New("a hashed secret is for a MAC alone")
	case ask.Registrar && ask.Signer == nil:
		return errors.New("a registration authority signs with its certificate, and there is none")
	case ask.MAC && ask.Signer != nil:
		return errors.New("a message has a MAC or a signature, and not both")
	case ask.Secret != nil && ask.Secret.Secret == "":
		return errors.New("the shared secret is empty")
	case ask.Query != nil && len(ask.Query.Token) == 0:
		return errors.New("a query needs the token of the earlier answer")
	case ask.Query != nil && len(ask.Wishes) == 0:
		return errors.New("a query needs the key of the request that is pending: nothing else tells whose the certificate is")
	case ask.Signer == nil && !ask.MAC && (len(ask.Wishes) == 0 || ask.Wishes[0].Key == nil):
		return errors.New("nobody can sign the message: it needs the key of the first request, a certificate with its key, or a MAC by a shared secret")
	default:
		return nil
	}
}

// prepare fetches what a request is made with, and says whether it is to be
// bound to its channel.
func (c *Client) prepare(ctx context.Context, ask *FullRequest) (link bool, err error) {
	// The CA certificates are what the answer's signer must verify under.
	if len(c.intermediates) == 0 {
		if _, err := c.CACerts(ctx); err != nil {
			return false, err
		}
	}
	wishes := make([]Wish, len(ask.Wishes))
	var wanted csrattrs.Wanted
	asked := ask.Query != nil // a query has no requests to fill
	for i, wish := range ask.Wishes {
		if !wish.made() && !asked {
			if wanted, err = c.Wanted(ctx); err != nil {
				return false, err
			}
			asked = true
		}
		if wishes[i], err = wish.fill(wanted); err != nil {
			return false, err
		}
	}
	ask.Wishes = wishes
	return c.Link || asksLinking(wanted), nil
}

// made says that the request was made elsewhere.
func (w Wish) made() bool { return w.CSR != nil || w.Message != nil }

// fill gives the wish as the server wants it.
func (w Wish) fill(wanted csrattrs.Wanted) (Wish, error) {
	switch {
	case w.made():
		return w, nil
	case w.KeepNames:
		w.Template = w.Template.fillRest(wanted)
		return w, nil
	default:
		var err error
		w.Template, err = w.Template.Fill(wanted)
		return w, err
	}
}

// postCMC makes the message on the connection that it is sent over.
func (c *Client) postCMC(ctx context.Context, ask *FullRequest, link bool) (*FullAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	u, err := c.Endpoint(policy.FullCMC)
	if err != nil {
		return nil, err
	}
	certificate := c.Certificate
	if certificate == nil {
		certificate = ask.Signer
	}
	s, err := c.open(ctx, u, certificate)
	if err != nil {
		return nil, err
	}
	m, err := c.newMessage(s, ask, link)
	if err != nil {
		_ = s.conn.Close()
		return nil, fmt.Errorf("%s: %w", policy.FullCMC, err)
	}
	req, err := c.request(ctx, s, http.MethodPost, u, bytes.NewReader(wire.EncodeBody(m.der, false)))
	if err != nil {
		_ = s.conn.Close()
		return nil, err
	}
	req.Header.Set("Content-Type", wire.TypeCMCRequest)
	peer := s.conn.ConnectionState().PeerCertificates
	a, err := s.do(req, c.HTTP2)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", policy.FullCMC, err)
	}
	return c.readCMC(a, m, peer[0])
}

// A CMCError is a message of CMC that doesn't grant everything.
type CMCError struct {
	// Status is that of HTTP. A message of which some part was granted comes with
	// 200.
	Status int
	Parts  []Part // those that were not granted
	// RequestID is the server's name for the exchange, where it gives one.
	RequestID  string
	RetryAfter time.Duration // 0 where the server doesn't say
	// LinkBy is as that of a StatusError.
	LinkBy string
}

// Pending says that something waits for a decision, and that nothing was
// refused.
func (e *CMCError) Pending() bool {
	for _, p := range e.Parts {
		if p.Status != cmc.Pending {
			return false
		}
	}
	return len(e.Parts) > 0
}

// Error says what became of each part.
func (e *CMCError) Error() string {
	s := fmt.Sprintf("%s: the server answered %d %s", policy.FullCMC, e.Status, http.StatusText(e.Status))
	for _, p := range e.Parts {
		s += "; " + p.What + ": " + p.Words()
	}
	if e.RequestID != "" && !strings.Contains(s, e.RequestID) {
		s += " (request " + e.RequestID + ")"
	}
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(" (try again in %s)", e.RetryAfter)
	}
	return s
}
