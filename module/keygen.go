// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

// DecryptKeysConfig are the keys that clients decrypt private keys with, which
// were made for them (RFC 7030 section 4.4.1).
type DecryptKeysConfig struct {
	// The key that the symmetric keys and the passwords of device registries are
	// encrypted under in the store: 32 bytes in base64 or hexadecimal, a placeholder such as
	// {env.X}.
	RegistryKey string `json:"registry_key,omitempty"`
	// CSV file with keys and passwords of accounts, which its owner alone can read.
	File string `json:"file,omitempty"`
}

// decryptKeys finds the keys of registries and of the file.
type decryptKeys struct {
	store *lateStore // nil: there are no registries
	seal  store.Sealer
	users []store.UserKey
}

// loadDecryptKeys reads the configuration.
func (h *Handler) loadDecryptKeys() error {
	keys := &decryptKeys{store: h.store}
	if c := h.DecryptKeys; c != nil {
		var err error
		if keys.seal, err = c.sealer(); err != nil {
			return fmt.Errorf("decrypt_keys: %w", err)
		}
		if keys.users, err = c.read(); err != nil {
			return fmt.Errorf("decrypt_keys: %w", err)
		}
	}
	h.decryptKeys = keys
	return nil
}

func (c *DecryptKeysConfig) sealer() (store.Sealer, error) {
	if c.RegistryKey == "" {
		return store.Sealer{}, nil
	}
	text, err := expand("registry_key", c.RegistryKey)
	if err != nil {
		return store.Sealer{}, err
	}
	return store.NewSealer(secret.Text(text))
}

func (c *DecryptKeysConfig) read() ([]store.UserKey, error) {
	if c.File == "" {
		return nil, nil
	}
	name, err := expand("file", c.File)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s: others than its owner can read it (mode %o), and it has keys: `chmod 600` it", name, mode)
	}
	list, err := store.ReadUserKeys(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// DecryptKey implements ra.DecryptKeys.
func (d *decryptKeys) DecryptKey(ctx context.Context, who policy.Identity, wanted csr.DecryptKey) (cms.Recipient, error) {
	k, err := d.find(ctx, who, store.DecryptKey{ID: wanted.ID, Asymmetric: wanted.Asymmetric})
	if err != nil {
		return cms.Recipient{}, err
	}
	return recipient(k)
}

// Password implements ra.Passwords.
func (d *decryptKeys) Password(ctx context.Context, who policy.Identity) (secret.Text, error) {
	k, err := d.find(ctx, who, store.PFXPassword())
	return secret.Text(k.Value), err
}

// find gives a key in clear. It counts for the device whose certificate was
// verified, or the account that was: of anybody else it is none.
func (d *decryptKeys) find(ctx context.Context, who policy.Identity, wanted store.DecryptKey) (store.DecryptKey, error) {
	for _, account := range who.Accounts {
		i := slices.IndexFunc(d.users, func(k store.UserKey) bool {
			return k.User == account.Method+":"+account.User && k.Is(wanted)
		})
		if i >= 0 {
			return d.users[i].DecryptKey, nil
		}
	}
	var devices []string
	for _, device := range who.Devices {
		if device.State != policy.Blocked {
			devices = append(devices, device.ID())
		}
	}
	if d.store == nil || len(devices) == 0 {
		return store.DecryptKey{}, ra.ErrNoDecryptKey
	}
	device, k, err := d.store.DecryptKey(ctx, devices, wanted)
	if errors.Is(err, store.ErrUnknown) {
		return store.DecryptKey{}, ra.ErrNoDecryptKey
	}
	if err != nil || k.Asymmetric {
		return k, err
	}
	k.Value, err = d.seal.Open(device, k)
	return k, err
}

// recipient is a key as what is encrypted for.
func recipient(k store.DecryptKey) (cms.Recipient, error) {
	if !k.Asymmetric {
		return cms.ForKEK(k.ID, k.Value), nil
	}
	if cert, err := x509.ParseCertificate(k.Value); err == nil {
		return ra.RecipientOf(cert, k.ID)
	}
	public, err := x509.ParsePKIXPublicKey(k.Value)
	if err != nil {
		return cms.Recipient{}, err
	}
	// A key without a certificate may be used for anything.
	return ra.RecipientOf(&x509.Certificate{PublicKey: public}, k.ID)
}

// keySigner is the site's own certificate, once there is one.
func (h *Handler) keySigner() (ra.KeySigner, bool) {
	for _, own := range h.app.own.all() {
		held, _ := own.state()
		if own.handler != h || held == nil {
			continue
		}
		signer, ok := held.PrivateKey.(crypto.Signer)
		if !ok {
			continue
		}
		var chain []*x509.Certificate
		for _, der := range held.Certificate {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return ra.KeySigner{}, false
			}
			chain = append(chain, cert)
		}
		return ra.KeySigner{Key: signer, Certificate: chain[0], Chain: chain[1:]}, true
	}
	return ra.KeySigner{}, false
}

// sealDevices encrypts the keys of devices that are to be imported.
func (a *App) sealDevices(registry string, list []store.Device) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.handlers {
		if slices.Contains(h.registryNames(), registry) && h.decryptKeys != nil {
			return h.decryptKeys.seal.Seal(registry, list)
		}
	}
	return store.Sealer{}.Seal(registry, list)
}

var (
	_ ra.DecryptKeys = (*decryptKeys)(nil)
	_ ra.Passwords   = (*decryptKeys)(nil)
)
