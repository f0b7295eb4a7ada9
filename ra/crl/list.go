// SPDX-License-Identifier: Apache-2.0

// Package crl reads certificate revocation lists (RFC 5280 section 5) and
// answers from them whether a certificate is revoked. What a list can't
// answer for certain is an error, and callers fail closed.
package crl

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// ErrExpired is wrapped where a list has no entry for a certificate and need
// not have one: RFC 5280 section 3.3 lets a CA drop entries of certificates
// that have expired. To ask again later doesn't help.
var ErrExpired = errors.New("a list need not name certificates that expired before it was issued (RFC 5280 section 3.3); " +
	"the policy's `expired` needs a CRL with the extension expiredCertsOnCRL")

var (
	// ErrOtherIssuer is wrapped where there is a list, and none of the
	// certificate's issuer. To ask again later doesn't help.
	ErrOtherIssuer = errors.New("the list is of another issuer than the certificate's")
	// ErrUnknownIssuer is wrapped where a list names an issuer whose certificate
	// isn't known, so that nobody can tell whether it is genuine.
	ErrUnknownIssuer = errors.New("none of the known CA certificates is the list's issuer")
	// ErrOtherKey is an ErrUnknownIssuer: the name is known, with another key.
	ErrOtherKey = fmt.Errorf("signature of the list: it is by another key of that name: %w", ErrUnknownIssuer)
)

// ForGood tells whether an error is one that no waiting changes.
func ForGood(err error) bool { return errors.Is(err, ErrExpired) || errors.Is(err, ErrOtherIssuer) }

// removeFromCRL (RFC 5280 section 5.3.1) has a meaning in delta CRLs only.
const removeFromCRL = 8

// A List is one complete, direct CRL with a good signature. It doesn't change
// and is safe for concurrent use.
type List struct {
	issuer     []byte // Name, DER
	key        []byte // SubjectPublicKeyInfo of who signed it, DER
	number     *big.Int
	thisUpdate time.Time
	nextUpdate time.Time
	points     []string // URIs of the issuing distribution point; empty: any
	// expiredFrom: certificates that expired then or later are still listed.
	// Zero: the list doesn't say.
	expiredFrom time.Time
	revoked     map[string]struct{}
}

// Parse reads a CRL in DER and checks its signature with the one of issuers
// that it names. It refuses delta and indirect lists, lists for CA or
// attribute certificates only, lists for some reasons only, critical
// extensions that it doesn't know, and a list without nextUpdate (RFC 5280
// section 5.1.2.5 demands it). Whether the list is fresh is asked at each use.
func Parse(der []byte, issuers []*x509.Certificate) (*List, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("crl: %w", err)
	}
	if len(parsed.Raw) != len(der) { // crypto/x509 lets it pass
		return nil, errors.New("crl: there are bytes after the list")
	}
	signer, err := signedByOne(parsed, issuers)
	if err != nil {
		return nil, err
	}
	if parsed.NextUpdate.IsZero() {
		return nil, errors.New("crl: the list has no nextUpdate")
	}
	if parsed.NextUpdate.Before(parsed.ThisUpdate) {
		return nil, errors.New("crl: nextUpdate is before thisUpdate")
	}
	l := &List{
		issuer:     parsed.RawIssuer,
		key:        signer.RawSubjectPublicKeyInfo,
		number:     parsed.Number,
		thisUpdate: parsed.ThisUpdate,
		nextUpdate: parsed.NextUpdate,
	}
	if err := l.readExtensions(parsed.Extensions); err != nil {
		return nil, err
	}
	if l.revoked, err = entries(parsed.RevokedCertificateEntries); err != nil {
		return nil, err
	}
	return l, nil
}

// DER takes the content of a CRL file: DER, or one PEM block of type X509 CRL
// and nothing else.
func DER(data []byte) ([]byte, error) {
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		return data, nil
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "X509 CRL" {
		return nil, errors.New("crl: the file holds no PEM block of type X509 CRL")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("crl: there is more in the file after the first PEM block")
	}
	return block.Bytes, nil
}

// An Issuer is whose list it says to be: a Name, and the key identifier of RFC 5280
// section 5.2.1, where it has one.
type Issuer struct{ name, key []byte }

// IssuerOf reads whose list this is, and verifies nothing.
func IssuerOf(der []byte) (Issuer, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return Issuer{}, fmt.Errorf("crl: %w", err)
	}
	return issuerOf(parsed), nil
}

func issuerOf(parsed *x509.RevocationList) Issuer {
	return Issuer{parsed.RawIssuer, parsed.AuthorityKeyId}
}

// Named tells whether this is a certificate's name.
func (i Issuer) Named(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, i.name) }

// Is tells whether this can be a certificate's key and name. The signature alone
// decides.
func (i Issuer) Is(c *x509.Certificate) bool {
	return i.Named(c) && (len(i.key) == 0 || len(c.SubjectKeyId) == 0 || bytes.Equal(c.SubjectKeyId, i.key))
}

// Revoked answers for one certificate. A certificate on hold is revoked, and
// one that a stale list has is, too: lists forget, and don't pardon. An error
// means that the list can't say: it isn't fresh at now, or it isn't the list of
// the certificate's issuer ([ErrOtherIssuer]), or the certificate isn't listed
// and expired before the list was issued ([ErrExpired]). Names are compared, and
// keys are not: see [Each].
func (l *List) Revoked(c *x509.Certificate, now time.Time) (bool, error) {
	if !bytes.Equal(l.issuer, c.RawIssuer) {
		return false, fmt.Errorf("crl: %w", ErrOtherIssuer)
	}
	if !l.covers(c) {
		return false, errors.New("crl: the certificate names another distribution point than the list")
	}
	if _, found := l.revoked[key(c.SerialNumber)]; found && !now.Before(l.thisUpdate) {
		return true, nil
	}
	if err := l.Fresh(now); err != nil {
		return false, err
	}
	if !l.lists(c.NotAfter) {
		return false, fmt.Errorf("crl: the certificate expired on %s, and the list is of %s: %w",
			c.NotAfter.Format(time.RFC3339), l.thisUpdate.Format(time.RFC3339), ErrExpired)
	}
	return false, nil
}

// lists tells whether the list must name a revoked certificate that expires
// at notAfter. That it may be the first list past notAfter, which must name
// it too, nobody can see, and step-ca doesn't keep to it.
func (l *List) lists(notAfter time.Time) bool {
	return !notAfter.Before(l.thisUpdate) || !l.expiredFrom.IsZero() && !notAfter.Before(l.expiredFrom)
}

// Fresh tells whether now is within thisUpdate and nextUpdate.
func (l *List) Fresh(now time.Time) error {
	if now.Before(l.thisUpdate) {
		return fmt.Errorf("crl: the list begins at %s", l.thisUpdate.Format(time.RFC3339))
	}
	if now.After(l.nextUpdate) {
		return fmt.Errorf("crl: the list is stale, its nextUpdate was %s", l.nextUpdate.Format(time.RFC3339))
	}
	return nil
}

// NextUpdate is when the list ends to be fresh.
func (l *List) NextUpdate() time.Time { return l.nextUpdate }

// covers compares distribution points (RFC 5280 section 6.3.3 (b)(2)(i)). A
// certificate without any is covered: the operator, or the CA itself, named
// this list as the one to ask, and step-ca writes its own URL into the list
// but none into certificates.
func (l *List) covers(c *x509.Certificate) bool {
	if len(l.points) == 0 || len(c.CRLDistributionPoints) == 0 {
		return true
	}
	return slices.ContainsFunc(l.points, func(p string) bool {
		return slices.Contains(c.CRLDistributionPoints, p)
	})
}

// brokenHashes are collided with on purpose.
var brokenHashes = []x509.SignatureAlgorithm{
	x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
}

// signedByOne finds whose key signed a list. A CA may have several under one name.
func signedByOne(parsed *x509.RevocationList, issuers []*x509.Certificate) (*x509.Certificate, error) {
	if slices.Contains(brokenHashes, parsed.SignatureAlgorithm) { // crypto/x509 lets SHA-1 pass
		return nil, fmt.Errorf("crl: signature of the list: %s isn't accepted", parsed.SignatureAlgorithm)
	}
	err := fmt.Errorf("crl: %w", ErrUnknownIssuer)
	said := issuerOf(parsed)
	for _, issuer := range issuers {
		if !said.Named(issuer) {
			continue
		}
		switch bad := parsed.CheckSignatureFrom(issuer); {
		case bad == nil:
			return issuer, nil
		case said.Is(issuer):
			err = fmt.Errorf("crl: signature of the list: %w", bad)
		case errors.Is(err, ErrUnknownIssuer):
			err = fmt.Errorf("crl: %w", ErrOtherKey)
		}
	}
	return nil, err
}

func entries(all []x509.RevocationListEntry) (map[string]struct{}, error) {
	revoked := make(map[string]struct{}, len(all))
	for _, e := range all {
		if e.ReasonCode == removeFromCRL {
			return nil, errors.New("crl: an entry says removeFromCRL, which only delta lists may")
		}
		if err := checkEntryExtensions(e.Extensions); err != nil {
			return nil, err
		}
		revoked[key(e.SerialNumber)] = struct{}{}
	}
	return revoked, nil
}

func checkEntryExtensions(extensions []pkix.Extension) error {
	for _, e := range extensions {
		if e.Id.Equal(oidCertificateIssuer) {
			return errors.New("crl: an entry names a certificate issuer: indirect lists aren't taken")
		}
		if e.Critical && !e.Id.Equal(oidReasonCode) {
			return fmt.Errorf("crl: an entry has the unknown critical extension %s", e.Id)
		}
	}
	return nil
}

func key(serial *big.Int) string { return serial.Text(62) }
