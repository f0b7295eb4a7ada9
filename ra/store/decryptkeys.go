// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-est/estra/ra/secret"
)

// A DecryptKey is a key of a device, for which private keys that are made for it
// are encrypted (RFC 7030 section 4.4.1).
type DecryptKey struct {
	// ID is the value of DecryptKeyIdentifier or AsymmetricDecryptKeyIdentifier.
	ID         []byte
	Asymmetric bool
	// Password says that it is a password for PKCS #12 (RFC 8295 section 8.3). It
	// has no identifier of the device's: ID is that of PFXPassword.
	Password bool
	// Value is a certificate or a SubjectPublicKeyInfo in DER; or an AES key of
	// 16 or 32 bytes, or a password, sealed where it is stored.
	Value secret.Bytes
}

// PFXPassword is the password of a device or an account, without its value: who has
// one has one alone.
func PFXPassword() DecryptKey { return DecryptKey{ID: []byte("pkcs12"), Password: true} }

// Is tells whether k has the kind and the identifier of another key.
func (k DecryptKey) Is(other DecryptKey) bool {
	return k.kind() == other.kind() && bytes.Equal(k.ID, other.ID)
}

// kind is the number in the column is_public, which is older than passwords.
func (k DecryptKey) kind() int64 {
	switch {
	case k.Password:
		return 2
	case k.Asymmetric:
		return 1
	default:
		return 0
	}
}

// A Sealer encrypts the symmetric keys and passwords of registries, so that who has the store
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

// errNoSealer is said of symmetric keys and passwords without a key to seal them.
var errNoSealer = errors.New("symmetric keys and passwords of devices are kept encrypted, and there is no registry key")

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
			d.Keys[i].Value = s.gcm.Seal(nil, nil, k.Value, bound(d.ID(), k)) //nolint:gosec // this AEAD makes the nonce itself
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
	key, err := s.gcm.Open(nil, nil, k.Value, bound(device, k))
	if err != nil {
		return nil, errors.New("the key of the device was sealed under another registry key")
	}
	return key, nil
}

// bound ties a sealed key to its device: in another row it doesn't open.
func bound(device string, k DecryptKey) []byte {
	if k.Password {
		return fmt.Appendf(nil, "%q password", device) // no identifier in hexadecimal
	}
	return fmt.Appendf(nil, "%q %x", device, k.ID)
}

// DecryptKey implements Devices.
func (d devices) DecryptKey(ctx context.Context, ids []string, wanted DecryptKey) (device string, k DecryptKey, err error) {
	type found struct {
		device string
		value  []byte
	}
	for _, id := range ids {
		rows, err := list(ctx, d.s, mostRead, func(r scanner) (f found, err error) { return f, r.Scan(&f.device, &f.value) },
			`SELECT device, value FROM decrypt_keys WHERE device = $1 AND is_public = $2 AND key_id = $3`, id, wanted.kind(), wanted.ID)
		if err != nil {
			return "", k, err
		}
		if len(rows) > 0 {
			wanted.Value = rows[0].value
			return rows[0].device, wanted, nil
		}
	}
	return "", k, ErrUnknown
}

// putKeys writes the keys of a device; those with other identifiers stay.
func putKeys(ctx context.Context, tx transaction, d Device) error {
	for _, k := range d.Keys {
		_, err := tx.ExecContext(ctx, `INSERT INTO decrypt_keys (device, is_public, key_id, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (device, is_public, key_id) DO UPDATE SET value = excluded.value`, d.ID(), k.kind(), k.ID, []byte(k.Value))
		if err != nil {
			return err
		}
	}
	return nil
}

// Check tells what is wrong with a key as it stands in a list.
func (k DecryptKey) Check() error {
	if len(k.ID) == 0 || len(k.ID) > 128 {
		return errors.New("the identifier of the key has 1 to 128 bytes")
	}
	if k.Password {
		return k.checkPassword()
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

// The length of a password, in characters. Who has the PKCS #12 can try
// passwords for as long as they like.
const (
	shortestPassword = 16
	longestPassword  = 128
)

// checkPassword takes printable ASCII alone: programs don't agree on how other
// characters become the octets of which a key is made (RFC 7292 appendix B.1, RFC
// 8018 section 3).
func (k DecryptKey) checkPassword() error {
	printable := !slices.ContainsFunc(k.Value, func(c byte) bool { return c <= ' ' || c >= 0x7f })
	if n := len(k.Value); !k.Is(PFXPassword()) || k.Asymmetric || n < shortestPassword || n > longestPassword || !printable {
		return fmt.Errorf("the password wants %d to %d characters of printable ASCII without spaces: `openssl rand -base64 24` makes one", shortestPassword, longestPassword)
	}
	return nil
}

// readPassword reads the password of a line. Errors tell nothing of it.
func readPassword(value string) (DecryptKey, error) {
	k := PFXPassword()
	k.Value = secret.Bytes(value)
	return k, k.Check()
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
