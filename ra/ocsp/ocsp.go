// SPDX-License-Identifier: Apache-2.0

// Package ocsp asks whether one certificate is revoked, and judges the answer
// (RFC 6960). What an answer can't say for certain is an error, and callers
// fail closed. For a CA of this process it also reads such questions, and signs
// the answers.
//
// golang.org/x/crypto/ocsp makes the requests. Its parser of answers isn't used:
// it finds a status by the serial number alone, takes any certificate that the
// issuer has signed for a responder's, whatever its extended key usage and
// validity, and takes SHA-1 signatures. Nor is what it has for responders: it
// reads the first question alone and no extension, and can't give a nonce back.
package ocsp

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ocsp"
)

// The media types of RFC 6960 appendix A.
const (
	RequestType = "application/ocsp-request"
	AnswerType  = "application/ocsp-response"
)

// MaxAnswer bounds what is read of an answer. Usual ones have some kilobytes,
// the responder's certificate included.
const MaxAnswer = 64 << 10

// Skew is how far ahead of ours a responder's clock may be.
const Skew = time.Minute

// lasts is how long an answer without nextUpdate counts. It says that newer
// information is there at any time (RFC 6960 section 4.2.2.1).
const lasts = 5 * time.Minute

var (
	// ErrExpired is wrapped where a good answer need not be one: about a
	// certificate that had expired, a responder may have forgotten that it was
	// revoked (RFC 6960 section 4.4.4).
	ErrExpired = errors.New("a responder need not know of certificates that expired before its answer (RFC 6960 section 4.4.4); " +
		"the policy's `expired` needs one that answers with archiveCutoff")
	// ErrUnknown is wrapped where the responder says, with its signature, that it
	// doesn't know the certificate.
	ErrUnknown = errors.New("the responder doesn't know the certificate")
)

// An Answer is what an authorized responder has signed about one certificate.
// It doesn't change and is safe for concurrent use.
type Answer struct {
	// Revoked is true for a certificate on hold, too.
	Revoked    bool
	ThisUpdate time.Time
	// NextUpdate is when the answer ends to count, also where the responder
	// didn't say.
	NextUpdate time.Time
	// Responder is the certificate of a delegated responder; nil where the
	// issuer's own key has signed. Whether it is revoked was not asked.
	Responder *x509.Certificate
}

// Request is the question about a certificate, in DER: without a nonce, so
// that responders may answer with what they signed before (RFC 5019).
func Request(cert, issuer *x509.Certificate) ([]byte, error) {
	der, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		return nil, fmt.Errorf("ocsp: %w", err)
	}
	return der, nil
}

// Parse reads a response in DER and judges what it says of a certificate
// (RFC 6960 section 3.2): it speaks of just this one, by its issuer's name and
// key and its serial number; who signed is authorized; it is fresh at now.
func Parse(der []byte, cert, issuer *x509.Certificate, now time.Time) (*Answer, error) {
	if len(der) > MaxAnswer {
		return nil, fmt.Errorf("ocsp: the answer has more than %d bytes", MaxAnswer)
	}
	r, err := read(der)
	if err != nil {
		return nil, fmt.Errorf("ocsp: %w", err)
	}
	responder, err := r.signer(issuer, now)
	if err != nil {
		return nil, fmt.Errorf("ocsp: %w", err)
	}
	a, err := r.about(cert, issuer, now)
	if err != nil {
		return nil, fmt.Errorf("ocsp: %w", err)
	}
	a.Responder = responder
	return a, nil
}

// Fresh tells whether now is within thisUpdate and nextUpdate.
func (a *Answer) Fresh(now time.Time) error {
	if now.Add(Skew).Before(a.ThisUpdate) {
		return fmt.Errorf("ocsp: the answer begins at %s", a.ThisUpdate.Format(time.RFC3339))
	}
	if now.After(a.NextUpdate) {
		return fmt.Errorf("ocsp: the answer is stale, it counted until %s", a.NextUpdate.Format(time.RFC3339))
	}
	return nil
}

// about finds the status of one certificate. Of several, one that says revoked
// counts: conflicting answers fail.
func (r *response) about(cert, issuer *x509.Certificate, now time.Time) (*Answer, error) {
	var found *Answer
	var failure error
	for _, single := range r.data.Responses {
		same, err := single.CertID.names(cert, issuer)
		if err != nil {
			return nil, err
		}
		if !same {
			continue
		}
		a, err := single.judge(cert, now)
		switch {
		case err != nil:
			failure = err
		case found == nil || a.Revoked && !found.Revoked:
			found = a
		}
	}
	if found != nil && found.Revoked {
		return found, nil
	}
	if failure != nil {
		return nil, failure
	}
	if found == nil {
		return nil, errors.New("the answer is about another certificate")
	}
	return found, nil
}

func (s *singleResponse) judge(cert *x509.Certificate, now time.Time) (*Answer, error) {
	var cutoff time.Time
	for _, e := range s.Extensions {
		switch {
		case e.Id.Equal(oidArchiveCutoff):
			rest, err := asn1.UnmarshalWithParams(e.Value, &cutoff, "generalized")
			if err != nil || len(rest) > 0 {
				return nil, errors.New("the date of archiveCutoff can't be read")
			}
		case e.Critical:
			return nil, fmt.Errorf("the answer has the unknown critical extension %s", e.Id)
		}
	}
	a := &Answer{ThisUpdate: s.ThisUpdate, NextUpdate: s.NextUpdate}
	if s.NextUpdate.IsZero() {
		a.NextUpdate = s.ThisUpdate.Add(lasts)
	} else if s.NextUpdate.Before(s.ThisUpdate) {
		return nil, errors.New("nextUpdate is before thisUpdate")
	}
	if err := a.Fresh(now); err != nil {
		return nil, err
	}
	switch s.status() {
	case statusGood:
	case statusRevoked:
		a.Revoked = true
		return a, nil
	default:
		return nil, ErrUnknown
	}
	if cert.NotAfter.Before(s.ThisUpdate) && (cutoff.IsZero() || cutoff.After(cert.NotAfter)) {
		return nil, fmt.Errorf("the certificate expired on %s, and the answer is of %s: %w",
			cert.NotAfter.Format(time.RFC3339), s.ThisUpdate.Format(time.RFC3339), ErrExpired)
	}
	return a, nil
}
