// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
)

// Passwords finds the passwords under which clients have private keys in PKCS
// #12. It is safe for concurrent use.
type Passwords interface {
	// Password gives the password that is who's own. The error is
	// ErrNoDecryptKey where there is none.
	Password(ctx context.Context, who policy.Identity) (secret.Text, error)
}

// iterations of PBKDF2: what a small device can bear, with which a guess is some
// fifty times dearer than with the 2048 of most programs.
const iterations = 100_000

// password finds the password for a PKCS #12, before a key is made. RFC 8295
// section 8.3.1 leaves it to us how client and server come to have one: without
// one there is no answer, and never an empty password or a key in clear.
func (a *Authority) password(ctx context.Context, who policy.Identity) (secret.Text, *Error) {
	password, err := secret.Text(""), ErrNoDecryptKey
	if a.Passwords != nil {
		password, err = a.Passwords.Password(ctx, who)
	}
	switch {
	case errors.Is(err, ErrNoDecryptKey) || err == nil && password == "":
		return "", Fail(Refused, "the client has no password for a PKCS #12: neither its entry in a device registry nor the file of `decrypt_keys` gives it a pkcs12_password", nil).
			Telling("there is no password of yours to encrypt the PKCS #12 with (RFC 8295 section 8.3)")
	case err != nil:
		return "", Fail(Busy, "the passwords of clients can't be asked for", err)
	}
	return password, nil
}

// wrap puts key and certificate into a PKCS #12: the certificate alone, as in an
// answer in parts, since /cacerts has the others (RFC 8295 section 8.3.2).
func (m *making) wrap(ctx context.Context, ca *CA, order Order, out *Outcome) *Error {
	if m == nil || m.password == "" {
		return nil
	}
	der, err := pkcs12.Modern2023.WithIterations(iterations).Encode(m.key.Signer(), out.Certificate, nil, string(m.password))
	if err != nil {
		leaf := out.Certificate
		out.Certificate, out.Withheld = nil, leaf
		return Fail(Fault, fmt.Sprintf("the PKCS #12 can't be written; the certificate (serial %x) is withheld; %s", leaf.SerialNumber, withdraw(ctx, ca, order, leaf, out)), nil)
	}
	m.out = PrivateKey{DER: der, PKCS12: true}
	return nil
}
