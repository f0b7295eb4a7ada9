// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// A Generated is a certificate with the key that was made for us.
type Generated struct {
	Enrolled
	Key crypto.Signer
	// Encrypted says that the key came encrypted inside TLS.
	Encrypted bool
	// Signer is the certificate that the encrypted key was signed under; nil of
	// a PKCS #12, which nobody signs. The signature verifies; whose the
	// certificate is, is the caller's to say.
	Signer *x509.Certificate
}

// A DecryptKey is a key of ours that a private key is to be encrypted for. The
// zero value is none.
type DecryptKey struct {
	id         []byte
	asymmetric bool
	key        cms.Key
	password   Secret
}

// PKCS12Password is a password that the server has as well: key and certificate
// come in one PKCS #12 under it (RFC 8295 section 8.3), where the server gives
// out keys so. The request says nothing of it.
func PKCS12Password(password Secret) DecryptKey { return DecryptKey{password: password} }

// SymmetricKey is an AES key of 16 or 32 bytes that the server has as well, and
// its identifier (RFC 7030 section 4.4.1.1).
func SymmetricKey(id, key []byte) DecryptKey {
	return DecryptKey{id: id, key: cms.Key{KeyID: id, KEK: key}}
}

// AsymmetricKey is a private key, RSA or for ECDH on P-256, P-384 or P-521, whose
// public half the server knows by an identifier (RFC 7030 section 4.4.1.2), such
// as the subjectKeyIdentifier of its certificate.
func AsymmetricKey(id []byte, private crypto.Signer) (DecryptKey, error) {
	d := DecryptKey{id: id, asymmetric: true, key: cms.Key{KeyID: id}}
	switch key := private.(type) {
	case *rsa.PrivateKey:
		d.key.RSA = key
	case *ecdsa.PrivateKey:
		agree, err := key.ECDH()
		if err != nil {
			return DecryptKey{}, fmt.Errorf("the key to decrypt with: %w", err)
		}
		d.key.ECDH = agree
	default:
		return DecryptKey{}, fmt.Errorf("nothing is decrypted with a key of the type %T: want RSA or ECDSA", private)
	}
	return d, nil
}

// ServerKeygen asks for a key and a certificate for it (RFC 7030 section 4.4),
// as Enroll asks for a certificate. With a key in with, the private key must
// come encrypted for it; without one, in clear inside TLS.
func (c *Client) ServerKeygen(ctx context.Context, t Template, with DecryptKey) (*Generated, error) {
	if with.id != nil {
		attributes, err := with.attributes()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", policy.ServerKeygen, err)
		}
		t.Attributes = append(attributes, t.Attributes...)
	}
	// The server ignores the key and the signature; a request must have both.
	unused, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	done := &Generated{}
	read := func(a *answer) ([]*x509.Certificate, error) { return done.read(a, with) }
	enrolled, err := c.ask(ctx, policy.ServerKeygen, unused, t, c.Certificate, read)
	if err != nil {
		return nil, err
	}
	done.Enrolled = *enrolled
	if err := c.check(&done.Enrolled, done.Key.Public()); err != nil {
		return nil, fmt.Errorf("%s: the certificate that the server sent is not taken: %w", policy.ServerKeygen, err)
	}
	return done, nil
}

// attributes say which key it is, and what it opens.
func (d DecryptKey) attributes() ([]csr.Attribute, error) {
	name := csr.OIDDecryptKeyID
	if d.asymmetric {
		name = csr.OIDAsymmDecryptKeyID
	}
	id, err := asn1.Marshal(d.id)
	if err != nil {
		return nil, err
	}
	capabilities, err := d.key.Capabilities()
	if err != nil {
		return nil, err
	}
	identifier, _ := csr.TypeOID(name)
	able, _ := csr.TypeOID(csr.OIDSMIMECapabilities)
	return []csr.Attribute{{Type: identifier, Values: [][]byte{id}}, {Type: able, Values: [][]byte{capabilities}}}, nil
}

// read takes the key out of an answer, and gives the certificates.
func (g *Generated) read(a *answer, with DecryptKey) ([]*x509.Certificate, error) {
	defer clear(a.body)
	contentType := a.header.Get("Content-Type")
	if isPFX := wire.IsPKCS12(contentType); isPFX != (with.password != "") {
		return nil, errors.New("the answer is a PKCS #12 and there is no password for one, or the answer is none and there is")
	}
	if with.password != "" {
		return g.readPFX(a.body, with.password)
	}
	parts, err := wire.DecodeParts(contentType, a.body)
	if err != nil {
		return nil, err
	}
	defer clear(parts.Key)
	der := parts.Key
	if g.Encrypted = parts.Encrypted; g.Encrypted != (with.id != nil) {
		return nil, errors.New("the private key came encrypted and nobody asked for that, or in clear although encryption was asked for")
	}
	if g.Encrypted {
		if der, g.Signer, err = with.open(parts.Key); err != nil {
			return nil, err
		}
		defer clear(der)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key is not PKCS #8, or of a kind that is not known here")
	}
	if err := g.take(key); err != nil {
		return nil, err
	}
	return cms.ParseCertsOnly(parts.Certificates)
}

func (g *Generated) take(key any) error {
	signer, ok := key.(crypto.Signer)
	if _, agrees := key.(*ecdh.PrivateKey); !ok || agrees {
		return errors.New("the private key can't sign")
	}
	g.Key = signer
	return nil
}

// readPFX takes key and certificate out of a PKCS #12.
func (g *Generated) readPFX(body []byte, password Secret) ([]*x509.Certificate, error) {
	der, _, err := wire.DecodeBody(body)
	if err != nil {
		return nil, fmt.Errorf("the PKCS #12: %w", err)
	}
	key, leaf, further, err := pkcs12.DecodeChain(der, string(password))
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, errors.New("the PKCS #12 doesn't open with this password")
	}
	if err != nil {
		return nil, errors.New("the PKCS #12 is malformed, or protected in a way that is not known here")
	}
	g.Encrypted = true
	return append([]*x509.Certificate{leaf}, further...), g.take(key)
}

// open decrypts a private key, and verifies who signed it.
func (d DecryptKey) open(message []byte) (pkcs8 []byte, by *x509.Certificate, err error) {
	sealed, err := cms.ReadEnveloped(message)
	if err != nil {
		return nil, nil, err
	}
	content, err := sealed.Open(d.key)
	if err != nil {
		return nil, nil, err
	}
	defer clear(content.Bytes)
	if content.Type != cms.IDSignedData {
		return nil, nil, errors.New("the encrypted private key is not signed (RFC 7030 section 4.4.2)")
	}
	inner, err := content.Message()
	if err != nil {
		return nil, nil, err
	}
	signed, err := cms.ReadSigned(inner)
	if err != nil {
		return nil, nil, err
	}
	verified, err := signed.Verify(cms.FindCertificate())
	if err != nil {
		return nil, nil, err
	}
	if verified.Content().Type != cms.IDKeyPackage {
		return nil, nil, errors.New("what was signed is no key package (RFC 5958)")
	}
	keys, err := cms.ReadKeyPackage(verified.Content().Bytes)
	if err != nil || len(keys) != 1 {
		return nil, nil, errors.Join(err, fmt.Errorf("the key package has %d keys, want one", len(keys)))
	}
	return keys[0], verified.Signers()[0].Key.Certificate, nil
}
