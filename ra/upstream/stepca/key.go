// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"go.step.sm/crypto/jose"
)

// cmcRA is id-kp-cmcRA (RFC 6402 section 2.10): the holder is a registration
// authority.
var cmcRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}

// An X5C is a certificate with its key, for an X5C provisioner.
type X5C struct {
	Chain []*x509.Certificate // the RA's certificate first, then intermediates
	Key   crypto.Signer
}

// NewJWK makes the key pair of a JWK provisioner: ECDSA P-256, the key id
// its thumbprint (RFC 7638). The private half stays with the RA; the public
// half goes into [Provisioner].
func NewJWK() (private, public *jose.JSONWebKey, err error) {
	private, err = jose.GenerateJWK("EC", jose.P256, jose.ES256, "sig", "", 0)
	if err != nil {
		return nil, nil, fmt.Errorf("step_ca: making a key: %w", err)
	}
	half := private.Public()
	return private, &half, nil
}

// ParseJWK reads a private JWK (RFC 7517), plain, or as a JWE (RFC 7516) in
// compact or JSON form encrypted under a password, as `step crypto jwk
// create` writes it. A key without `kid` gets its thumbprint. No error shows
// any of the data.
func ParseJWK(data, password []byte) (*jose.JSONWebKey, error) {
	plain := bytes.TrimSpace(data)
	if enc, err := jose.ParseEncrypted(string(plain)); err == nil {
		if len(password) == 0 {
			return nil, errors.New("step_ca: the JWK is encrypted and no password is given")
		}
		if plain, err = enc.Decrypt(password); err != nil {
			return nil, errors.New("step_ca: the JWK can't be decrypted with this password")
		}
	}
	key := new(jose.JSONWebKey)
	if err := json.Unmarshal(plain, key); err != nil {
		return nil, errors.New("step_ca: the key is neither a JWK nor an encrypted JWK")
	}
	if _, err := signatureAlgorithm(key); err != nil {
		return nil, err
	}
	if key.KeyID == "" {
		id, err := jose.Thumbprint(key)
		if err != nil {
			return nil, errors.New("step_ca: the JWK has no kid, and its thumbprint can't be made")
		}
		key.KeyID = id
	}
	return key, nil
}

// signatureAlgorithm is the JWS algorithm (RFC 7518) for a private JWK.
func signatureAlgorithm(key *jose.JSONWebKey) (jose.SignatureAlgorithm, error) {
	if key.IsPublic() {
		return "", errors.New("step_ca: the JWK has no private part")
	}
	signer, ok := key.Key.(crypto.Signer)
	if !ok || !key.Valid() {
		return "", errors.New("step_ca: the JWK isn't an EC, RSA or Ed25519 private key")
	}
	if key.Use != "" && key.Use != "sig" {
		return "", fmt.Errorf("step_ca: the JWK is for %q, not for signatures", key.Use)
	}
	alg, err := algorithmFor(signer)
	if err != nil {
		return "", err
	}
	// RSA alone leaves a choice, which the key may have made.
	if _, ok := signer.Public().(*rsa.PublicKey); ok && key.Algorithm != "" {
		if !slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, key.Algorithm) {
			return "", fmt.Errorf("step_ca: the JWK's algorithm %q isn't for RSA signatures", key.Algorithm)
		}
		return jose.SignatureAlgorithm(key.Algorithm), nil
	}
	return alg, nil
}

func algorithmFor(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		switch pub.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
		return "", fmt.Errorf("step_ca: tokens can't be signed with curve %s", pub.Params().Name)
	case *rsa.PublicKey:
		return jose.RS256, nil
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	default:
		return "", fmt.Errorf("step_ca: tokens can't be signed with a %T", pub)
	}
}

// ParseX5C reads the credential of an X5C provisioner from PEM: the RA's
// certificate first, then its intermediates, and its private key (PKCS #8,
// SEC 1 or PKCS #1, not encrypted). The certificate must be for clientAuth,
// which step-ca demands, and for id-kp-cmcRA, which our template demands.
func ParseX5C(certPEM, keyPEM []byte) (*X5C, error) {
	chain, err := certificatesPEM(certPEM)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("step_ca: the RA's key isn't PEM")
	}
	key, err := privateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	x := &X5C{Chain: chain, Key: key}
	if err := x.check(); err != nil {
		return nil, err
	}
	return x, nil
}

// check is asked again by New, since an X5C can be made without ParseX5C.
func (x *X5C) check() error {
	if len(x.Chain) == 0 || x.Key == nil {
		return errors.New("step_ca: the X5C credential needs a certificate and a key")
	}
	leaf := x.Chain[0]
	pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !pub.Equal(x.Key.Public()):
		return fmt.Errorf("step_ca: the key doesn't belong to the RA certificate %q", leaf.Subject)
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return fmt.Errorf("step_ca: the RA certificate %q isn't for clientAuth", leaf.Subject)
	case !slices.ContainsFunc(leaf.UnknownExtKeyUsage, cmcRA.Equal):
		return fmt.Errorf("step_ca: the RA certificate %q isn't for id-kp-cmcRA (%s)", leaf.Subject, cmcRA)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("step_ca: the RA certificate %q isn't for digital signatures", leaf.Subject)
	}
	_, err := algorithmFor(x.Key)
	return err
}

func certificatesPEM(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("step_ca: certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("step_ca: no PEM certificate found")
	}
	return chain, nil
}

func privateKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	// The parsers' own errors could tell something of the key.
	return nil, errors.New("step_ca: the RA's key is no PKCS #8, SEC 1 or PKCS #1 private key")
}
