// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"regexp"
	"time"

	"github.com/caddyserver/certmagic"
	"go.step.sm/crypto/kms"
	"go.step.sm/crypto/kms/apiv1"
	_ "go.step.sm/crypto/kms/pkcs11" // the scheme pkcs11, where cgo is
	_ "go.step.sm/crypto/kms/softkms"
)

// A kmsKeeper has a key in a KMS, that stays there and stays the same. The
// certificates alone are in Caddy's storage.
type kmsKeeper struct {
	own *ownCertificate
	app *App
	uri string

	manager kms.KeyManager
	signer  crypto.Signer
}

// errNoCgo is what an operator reads of a PKCS #11 key in a binary that can't
// load a module for it.
var errNoCgo = errors.New("this binary is built without cgo, and PKCS #11 modules are C libraries: build it with `CGO_ENABLED=1 ./xcaddy.sh`, which needs gcc")

// checkKey finds what is wrong with a URI without opening anything.
func checkKey(uri string) error {
	kind, err := apiv1.TypeOf(uri)
	if err != nil || kind == apiv1.DefaultKMS {
		return fmt.Errorf("%q isn't the URI of a key: write pkcs11:token=TOKEN;object=LABEL?pin-source=FILE, or softkms:path=FILE", withoutPIN(uri))
	}
	switch kind {
	case apiv1.PKCS11:
		if !pkcs11Built {
			return errNoCgo
		}
	case apiv1.SoftKMS:
	default:
		if _, ok := apiv1.LoadKeyManagerNewFunc(kind); !ok {
			return fmt.Errorf("this binary has no KMS %q: there is pkcs11, and softkms for files", kind)
		}
	}
	return nil
}

var pinValue = regexp.MustCompile(`(?i)(pin-value|password|secret)=[^&;?]*`)

// withoutPIN is a URI, or a message with one in it, as logs may have it.
func withoutPIN(text string) string { return pinValue.ReplaceAllString(text, "$1=…") }

// open connects to the KMS and finds the key.
func (k *kmsKeeper) open(ctx context.Context) error {
	if k.signer != nil {
		return nil
	}
	manager, err := kms.New(ctx, apiv1.Options{URI: k.uri})
	if err != nil {
		return fmt.Errorf("the KMS can't be opened: %s", withoutPIN(err.Error()))
	}
	signer, err := manager.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: k.uri})
	if err != nil {
		_ = manager.Close() // nothing of it is in use
		return fmt.Errorf("the key %s can't be used: %s", withoutPIN(k.uri), withoutPIN(err.Error()))
	}
	k.manager, k.signer = manager, signer
	return nil
}

func (k *kmsKeeper) close() {
	if k.manager != nil {
		_ = k.manager.Close() // the configuration that used it has ended
	}
}

func (k *kmsKeeper) current(ctx context.Context, force bool) (*tls.Certificate, error) {
	if err := k.open(ctx); err != nil {
		return nil, err
	}
	cert, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	if cert != nil && !force && !due(cert.Leaf, time.Now()) {
		return cert, nil
	}
	made, err := k.renew(ctx, cert, force)
	if err != nil {
		return cert, err
	}
	return made, nil
}

// renew has the key certified, unless another server has by now.
func (k *kmsKeeper) renew(ctx context.Context, before *tls.Certificate, force bool) (*tls.Certificate, error) {
	storage, lock := k.app.ctx.Storage(), "own_certificate_"+k.own.name
	if err := storage.Lock(ctx, lock); err != nil {
		return nil, err
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), lock) }() // it ends by itself, too
	now, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	if now != nil && !due(now.Leaf, time.Now()) && (!force || before != nil && !now.Leaf.Equal(before.Leaf)) {
		return now, nil
	}
	request, err := k.request()
	if err != nil {
		return nil, err
	}
	chain, err := k.own.issue(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := storage.Store(ctx, k.file(), chainPEM(chain)); err != nil {
		return nil, err
	}
	return k.pair(chain)
}

// request is a PKCS #10 request for the name, signed in the KMS.
func (k *kmsKeeper) request() ([]byte, error) {
	template := &x509.CertificateRequest{}
	if ip := net.ParseIP(k.own.name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{k.own.name}
	}
	return x509.CreateCertificateRequest(rand.Reader, template, k.signer)
}

// file is where the certificates are kept, beside those of other CAs.
func (k *kmsKeeper) file() string {
	return path.Join("est", "certificates", k.own.issuerKey(), certmagic.StorageKeys.Safe(k.own.name)+".pem")
}

// load reads the certificates. One that is of another key, since the
// configuration names another, counts as none.
func (k *kmsKeeper) load(ctx context.Context) (*tls.Certificate, error) {
	src, err := k.app.ctx.Storage().Load(ctx, k.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(src); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.file(), err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s: no certificate in it", k.file())
	}
	pair, err := k.pair(chain)
	if errors.Is(err, errOtherKey) {
		return nil, nil
	}
	return pair, err
}

var errOtherKey = errors.New("the certificate is of another key")

func (k *kmsKeeper) pair(chain []*x509.Certificate) (*tls.Certificate, error) {
	pub, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(k.signer.Public()) {
		return nil, errOtherKey
	}
	made := &tls.Certificate{PrivateKey: k.signer, Leaf: chain[0]}
	for _, c := range chain {
		made.Certificate = append(made.Certificate, c.Raw)
	}
	return made, nil
}
