// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
)

// Accounts keeps what belongs to our account, for all servers that share it.
type Accounts interface {
	// Lock waits until no other server changes it.
	Lock(ctx context.Context) (unlock func(), err error)
	// Load gives what was stored; nil: nothing was.
	Load(ctx context.Context) (secret.Bytes, error)
	Store(ctx context.Context, account secret.Bytes) error
}

// stored is the account in the storage. Key is PKCS #8 in PEM.
type stored struct {
	URL string `json:"url,omitempty"` // "": the CA hasn't told it yet
	Key string `json:"key"`
}

// parseAccount reads what formatAccount has written. The error repeats nothing of
// it.
func parseAccount(text secret.Bytes) (crypto.Signer, string, error) {
	var s stored
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, "", errors.New("it isn't JSON")
	}
	block, _ := pem.Decode([]byte(s.Key))
	if block == nil {
		return nil, "", errors.New("it has no key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "", errors.New("its key isn't PKCS #8")
	}
	signer, ok := key.(*ecdsa.PrivateKey) // as we make them
	if !ok {
		return nil, "", errors.New("its key isn't ECDSA")
	}
	return signer, s.URL, nil
}

func formatAccount(key crypto.Signer, url string) (secret.Bytes, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(stored{URL: url, Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	return secret.Bytes(text), err
}

// ParseMACKey reads the MAC key of an external account binding as CAs give it:
// base64url (RFC 8555 section 7.3.4). The error doesn't repeat the text.
func ParseMACKey(text []byte) (secret.Bytes, error) {
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(string(text)), "="))
	switch {
	case err != nil:
		return nil, errors.New("the MAC key isn't base64url, as CAs give it")
	case len(key) == 0:
		return nil, errors.New("the MAC key is empty")
	}
	return secret.Bytes(key), nil
}

// ourAccount gives the account, which is made where there is none. The error is
// *ra.Error.
func (u *Upstream) ourAccount(ctx context.Context, n *note) (acme.Account, error) {
	if known := u.account.Load(); known != nil {
		return *known, nil
	}
	return u.register(ctx, n, "")
}

// register reads the account, and has one made where there is none or where the
// CA has lost that of the URL gone. The same key gets the same account (RFC 8555
// section 7.3.1), so an answer that was lost makes no second one.
func (u *Upstream) register(ctx context.Context, n *note, gone string) (acme.Account, error) {
	select {
	case u.registering <- struct{}{}:
		defer func() { <-u.registering }()
	case <-ctx.Done():
		return acme.Account{}, ra.Fail(ra.Busy, "another request asks for our account", ctx.Err())
	}
	if known := u.account.Load(); known != nil && known.Location != gone {
		return *known, nil
	}
	unlock, err := u.cfg.Accounts.Lock(ctx)
	if err != nil {
		return acme.Account{}, ra.Fail(ra.UpstreamDown, "our account can't be locked in the storage", err)
	}
	defer unlock()
	key, url, err := u.load(ctx)
	if err != nil {
		return acme.Account{}, ra.Fail(ra.UpstreamDown, "our account can't be kept in the storage", err)
	}
	account := acme.Account{PrivateKey: key, Contact: u.cfg.Contact, TermsOfServiceAgreed: true, Location: url, Status: acme.StatusValid}
	if url == "" || url == gone {
		account.Location, account.Status = "", ""
		if account, err = u.newAccount(ctx, n, account); err != nil {
			return acme.Account{}, err
		}
		if err := u.store(ctx, key, account.Location); err != nil {
			return acme.Account{}, ra.Fail(ra.UpstreamDown, "our account can't be kept in the storage", err)
		}
	}
	u.account.Store(&account)
	return account, nil
}

// load reads the key and the URL. A new key is kept before the CA sees it.
func (u *Upstream) load(ctx context.Context) (crypto.Signer, string, error) {
	text, err := u.cfg.Accounts.Load(ctx)
	if err != nil {
		return nil, "", err
	}
	if text != nil {
		return parseAccount(text)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	return key, "", u.store(ctx, key, "")
}

func (u *Upstream) store(ctx context.Context, key crypto.Signer, url string) error {
	text, err := formatAccount(key, url)
	if err != nil {
		return err
	}
	defer text.Clear()
	return u.cfg.Accounts.Store(ctx, text)
}

func (u *Upstream) newAccount(ctx context.Context, n *note, account acme.Account) (acme.Account, error) {
	directory, err := u.acme.GetDirectory(ctx)
	if err != nil {
		return account, u.failed(ctx, n, stepAccount, err)
	}
	if u.cfg.EAB != nil {
		mac, err := u.cfg.EAB.Key()
		if err != nil {
			return account, ra.Fail(ra.UpstreamDown, "account: the MAC key of the external account binding", errors.Join(ra.ErrCredential, err))
		}
		err = account.SetExternalAccountBinding(ctx, u.acme, acme.EAB{KeyID: u.cfg.EAB.KeyID, MACKey: base64.RawURLEncoding.EncodeToString([]byte(mac))})
		if err != nil {
			return account, u.failed(ctx, n, stepAccount, err)
		}
	} else if needsEAB(directory) {
		return account, ra.Fail(ra.UpstreamDown, "account: the CA wants an external account binding: write `eab KEY_ID PLACEHOLDER` in the upstream", ra.ErrCredential)
	}
	made, err := u.acme.NewAccount(ctx, account)
	if err != nil {
		return account, u.failed(ctx, n, stepAccount, err)
	}
	switch {
	case made.Location == "":
		return account, ra.Fail(ra.UpstreamDown, "account: the ACME server made one without an address", nil)
	case made.Status != acme.StatusValid:
		return account, ra.Fail(ra.UpstreamDown, fmt.Sprintf("account: %s is %s", made.Location, made.Status), ra.ErrCredential)
	}
	made.ExternalAccountBinding = nil
	return made, nil
}

func needsEAB(d acme.Directory) bool { return d.Meta != nil && d.Meta.ExternalAccountRequired }

// lostAccount tells whether the CA doesn't know our account, as one that was set
// up anew.
func lostAccount(err error) bool {
	p, ok := errors.AsType[acme.Problem](err)
	return ok && p.Type == acme.ProblemTypeAccountDoesNotExist
}
