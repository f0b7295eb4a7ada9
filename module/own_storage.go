// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
)

// A storageKeeper makes a new key for each certificate and has both kept by
// certmagic, in Caddy's storage, where a restart and other servers of a cluster
// find them. certmagic's own cache is of no use here: what it holds outlives a
// configuration, and a changed upstream would wait for the next renewal.
type storageKeeper struct {
	own   *ownCertificate
	magic *certmagic.Config
	cache *certmagic.Cache
	// adopted is what an earlier upstream left, while this one has issued none.
	adopted *tls.Certificate
}

func newStorageKeeper(own *ownCertificate, a *App) *storageKeeper {
	k := &storageKeeper{own: own}
	k.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return k.magic, nil },
		// Renewal is by our own clock, so that its failures are told in our
		// words and retried soon.
		RenewCheckInterval: 365 * 24 * time.Hour,
		OCSPCheckInterval:  365 * 24 * time.Hour,
		Logger:             zap.NewNop(),
	})
	k.magic = certmagic.New(k.cache, certmagic.Config{
		Issuers:            []certmagic.Issuer{&Issuer{own: own}},
		Storage:            a.ctx.Storage(),
		KeySource:          certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		RenewalWindowRatio: renewalShare,
		OCSP:               certmagic.OCSPConfig{DisableStapling: true},
		DisableARI:         true,
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			if event == "cert_obtained" || event == "cert_failed" {
				a.emit(event, data)
			}
			return nil
		},
		Logger: zap.NewNop(), // what goes wrong is returned, and told by keep
	})
	return k
}

func (k *storageKeeper) close() { k.cache.Stop() }

func (k *storageKeeper) current(ctx context.Context, force bool) (*tls.Certificate, error) {
	cert, err := k.load(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = k.magic.ObtainCertSync(ctx, k.own.name); err != nil {
			return k.earlier(ctx), err
		}
	case err != nil:
		return nil, err
	case force || due(cert.Leaf, time.Now()):
		if err = k.magic.RenewCertSync(ctx, k.own.name, force); err != nil {
			return cert, err
		}
	default:
		return cert, nil
	}
	return k.load(ctx)
}

// load reads what is in the storage, which another server may have renewed.
func (k *storageKeeper) load(ctx context.Context) (*tls.Certificate, error) {
	k.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: k.own.name}})
	cert, err := k.magic.CacheManagedCertificate(ctx, k.own.name)
	if err != nil {
		return nil, err
	}
	found := cert.Certificate
	found.Leaf = cert.Leaf
	return &found, nil
}

// earlier is a certificate that another upstream issued to us for this name and
// that is still good: better than none until the CA of now can be reached.
func (k *storageKeeper) earlier(ctx context.Context) *tls.Certificate {
	if k.adopted != nil {
		return k.adopted
	}
	storage := k.magic.Storage
	folders, err := storage.List(ctx, "certificates", false)
	if err != nil {
		return nil
	}
	for _, folder := range folders {
		issuer := path.Base(folder)
		if !strings.HasPrefix(issuer, ownPrefix) {
			continue
		}
		chain, err := storage.Load(ctx, certmagic.StorageKeys.SiteCert(issuer, k.own.name))
		if err != nil {
			continue
		}
		key, err := storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(issuer, k.own.name))
		if err != nil {
			continue
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil || time.Now().After(pair.Leaf.NotAfter) || k.adopted != nil && !pair.Leaf.NotAfter.After(k.adopted.Leaf.NotAfter) {
			continue
		}
		k.adopted = &pair
	}
	return k.adopted
}

// ownPrefix begins the names of the folders of own certificates in
// `certificates` of Caddy's storage.
const ownPrefix = "est-"

// issuerKey tells certificates of one CA from those of others, and of other
// usages: it is a folder in the storage, so that a changed upstream finds none.
func (o *ownCertificate) issuerKey() string {
	text := o.upstream.upstream.Identity()
	for _, usage := range ra.SelfUsages() {
		text += " " + usage.String()
	}
	sum := sha256.Sum256([]byte(text))
	return ownPrefix + certmagic.StorageKeys.Safe(strings.NewReplacer("/", "-", ":", "-").Replace(o.upstream.upstream.Identity())) +
		"-" + hex.EncodeToString(sum[:6])
}

// leafOf parses the certificate of a pair that has none parsed.
func leafOf(cert *tls.Certificate) (*x509.Certificate, error) {
	if cert.Leaf != nil {
		return cert.Leaf, nil
	}
	if len(cert.Certificate) == 0 {
		return nil, fmt.Errorf("there is no certificate in it")
	}
	return x509.ParseCertificate(cert.Certificate[0])
}
