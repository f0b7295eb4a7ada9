// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/wire"
)

// Who may sign an answer besides a CA (RFC 6402 section 2.10).
var (
	oidCMCCA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 27}
	oidCMCRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
)

// opened verifies an answer and gives the certificates beside it. An answer
// whose status is no success may have a CMC message, too (RFC 7030 section
// 4.3.2): what it says is more than the status, where it verifies.
func (u *Upstream) opened(ctx context.Context, message sent, answer upstream.Answer) ([]*x509.Certificate, error) {
	good := answer.Status == http.StatusOK
	if !good && !wire.IsPKCS7(answer.Header.Get("Content-Type")) {
		return nil, refused(answer, u.cfg.Now())
	}
	response, certs, err := u.verified(ctx, message, answer)
	var fail *ra.Error
	if errors.As(err, &fail) { // the CA's certificates can't be had
		return nil, fail
	}
	switch {
	case err != nil && good:
		return nil, u.reader.Unreadable(true, "an answer that is not taken", err)
	case err != nil:
		answer.Body = []byte("a CMC message that is not taken: " + err.Error())
		return nil, refused(answer, u.cfg.Now())
	}
	if fail := u.status(response); fail != nil {
		return nil, upstream.Retry(fail, answer.Header, u.cfg.Now())
	}
	if !good {
		answer.Body = []byte("a CMC message without a failure in it")
		return nil, refused(answer, u.cfg.Now())
	}
	return certs, nil
}

// verified reads a Full PKI Response. Certificates are those around it, which no
// signature covers but their own.
func (u *Upstream) verified(ctx context.Context, message sent, answer upstream.Answer) (*cmc.PKIResponse, []*x509.Certificate, error) {
	if got := answer.Header.Get("Content-Type"); !wire.IsPKCS7(got) {
		return nil, nil, fmt.Errorf("the type is %q, want %s", upstream.Line(got), wire.TypeCMCResponse)
	}
	der, _, err := wire.DecodeBody(answer.Body)
	if err != nil {
		return nil, nil, err
	}
	if _, err := cms.ParseCertsOnly(der); err == nil {
		// RFC 5272 section 6.6: our nonce and transaction must come back, and a
		// Simple PKI Response has no place for them.
		return nil, nil, errors.New("it is a Simple PKI Response, which doesn't repeat our nonce")
	}
	signed, err := cms.ReadSigned(der)
	if err != nil {
		return nil, nil, err
	}
	verified, err := signed.Verify(cms.FindCertificate())
	if err != nil {
		return nil, nil, err
	}
	if kind := verified.Content().Type; kind != cms.IDPKIResponse {
		return nil, nil, fmt.Errorf("its content has the type %s, want that of a PKIResponse, %s", kind, cms.IDPKIResponse)
	}
	known, err := u.chain(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, signer := range verified.Signers() {
		if err := u.maySign(signer.Key.Certificate, slices.Concat(known, verified.Certificates())); err != nil {
			return nil, nil, err
		}
	}
	response, err := cmc.ParsePKIResponse(verified.Content().Bytes)
	if err != nil {
		return nil, nil, err
	}
	return response, verified.Certificates(), message.answers(response)
}

// maySign: a CA under our roots, or whom one has certified for id-kp-cmcCA or
// id-kp-cmcRA.
func (u *Upstream) maySign(signer *x509.Certificate, between []*x509.Certificate) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range u.cfg.Roots {
		roots.AddCert(c)
	}
	for _, c := range between {
		intermediates.AddCert(c)
	}
	_, err := signer.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: u.cfg.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("the certificate of its signer doesn't verify under the configured root: %w", err)
	}
	purposes := signer.UnknownExtKeyUsage
	if signer.IsCA || slices.ContainsFunc(purposes, oidCMCCA.Equal) || slices.ContainsFunc(purposes, oidCMCRA.Equal) {
		return nil
	}
	return fmt.Errorf("its signer %q is neither a CA nor certified for id-kp-cmcCA or id-kp-cmcRA", signer.Subject.String())
}

// answers holds an answer to the message: RFC 5272 section 6.6.
func (m sent) answers(response *cmc.PKIResponse) error {
	nonce, _, err := response.Controls.Octets(cmc.OIDRecipientNonce)
	if err != nil {
		return err
	}
	if !bytes.Equal(nonce, m.nonce) {
		return errors.New("its recipientNonce isn't the nonce that was sent")
	}
	transaction, present, err := response.Controls.TransactionID()
	if err != nil {
		return err
	}
	if !present || transaction.Cmp(m.transaction) != 0 {
		return errors.New("its transactionId isn't the one that was sent")
	}
	return nil
}

// status reads what became of the request. Success may go unsaid (RFC 5272
// section 6.1.1).
func (u *Upstream) status(response *cmc.PKIResponse) *ra.Error {
	controls := slices.Concat(response.Controls.All(cmc.OIDStatusInfoV2), response.Controls.All(cmc.OIDStatusInfo))
	for _, control := range controls {
		value, err := control.Value()
		if err != nil {
			return u.reader.Unreadable(true, "a status that can't be read", err)
		}
		info, err := cmc.ParseStatusInfo(value)
		if err != nil {
			return u.reader.Unreadable(true, "a status that can't be read", err)
		}
		if fail := failure(info, u.cfg.Now()); fail != nil {
			return fail
		}
	}
	return nil
}

// failure gives a status as a kind. Those of the request are the CA's refusal;
// what says to come again is no refusal.
func failure(info cmc.StatusInfo, now time.Time) *ra.Error {
	if info.Status == cmc.Success {
		return nil
	}
	said := "the EST server answered " + info.Status.String()
	if info.Fail != nil {
		said += ", " + info.Fail.String()
	}
	if info.Extended != nil {
		said += ", " + info.Extended.Type.String()
	}
	if text := strings.TrimSpace(info.Text); text != "" {
		said += ": " + upstream.Line(text)
	}
	switch {
	case info.Status == cmc.Pending:
		fail := ra.Fail(ra.Busy, "the EST server has taken the request, and decides later (pending)", nil)
		if info.Pend != nil {
			fail = upstream.RetryIn(fail, info.Pend.Time.Sub(now))
		}
		return fail
	case info.Fail != nil && *info.Fail == cmc.TryLater:
		return ra.Fail(ra.UpstreamDown, said, nil)
	default:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	}
}
