// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-est/estra/ra/status"
)

// lookEvery is how often Caddy's storage is looked through for keys of other nodes.
const lookEvery = 5 * time.Minute

// issuingKeys are the keys that a CA of the pki app has issued with. Caddy renews
// the intermediate with a new key and forgets the old one, which must go on signing
// CRLs while certificates under it live: so it is kept beside, under
// est/internal/<ca>/<key>.pem, until its certificate ends.
type issuingKeys struct {
	of *Internal

	mu     sync.Mutex
	known  map[string]status.Key
	looked time.Time
}

// Current implements status.Keys.
func (k *issuingKeys) Current() (status.Key, error) {
	ca := k.of.ca()
	for range 2 { // Caddy may renew it in between
		chain, key := ca.IntermediateCertificateChain(), ca.IntermediateKey()
		if len(chain) == 0 || key == nil {
			break
		}
		if public, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(key.Public()) {
			return status.Key{Certificate: chain[0], Signer: key}, nil
		}
	}
	return status.Key{}, errors.New("the CA has no issuing certificate with its key")
}

// keep makes sure that a key is still there when Caddy has a new one.
func (k *issuingKeys) keep(ctx context.Context, current status.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known, there := k.known[current.ID()]; there && known.Certificate.Equal(current.Certificate) {
		return nil
	}
	if err := k.write(ctx, current); err != nil {
		return fmt.Errorf("its issuing key can't be kept for its CRL: %w", err)
	}
	if k.known == nil {
		k.known = make(map[string]status.Key)
	}
	k.known[current.ID()] = current
	return nil
}

// write keeps a key where Caddy keeps it too. A key that the operator has elsewhere,
// in files or in a storage of the CA's own, stays there alone.
func (k *issuingKeys) write(ctx context.Context, key status.Key) error {
	storage := k.of.ctx.Storage()
	stored, err := storage.Load(ctx, path.Join("pki", "authorities", certmagic.StorageKeys.Safe(k.of.CA), "intermediate.crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if block, _ := pem.Decode(stored); block == nil || !bytes.Equal(block.Bytes, key.Certificate.Raw) {
		return nil
	}
	private, err := certmagic.PEMEncodePrivateKey(key.Signer)
	if err != nil {
		return err
	}
	src := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key.Certificate.Raw}), private...)
	name := path.Join(k.folder(), key.ID()+".pem")
	if there, err := storage.Load(ctx, name); err == nil && bytes.Equal(there, src) {
		return nil
	}
	return storage.Store(ctx, name, src)
}

func (k *issuingKeys) folder() string {
	return path.Join("est", "internal", certmagic.StorageKeys.Safe(k.of.CA))
}

// All implements status.Keys.
func (k *issuingKeys) All(ctx context.Context) ([]status.Key, error) {
	current, err := k.Current()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= lookEvery {
		if err := k.look(ctx, now); err != nil {
			return nil, err
		}
		k.looked = now
	}
	all := []status.Key{current}
	for _, id := range slices.Sorted(maps.Keys(k.known)) {
		if key := k.known[id]; id != current.ID() && time.Now().Before(key.Certificate.NotAfter) {
			all = append(all, key)
		}
	}
	return all, nil
}

// look reads the keys in Caddy's storage, and removes those whose time is over.
func (k *issuingKeys) look(ctx context.Context, now time.Time) error {
	storage := k.of.ctx.Storage()
	names, err := storage.List(ctx, k.folder(), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if k.known == nil {
		k.known = make(map[string]status.Key)
	}
	for _, name := range names {
		id := strings.TrimSuffix(path.Base(name), ".pem")
		key, there := k.known[id]
		if !there {
			src, err := storage.Load(ctx, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if key, err = parseIssuingKey(src); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if now.After(key.Certificate.NotAfter) {
			delete(k.known, id)
			if err := storage.Delete(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		k.known[key.ID()] = key
	}
	return nil
}

// parseIssuingKey reads what write has written.
func parseIssuingKey(src []byte) (status.Key, error) {
	block, rest := pem.Decode(src)
	if block == nil || block.Type != "CERTIFICATE" {
		return status.Key{}, errors.New("want a certificate, and then its key")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return status.Key{}, err
	}
	signer, err := certmagic.PEMDecodePrivateKey(rest)
	if err != nil {
		return status.Key{}, errors.New("its private key can't be read")
	}
	return status.Key{Certificate: cert, Signer: signer}, nil
}
