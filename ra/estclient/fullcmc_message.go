// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// Sizes of what is random in a message, in bytes.
const (
	nonceSize       = 16
	transactionSize = 16
	linkSize        = 64 // RFC 5272 section 6.3.1.1: 512 bits
)

// A cmcMessage is a Full PKI Request, and what its answer is held to.
type cmcMessage struct {
	der         []byte
	transaction *big.Int
	nonce       []byte
	parts       []Part
	controls    map[cmc.BodyPartID]string
	query       *Query
	wishes      []wantedCert // by requests, those of a query too
	signer      *x509.Certificate
	secret      []byte // of a MAC
	registrar   bool

	data     cmc.PKIData
	random   []byte   // popLinkRandom
	unsigned [][]byte // values of unsignedData
}

// A wantedCert is what a certificate must be for.
type wantedCert struct {
	key    crypto.PublicKey
	csr    []byte
	linked string // type of binding that ties the request to its channel
	asked  []csr.Extension
}

// newMessage makes the message that asks.
func (c *Client) newMessage(s *session, ask *FullRequest, link bool) (*cmcMessage, error) {
	m := &cmcMessage{controls: map[cmc.BodyPartID]string{}, query: ask.Query, registrar: ask.Registrar}
	challenge, linked, err := s.challenge(link)
	if err != nil {
		return nil, err
	}
	if ask.Secret != nil {
		if m.random, err = c.bytes(linkSize); err != nil {
			return nil, err
		}
	}
	if err := m.addWishes(c, ask, challenge, linked); err != nil {
		return nil, err
	}
	if err := m.addWitnesses(ask); err != nil {
		return nil, err
	}
	if err := m.addUnsigned(ask.Wishes); err != nil {
		return nil, err
	}
	if err := m.addRevocations(ask.Revoke); err != nil {
		return nil, err
	}
	if err := m.addTransaction(c, ask.Query); err != nil {
		return nil, err
	}
	if err := m.addProof(ask); err != nil {
		return nil, err
	}
	content, err := m.data.Marshal()
	if err != nil {
		return nil, err
	}
	m.der, err = m.seal(c, ask, cms.Content{Type: cms.IDPKIData, Bytes: content})
	return m, err
}

// bytes are random.
func (c *Client) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(c.random(), b)
	return b, err
}

// addWishes adds the certification requests, whose ids are 1, 2 and so on. Those
// of a query are remembered alone.
func (m *cmcMessage) addWishes(c *Client, ask *FullRequest, challenge, linked string) error {
	for i, wish := range ask.Wishes {
		what := fmt.Sprintf("request %d", i+1)
		public, err := wish.public()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		for j, other := range m.wishes {
			if sameKey(other.key, public) {
				return fmt.Errorf("requests %d and %d have the same key: their certificates could not be told apart", j+1, i+1)
			}
		}
		if ask.Query != nil {
			m.wishes = append(m.wishes, wantedCert{key: public, csr: wish.CSR})
			continue
		}
		request, err := m.request(c, ask, cmc.BodyPartID(i+1), wish, challenge)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		sent, err := request.CSR()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		wanted := wantedCert{key: public, csr: sent.Raw, asked: sent.Extensions}
		if !wish.made() {
			wanted.linked = linked
		}
		m.data.Requests = append(m.data.Requests, request)
		m.wishes = append(m.wishes, wanted)
		m.parts = append(m.parts, Part{ID: request.ID, What: what + whoFor(sent.Names)})
	}
	return nil
}

// whoFor says in brackets who the request is for.
func whoFor(names csr.Names) string {
	if len(names.Subject) == 0 {
		return ""
	}
	return " (" + printable(names.Subject.String(), 256) + ")"
}

// public is the key that the certificate is for.
func (w Wish) public() (crypto.PublicKey, error) {
	if !w.made() {
		if w.Key == nil {
			return nil, errors.New("it has neither key nor CSR")
		}
		return w.Key.Public(), nil
	}
	made, err := w.elsewhere(1)
	if err != nil {
		return nil, err
	}
	request, err := made.CSR()
	if err != nil {
		return nil, err
	}
	if request.Key.Public == nil {
		return nil, errors.New("its key is of no known kind")
	}
	return request.Key.Public, nil
}

// elsewhere embeds what was made elsewhere, as it is. A CRMF request has an id of
// its own.
func (w Wish) elsewhere(id cmc.BodyPartID) (cmc.Request, error) {
	if w.Message != nil {
		return cmc.NewCRMF(w.Message)
	}
	return cmc.NewPKCS10(id, w.CSR)
}

// request makes one certification request.
func (m *cmcMessage) request(c *Client, ask *FullRequest, id cmc.BodyPartID, wish Wish, challenge string) (cmc.Request, error) {
	if wish.made() {
		return wish.elsewhere(id)
	}
	t, err := m.witnessed(wish.Template, ask.Secret)
	if err != nil {
		return cmc.Request{}, err
	}
	if ask.Signer == nil && !ask.MAC && id == 1 {
		if t, err = t.withKeyID(wish.Key.Public()); err != nil {
			return cmc.Request{}, err
		}
	}
	if wish.CRMF {
		return crmf(c.random(), id, wish.Key, t, challenge)
	}
	der, err := Request(c.random(), wish.Key, t, challenge)
	if err != nil {
		return cmc.Request{}, err
	}
	return cmc.NewPKCS10(id, der)
}

// witnessed adds popLinkWitnessV2, where there is a secret to make it with (RFC
// 5272 section 6.3.1.1).
func (m *cmcMessage) witnessed(t Template, secret *SharedSecret) (Template, error) {
	if secret == nil {
		return t, nil
	}
	value, err := cmc.NewWitness([]byte(secret.Secret), "", m.random).Marshal()
	if err != nil {
		return t, err
	}
	oid, _ := csr.TypeOID(cmc.OIDPopLinkWitnessV2)
	t.Attributes = append(slices.Clone(t.Attributes), csr.Attribute{Type: oid, Values: [][]byte{value}})
	return t, nil
}

// withKeyID has the request ask for a subjectKeyIdentifier, where it doesn't
// yet: by it the message names the key that signs (RFC 5272 section 3.2).
func (t Template) withKeyID(public crypto.PublicKey) (Template, error) {
	if t.keyID() != nil {
		return t, nil
	}
	id, err := keyID(public)
	if err != nil {
		return t, err
	}
	oid, _ := csr.TypeOID(csr.OIDSubjectKeyIdentifier)
	t.Extensions = append(slices.Clone(t.Extensions), csr.Extension{ID: oid, Value: cmc.Octets(id)})
	return t, nil
}

// keyID is the subjectKeyIdentifier that the request asks for; nil for none.
func (t Template) keyID() []byte {
	for _, e := range t.Extensions {
		if e.ID.String() == csr.OIDSubjectKeyIdentifier {
			id, _ := cmc.ParseOctets(e.Value)
			return id
		}
	}
	return nil
}

// keyID makes a subjectKeyIdentifier (RFC 7093 section 2, method 1).
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	input := cryptobyte.String(der)
	var spki, bits cryptobyte.String
	if !input.ReadASN1(&spki, tag.SEQUENCE) || !spki.SkipASN1(tag.SEQUENCE) || !spki.ReadASN1(&bits, tag.BIT_STRING) || !bits.Skip(1) {
		return nil, errors.New("the public key can't be read")
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}

// addControl gives the control the next free id.
func (m *cmcMessage) addControl(oid string, value []byte) cmc.BodyPartID {
	id := cmc.BodyPartID(len(m.data.Requests) + len(m.data.Controls) + 1) //nolint:gosec // few
	for slices.Contains(m.data.IDs(), id) {                               // that of a CRMF request
		id++
	}
	control := cmc.NewControl(id, oid, value)
	m.controls[id] = "control " + cmc.Name(control.Type)
	m.data.Controls = append(m.data.Controls, control)
	return id
}

// addWitnesses adds what a registration authority says of the requests, and what
// it changes.
func (m *cmcMessage) addWitnesses(ask *FullRequest) error {
	if !ask.Registrar || len(m.data.Requests) == 0 {
		return nil
	}
	var ids []cmc.BodyPartID
	for _, r := range m.data.Requests {
		ids = append(ids, r.ID)
	}
	value, err := cmc.POPWitness{Requests: ids}.Marshal()
	if err != nil {
		return err
	}
	m.addControl(cmc.OIDLraPOPWitness, value)
	for i, r := range m.data.Requests {
		if value, err = cmc.MarshalPath([]cmc.BodyPartID{r.ID}); err != nil {
			return err
		}
		m.addControl(cmc.OIDRAIdentityWitness, value)
		for _, change := range ask.Wishes[i].Changes {
			change.Data, change.Requests = []cmc.BodyPartID{0}, []cmc.BodyPartID{r.ID}
			if value, err = change.Marshal(); err != nil {
				return fmt.Errorf("request %d: %w", i+1, err)
			}
			m.addControl(cmc.OIDModCertTemplate, value)
		}
	}
	return nil
}

// addUnsigned adds what goes along with requests, for the request's id in this
// message.
func (m *cmcMessage) addUnsigned(wishes []Wish) error {
	for i, r := range m.data.Requests {
		for _, u := range wishes[i].Unsigned {
			u.Path = append([]cmc.BodyPartID{r.ID}, u.Path[min(1, len(u.Path)):]...)
			value, err := u.Marshal()
			if err != nil {
				return fmt.Errorf("request %d: unsignedData: %w", i+1, err)
			}
			m.unsigned = append(m.unsigned, value)
		}
	}
	return nil
}

func (m *cmcMessage) addRevocations(list []cmc.Revocation) error {
	for _, r := range list {
		value, err := r.Marshal()
		if err != nil {
			return fmt.Errorf("revocation: %w", err)
		}
		id := m.addControl(cmc.OIDRevokeRequest, value)
		m.parts = append(m.parts, Part{ID: id, What: "revocation of " + audit.Serial(r.Serial)})
	}
	return nil
}

// addTransaction adds what ties the answer to the message (RFC 5272 section
// 6.6), and to an earlier one the message.
func (m *cmcMessage) addTransaction(c *Client, query *Query) error {
	var err error
	if m.nonce, err = c.bytes(nonceSize); err != nil {
		return err
	}
	m.addControl(cmc.OIDSenderNonce, cmc.Octets(m.nonce))
	if query == nil {
		number, err := c.bytes(transactionSize)
		if err != nil {
			return err
		}
		m.transaction = new(big.Int).SetBytes(number)
	} else {
		m.transaction = query.Transaction
		if query.Nonce != nil {
			m.addControl(cmc.OIDRecipientNonce, cmc.Octets(query.Nonce))
		}
		id := m.addControl(cmc.OIDQueryPending, cmc.Octets(query.Token))
		for range m.wishes {
			m.parts = append(m.parts, Part{ID: id, What: "the pending request"})
		}
	}
	if m.transaction != nil {
		m.addControl(cmc.OIDTransactionID, cmc.Integer(m.transaction))
	}
	return nil
}

// addProof adds who asks, by a secret. A MAC is proof enough, and needs the
// identification alone.
func (m *cmcMessage) addProof(ask *FullRequest) error {
	secret := ask.Secret
	if secret == nil {
		return nil
	}
	if secret.Identification != "" {
		m.addControl(cmc.OIDIdentification, cmc.UTF8(secret.Identification))
	}
	if len(m.data.Requests) > 0 {
		m.addControl(cmc.OIDPopLinkRandom, cmc.Octets(m.random))
	}
	if ask.MAC {
		return nil
	}
	// RFC 5272 section 6.2.1: over the requests as they are sent.
	requests, err := m.data.MarshalRequests()
	if err != nil {
		return err
	}
	value, err := cmc.NewWitness([]byte(secret.Secret), secret.Identification, requests).Marshal()
	if err != nil {
		return err
	}
	m.addControl(cmc.OIDIdentityProofV2, value)
	return nil
}
