// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-est/estra/ra/secret"
)

// A DecryptKey is a key of a device, for which private keys that are made for it
// are encrypted (RFC 7030 section 4.4.1).
type DecryptKey struct {
	// ID is the value of DecryptKeyIdentifier or AsymmetricDecryptKeyIdentifier.
	ID         []byte
	Asymmetric bool
	// Value is a certificate or a SubjectPublicKeyInfo in DER; or an AES key of
	// 16 or 32 bytes, sealed where it is stored.
	Value secret.Bytes
}

// A Sealer encrypts the symmetric keys of registries, so that who has the store
// hasn't got them. The zero value seals nothing.
type Sealer struct{ gcm cipher.AEAD }

// NewSealer takes the key that an operator keeps apart from the store: 32 bytes
// in base64 or hexadecimal.
func NewSealer(key secret.Text) (Sealer, error) {
	text := strings.TrimSpace(string(key))
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 32 {
		if raw, err = base64.StdEncoding.DecodeString(text); err != nil || len(raw) != 32 {
			return Sealer{}, errors.New("the registry key wants 32 bytes in base64 or hexadecimal: `openssl rand -base64 32` makes one")
		}
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return Sealer{}, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	return Sealer{gcm}, err
}

// errNoSealer is said of symmetric keys without a key to seal them.
var errNoSealer = errors.New("symmetric keys of devices are kept encrypted, and there is no registry key")

// Seal encrypts the symmetric keys of devices that are to go into a registry.
func (s Sealer) Seal(registry string, devices []Device) error {
	for _, d := range devices {
		d.Registry = registry
		for i, k := range d.Keys {
			if k.Asymmetric {
				continue
			}
			if s.gcm == nil {
				return errNoSealer
			}
			d.Keys[i].Value = s.gcm.Seal(nil, nil, k.Value, bound(d.ID(), k.ID)) //nolint:gosec // this AEAD makes the nonce itself
			k.Value.Clear()
		}
	}
	return nil
}

// Open decrypts a symmetric key of a device.
func (s Sealer) Open(device string, k DecryptKey) (secret.Bytes, error) {
	if s.gcm == nil {
		return nil, errNoSealer
	}
	key, err := s.gcm.Open(nil, nil, k.Value, bound(device, k.ID))
	if err != nil {
		return nil, errors.New("the key of the device was sealed under another registry key")
	}
	return key, nil
}

// bound ties a sealed key to its device: in another row it doesn't open.
func bound(device string, id []byte) []byte { return fmt.Appendf(nil, "%q %x", device, id) }

// DecryptKey implements Devices.
func (d devices) DecryptKey(ctx context.Context, ids []string, asymmetric bool, keyID []byte) (device string, k DecryptKey, err error) {
	type found struct {
		device string
		value  []byte
	}
	for _, id := range ids {
		rows, err := list(ctx, d.s, mostRead, func(r scanner) (f found, err error) { return f, r.Scan(&f.device, &f.value) },
			`SELECT device, value FROM decrypt_keys WHERE device = $1 AND is_public = $2 AND key_id = $3`, id, flag(asymmetric), keyID)
		if err != nil {
			return "", k, err
		}
		if len(rows) > 0 {
			return rows[0].device, DecryptKey{ID: keyID, Asymmetric: asymmetric, Value: rows[0].value}, nil
		}
	}
	return "", k, ErrUnknown
}

// putKeys writes the keys of a device; those with other identifiers stay.
func putKeys(ctx context.Context, tx *sql.Tx, d Device) error {
	for _, k := range d.Keys {
		_, err := tx.ExecContext(ctx, `INSERT INTO decrypt_keys (device, is_public, key_id, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (device, is_public, key_id) DO UPDATE SET value = excluded.value`, d.ID(), flag(k.Asymmetric), k.ID, []byte(k.Value))
		if err != nil {
			return err
		}
	}
	return nil
}

func flag(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

// Check tells what is wrong with a key as it stands in a list.
func (k DecryptKey) Check() error {
	if len(k.ID) == 0 || len(k.ID) > 128 {
		return errors.New("the identifier of the key has 1 to 128 bytes")
	}
	if !k.Asymmetric {
		if n := len(k.Value); n != 16 && n != 32 {
			return errors.New("the key is no AES key of 16 or 32 bytes")
		}
		return nil
	}
	if _, err := x509.ParseCertificate(k.Value); err == nil {
		return nil
	}
	if _, err := x509.ParsePKIXPublicKey(k.Value); err != nil {
		return errors.New("the asymmetric key is neither a certificate nor a SubjectPublicKeyInfo in DER")
	}
	return nil
}

// readKey reads the key of a line: the identifier in hexadecimal, the key in
// base64. Errors tell nothing of the key.
func readKey(id, value string, asymmetric bool) (DecryptKey, error) {
	k := DecryptKey{Asymmetric: asymmetric}
	var err error
	if k.Value, err = base64.StdEncoding.DecodeString(value); err != nil {
		return k, errors.New("the key isn't base64")
	}
	if id == "" && asymmetric {
		if cert, err := x509.ParseCertificate(k.Value); err == nil {
			k.ID = cert.SubjectKeyId
		}
	} else if k.ID, err = hex.DecodeString(strings.ReplaceAll(id, ":", "")); err != nil {
		return k, fmt.Errorf("the identifier %.80q of the key isn't hexadecimal", id)
	}
	return k, k.Check()
}
