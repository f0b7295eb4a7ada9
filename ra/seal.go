// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/secret"
)

// ErrNoDecryptKey tells that a client has no key of an identifier. That somebody
// else has one is not told apart.
var ErrNoDecryptKey = errors.New("the client has no key with this identifier")

// DecryptKeys finds keys of clients, for which private keys are encrypted. It is
// safe for concurrent use.
type DecryptKeys interface {
	// DecryptKey gives the key with an identifier that is who's own: another
	// client's is none. The error is ErrNoDecryptKey where there is none.
	DecryptKey(ctx context.Context, who policy.Identity, wanted csr.DecryptKey) (cms.Recipient, error)
}

// A KeySigner signs private keys: RFC 7030 section 4.4.2 has the party sign that
// generated them.
type KeySigner struct {
	Key         crypto.Signer
	Certificate *x509.Certificate
	// Chain are further certificates that go along.
	Chain []*x509.Certificate
}

// A seal is how one private key goes out. The zero value leaves it in clear.
type seal struct {
	asked      bool
	to         cms.Recipient
	algorithms cms.Algorithms
	signer     KeySigner
}

// sealing finds how a key is to be encrypted, before it is made. RFC 7030
// sections 4.4.1.1 and 4.4.1.2: without the key that the client names there is
// no answer, and never a key in clear instead.
func (a *Authority) sealing(ctx context.Context, who policy.Identity, wanted csr.DecryptKey) (seal, *Error) {
	if !wanted.Asked() {
		return seal{}, nil
	}
	const telling = "the private key can't be encrypted as asked (RFC 7030 section 4.4.1)"
	s := seal{asked: true}
	var err error
	if s.to, err = a.decryptKey(ctx, who, wanted); err != nil {
		if errors.Is(err, ErrNoDecryptKey) || errors.Is(err, cms.ErrAlgorithm) || errors.Is(err, errKeyUsage) {
			return s, Fail(Refused, fmt.Sprintf("the key %x to encrypt for", wanted.ID), err).Telling(telling)
		}
		return s, Fail(Busy, "the keys of clients can't be asked for", err)
	}
	if s.algorithms, err = s.to.Choose(wanted.Capabilities); err != nil {
		return s, Fail(Refused, "the key can't be encrypted by any algorithm of the client", err).Telling(telling)
	}
	if s.signer, err = a.keySigner(); err != nil {
		return s, Fail(Fault, "nothing signs private keys", err)
	}
	return s, nil
}

// errKeyUsage: RFC 7030 section 4.4.1.2 wants a key that is bound to a
// certificate to be for this, or for anything.
var errKeyUsage = errors.New("the certificate's key is for something else")

// decryptKey looks at the client certificate, and then where DecryptKeys does.
func (a *Authority) decryptKey(ctx context.Context, who policy.Identity, wanted csr.DecryptKey) (cms.Recipient, error) {
	if wanted.Asymmetric && who.Cert != nil && bytes.Equal(cms.KeyIdentifier(who.Cert), wanted.ID) {
		return RecipientOf(who.Cert, wanted.ID)
	}
	if a.DecryptKeys == nil {
		return cms.Recipient{}, ErrNoDecryptKey
	}
	return a.DecryptKeys.DecryptKey(ctx, who, wanted)
}

// RecipientOf gives the key of a certificate to encrypt for, under an identifier
// that the client knows it by.
func RecipientOf(cert *x509.Certificate, id []byte) (cms.Recipient, error) {
	r, err := cms.ForCertificate(cert, cms.SubjectKeyID(id))
	if err != nil && !errors.Is(err, cms.ErrAlgorithm) {
		return r, fmt.Errorf("%w: %w", errKeyUsage, err)
	}
	return r, err
}

// close encrypts a private key: EnvelopedData over SignedData over an
// AsymmetricKeyPackage (RFC 7030 section 4.4.2, RFC 5958 section 4).
func (s seal) close(pkcs8 secret.Bytes) (PrivateKey, error) {
	if !s.asked {
		return PrivateKey{DER: bytes.Clone(pkcs8)}, nil
	}
	pack, err := cms.KeyPackage(pkcs8)
	if err != nil {
		return PrivateKey{}, err
	}
	defer clear(pack)
	certs := append([]*x509.Certificate{s.signer.Certificate}, s.signer.Chain...)
	signed, err := cms.Sign(cms.Content{Type: cms.IDKeyPackage, Bytes: pack}, certs,
		cms.Signer{Key: s.signer.Key, ID: cms.IssuerAndSerial(s.signer.Certificate)})
	if err != nil {
		return PrivateKey{}, err
	}
	defer clear(signed)
	content, err := cms.Nested(signed)
	if err != nil {
		return PrivateKey{}, err
	}
	defer clear(content.Bytes)
	der, err := cms.Encrypt(content, s.algorithms, s.to)
	return PrivateKey{DER: der, Encrypted: true}, err
}

func (a *Authority) keySigner() (KeySigner, error) {
	if a.KeySigner != nil {
		if s, ok := a.KeySigner(); ok {
			return s, nil
		}
	}
	a.own.once.Do(func() { a.own.signer, a.own.err = processSigner(a.now()) })
	return a.own.signer, a.own.err
}

// ownSigner is the signer of a process without a certificate of its own.
type ownSigner struct {
	once   sync.Once
	signer KeySigner
	err    error
}

// processSigner makes a key and a certificate that nobody vouches for: the
// message must be signed, and the client that decrypts it knows from whom it
// came by TLS.
func processSigner(now time.Time) (KeySigner, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeySigner{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Estra, key generation"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return KeySigner{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return KeySigner{Key: key, Certificate: cert}, err
}
