// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// cmcCA is id-kp-cmcCA (RFC 6402 section 2.10).
var cmcCA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 27}

// readCMC reads an answer of any status. Peer is the certificate of the server.
func (c *Client) readCMC(a *answer, m *cmcMessage, peer *x509.Certificate) (*FullAnswer, error) {
	if !wire.IsPKCS7(a.header.Get("Content-Type")) {
		if a.status == http.StatusOK {
			return nil, fmt.Errorf("%s: the answer has the type %q, want %s", policy.FullCMC, printable(a.header.Get("Content-Type"), 100), wire.TypeCMCResponse)
		}
		return nil, a.refusal(policy.FullCMC, c.now())
	}
	done, err := c.readMessage(a, m, peer)
	if err != nil && a.status != http.StatusOK {
		refused := a.refusal(policy.FullCMC, c.now())
		refused.Text = fmt.Sprintf("with a message that can't be read: %v", err)
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the answer is not taken: %w", policy.FullCMC, err)
	}
	return done, done.err(a, c)
}

// refuses says that nothing was granted, and nothing follows from the answer. What
// is pending may come with 202 (RFC 7030 section 4.2.3).
func (a *answer) refuses() bool { return a.status != http.StatusOK && a.status != http.StatusAccepted }

// err lists what wasn't granted.
func (f *FullAnswer) err(a *answer, c *Client) error {
	refused := a.refusal(policy.FullCMC, c.now())
	e := &CMCError{Status: a.status, RequestID: f.RequestID, RetryAfter: refused.RetryAfter, LinkBy: refused.LinkBy}
	for _, p := range f.Parts {
		if !p.granted() || a.status != http.StatusOK {
			e.Parts = append(e.Parts, p)
		}
	}
	if len(e.Parts) == 0 && a.status == http.StatusOK {
		return nil
	}
	return e
}

// readMessage reads a message of CMC, and holds it to what was asked.
func (c *Client) readMessage(a *answer, m *cmcMessage, peer *x509.Certificate) (*FullAnswer, error) {
	der, _, err := wire.DecodeBody(a.body)
	if err != nil {
		return nil, err
	}
	// That of most servers first: each look reads the whole message.
	signed, failed := cms.ReadSigned(der)
	if failed == nil && len(signed.Signers()) > 0 {
		return c.readSigned(a, m, signed, peer)
	}
	kind, err := cms.ContentType(der)
	if err != nil {
		return nil, err
	}
	if kind == cms.IDAuthenticatedData {
		return c.readMAC(a, m, der)
	}
	certs, err := cms.ParseCertsOnly(der)
	if err == nil {
		if a.status != http.StatusOK {
			return nil, errors.New("it holds certificates, and no word of why nothing was granted")
		}
		return c.readSimple(a, m, certs)
	}
	if failed != nil {
		return nil, failed
	}
	return c.readSigned(a, m, signed, peer)
}

// readSimple takes a Simple PKI Response, which says that all was granted and
// that there is nothing to say (RFC 5272 section 3.2).
func (c *Client) readSimple(a *answer, m *cmcMessage, certs []*x509.Certificate) (*FullAnswer, error) {
	f := &FullAnswer{Parts: slices.Clone(m.parts), RequestID: a.id()}
	if len(m.wishes) != len(m.parts) {
		return nil, errors.New("it holds certificates alone, and a revocation must be answered by a signed message (RFC 5272 section 6.11)")
	}
	for _, cert := range certs {
		ours := slices.ContainsFunc(m.wishes, func(w wantedCert) bool { return sameKey(cert.PublicKey, w.key) })
		if !ours && !cert.IsCA {
			return nil, errors.New("it holds a certificate for another key")
		}
	}
	for i := range f.Parts {
		f.Parts[i].Said = true // RFC 5272 section 3.2: success is implied
	}
	return f, c.match(f, m, certs)
}

// readSigned takes a Full PKI Response whose signature is good, and whose signer
// may answer. That of a refusal is told in any case: nothing follows from it.
func (c *Client) readSigned(a *answer, m *cmcMessage, signed *cms.Signed, peer *x509.Certificate) (*FullAnswer, error) {
	f := &FullAnswer{RequestID: a.id()}
	verified, err := signed.Verify(cms.FindCertificate(append([]*x509.Certificate{peer}, c.intermediates...)...))
	if err != nil {
		return nil, err
	}
	if f.Signer, err = c.answerer(verified, peer); err != nil {
		if !a.refuses() {
			return nil, err
		}
		f.Unverified = err
	}
	return c.readResponse(f, a, m, verified)
}

// readMAC takes an answer under the secret that was asked with.
func (c *Client) readMAC(a *answer, m *cmcMessage, der []byte) (*FullAnswer, error) {
	message, err := cms.ReadAuthenticated(der)
	if err != nil {
		return nil, err
	}
	verified, err := message.Verify(func(cms.Content) ([]byte, error) {
		if m.secret == nil {
			return nil, errors.New("it has a MAC, and the request had none")
		}
		return m.secret, nil
	})
	if err != nil {
		return nil, err
	}
	return c.readResponse(&FullAnswer{RequestID: a.id()}, a, m, verified)
}

// answerer is who signed. It may speak for the CA where it is a CA, or has
// id-kp-cmcCA or id-kp-cmcRA, under the trust anchors; or it is the server
// itself, which TLS has verified.
func (c *Client) answerer(v *cms.Verified, peer *x509.Certificate) (*x509.Certificate, error) {
	signers := v.Signers()
	if len(signers) != 1 {
		return nil, fmt.Errorf("it has %d signers, want one", len(signers))
	}
	signer := signers[0].Key.Certificate
	name := printable(signer.Subject.String(), 256)
	if signer.KeyUsage != 0 && signer.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return nil, fmt.Errorf("its signer %s has a key that may not sign messages", name)
	}
	if signer.Equal(peer) {
		return signer, nil
	}
	_, err := signer.Verify(x509.VerifyOptions{
		Roots:         pool(c.Explicit),
		Intermediates: pool(c.intermediates, v.Certificates()),
		CurrentTime:   c.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("its signer %s does not verify under the explicit trust anchors: %w", name, err)
	}
	speaks := func(id asn1.ObjectIdentifier) bool { return id.Equal(cmcRA) || id.Equal(cmcCA) }
	if !signer.IsCA && !slices.ContainsFunc(signer.UnknownExtKeyUsage, speaks) {
		return nil, fmt.Errorf("its signer %s is neither the server, nor a CA, nor has it id-kp-cmcRA or id-kp-cmcCA (RFC 6402 section 2.10)", name)
	}
	return signer, nil
}

// readResponse reads the PKIResponse in a message that was verified.
func (c *Client) readResponse(f *FullAnswer, a *answer, m *cmcMessage, v *cms.Verified) (*FullAnswer, error) {
	content := v.Content()
	if content.Type != cms.IDPKIResponse {
		return nil, fmt.Errorf("it holds no PKIResponse (RFC 5272 section 4.2.1), but %s", content.Type)
	}
	response, err := cmc.ParsePKIResponse(content.Bytes)
	if err != nil {
		return nil, err
	}
	nonce, err := m.answeredBy(response.Controls, !a.refuses())
	if err != nil {
		return nil, err
	}
	if err := f.readStatuses(m, response.Controls, a.status == http.StatusOK); err != nil {
		return nil, err
	}
	f.pending(m, nonce)
	if a.status != http.StatusOK {
		return f, nil
	}
	f.Anchors, f.AnchorsRefused = c.published(response.Controls, v.Certificates())
	return f, c.match(f, m, v.Certificates())
}

// answeredBy makes sure that it is our message that is answered (RFC 5272
// section 6.6), and gives the server's nonce. A refusal may lack ours: the server
// may not have got as far as to read it.
func (m *cmcMessage) answeredBy(controls cmc.Controls, must bool) (nonce []byte, err error) {
	back, present, err := controls.Octets(cmc.OIDRecipientNonce)
	switch {
	case err != nil:
		return nil, err
	case !present && must:
		return nil, errors.New("it has no recipientNonce, so that it may be the answer to another message (RFC 5272 section 6.6)")
	case present && !bytes.Equal(back, m.nonce):
		return nil, errors.New("it is the answer to another message: its recipientNonce is not the nonce that was sent")
	}
	transaction, present, err := controls.TransactionID()
	switch {
	case err != nil:
		return nil, err
	case m.transaction == nil: // none was sent
	case !present && must:
		return nil, errors.New("it has no transactionId, and the request had one (RFC 5272 section 6.6)")
	case present && transaction.Cmp(m.transaction) != 0:
		return nil, errors.New("it belongs to another transaction")
	}
	nonce, _, err = controls.Octets(cmc.OIDSenderNonce)
	return nonce, err
}

// readStatuses says of each part what became of it. With success, a part about
// which there is no word was granted if nothing else was said (RFC 5272 section
// 6.1: success may be left out).
func (f *FullAnswer) readStatuses(m *cmcMessage, controls cmc.Controls, success bool) error {
	f.Parts = slices.Clone(m.parts)
	said := append(controls.All(cmc.OIDStatusInfoV2), controls.All(cmc.OIDStatusInfo)...)
	var whole []cmc.StatusInfo
	second := map[cmc.BodyPartID]bool{} // those of which the second version has a word
	for _, control := range said {
		value, err := control.Value()
		if err != nil {
			return err
		}
		status, err := cmc.ParseStatusInfo(value)
		if err != nil {
			return err
		}
		v1 := control.Type.String() == cmc.OIDStatusInfo
		for _, body := range status.Bodies {
			if v1 && second[body.ID] {
				continue // RFC 5272 section 6.1: it is there for those who don't read the other
			}
			second[body.ID] = second[body.ID] || !v1 && body.Path == nil
			if body.Path == nil && body.ID == 0 {
				whole = append(whole, status)
				continue
			}
			f.add(m, body, status)
		}
	}
	for _, status := range whole {
		f.addWhole(status)
	}
	if success && len(said) == 0 {
		for i := range f.Parts {
			// A certificate is proof enough; of a revocation there is none.
			f.Parts[i].Said = i < len(m.wishes)
		}
	}
	return nil
}

// add takes a word about one body part. Of two about the same, what isn't success
// counts.
func (f *FullAnswer) add(m *cmcMessage, body cmc.Reference, status cmc.StatusInfo) {
	id := body.ID
	if len(body.Path) > 0 {
		id = body.Path[len(body.Path)-1]
	}
	found := false
	for i := range f.Parts {
		p := &f.Parts[i]
		if p.ID != id {
			continue
		}
		found = true
		if !p.Said || p.Status == cmc.Success {
			p.Said, p.StatusInfo = true, status
		}
	}
	if found {
		return
	}
	what, known := m.controls[id]
	if !known {
		what = fmt.Sprintf("body part %d", id)
	}
	f.Parts = append(f.Parts, Part{ID: id, What: what, Said: true, StatusInfo: status})
}

// addWhole takes a word about the message: it is one about each part that has no
// other.
func (f *FullAnswer) addWhole(status cmc.StatusInfo) {
	found := false
	for i := range f.Parts {
		if p := &f.Parts[i]; !p.Said {
			found, p.Said, p.StatusInfo = true, true, status
		}
	}
	if !found && status.Status != cmc.Success {
		f.Parts = append(f.Parts, Part{What: "the message", Said: true, StatusInfo: status})
	}
}

// pending says of each part that waits how to ask for it again.
func (f *FullAnswer) pending(m *cmcMessage, nonce []byte) {
	for i := range f.Parts {
		p := &f.Parts[i]
		switch waits := p.Status == cmc.Pending || p.Status == cmc.Partial; {
		case waits && p.Pend != nil:
			p.Query = &Query{Token: p.Pend.Token, Transaction: m.transaction, Nonce: nonce}
		case waits && m.query != nil:
			// RFC 5272 section 6.13: what is left out is as before.
			p.Query = &Query{Token: m.query.Token, Transaction: m.transaction, Nonce: nonce}
		}
	}
}

// match finds the certificate of each request that was granted: the set of
// certificates is covered by no signature, so that its key and the trust anchors
// decide.
func (c *Client) match(f *FullAnswer, m *cmcMessage, certs []*x509.Certificate) error {
	for i, wish := range m.wishes {
		p := &f.Parts[i]
		if !p.granted() {
			continue
		}
		var found []*x509.Certificate
		for _, cert := range certs {
			// In a renewal with the same key, the old one may be there too.
			if sameKey(cert.PublicKey, wish.key) && (m.signer == nil || !cert.Equal(m.signer)) {
				found = append(found, cert)
			}
		}
		if m.query != nil && len(m.wishes) > 1 && len(found) == 0 {
			continue // each is asked for by itself
		}
		if len(found) != 1 {
			return fmt.Errorf("it holds %d certificates for the key of %s, want one", len(found), p.What)
		}
		p.Enrolled = &Enrolled{Certificate: found[0], CSR: wish.csr, Linked: wish.linked, RequestID: f.RequestID, asked: wish.asked}
		if m.registrar {
			continue
		}
		if err := c.check(p.Enrolled, wish.key, certs...); err != nil {
			return fmt.Errorf("the certificate for %s: %w", p.What, err)
		}
	}
	return nil
}
