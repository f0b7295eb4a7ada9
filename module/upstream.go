// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-est/estra/ra"
)

// An Upstream is a guest module in the namespace `est.upstreams`: a CA
// behind the registration authority. A module of others needs no more than
// this, and UnmarshalCaddyfile to be written in a Caddyfile.
type Upstream interface {
	ra.Upstream
	// Identity tells this CA from others, such as by its address. Issuing
	// certificates that were remembered for another CA are none of its own.
	Identity() string
	// Pins are the roots that the operator trusts for this CA. Nothing
	// that they don't vouch for reaches a device by /cacerts.
	Pins() []*x509.Certificate
	// CRLEnabled says that the CA publishes a CRL which reenrolment asks,
	// failing closed.
	CRLEnabled() bool
	// Needs tells the upstream the longest validity that a policy plans,
	// at the end of provisioning. An error says what to write to make it
	// possible.
	Needs(validity time.Duration) error
	// Expiries say when the credentials end that this upstream shows to
	// the CA, by name. The CA's own certificates are none of them.
	Expiries() map[string]time.Time
}

// An ownUser is an Upstream that may show this server's own certificate to the
// CA: in a token, or in the handshake. This is the one place that gives it.
type ownUser interface {
	// WantsOwn says that the configuration asks for it.
	WantsOwn() bool
	// BoundByOwn says that the CA then issues nothing that outlives our
	// certificate. An upstream for which that isn't so can't issue that
	// certificate itself, since it would need it for that.
	BoundByOwn() bool
	// UseOwn is called once, before anything is issued. What give returns is
	// never kept: the certificate is renewed, and may not be there yet.
	UseOwn(give func() (*tls.Certificate, error))
}

// connections is what max_connections means, whose default is that of all
// upstreams.
func connections(written int) int {
	if written > 0 {
		return written
	}
	return 16
}

type ownSource = func() (*tls.Certificate, error)

// issuerMemory keeps issuing certificates in Caddy's storage, under
// est/issuers/<upstream>/<sha256>.pem. A name may come to stand for another
// CA, even one under the same root, so each file says in a PEM header whose
// it is.
type issuerMemory struct {
	storage  certmagic.Storage
	identity string // of the CA
}

// identityHeader is the PEM header with the CA's identity, quoted: a header
// has no line breaks.
const identityHeader = "Upstream"

func issuerFolder(upstream string) string {
	return path.Join("est", "issuers", certmagic.StorageKeys.Safe(upstream))
}

// Remember stores one issuing certificate.
func (m issuerMemory) Remember(ctx context.Context, upstream string, c *x509.Certificate) error {
	sum := sha256.Sum256(c.Raw)
	key := path.Join(issuerFolder(upstream), hex.EncodeToString(sum[:])+".pem")
	src := pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: c.Raw,
		Headers: map[string]string{identityHeader: strconv.Quote(m.identity)},
	})
	if stored, err := m.storage.Load(ctx, key); err == nil && bytes.Equal(stored, src) {
		return nil
	}
	return m.storage.Store(ctx, key, src)
}

// Recall loads all issuing certificates that this CA had under a name.
func (m issuerMemory) Recall(ctx context.Context, upstream string) ([]*x509.Certificate, error) {
	keys, err := m.storage.List(ctx, issuerFolder(upstream), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, key := range keys {
		src, err := m.storage.Load(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		block, _ := pem.Decode(src)
		if block == nil {
			return nil, fmt.Errorf("%s: no PEM certificate in it", key)
		}
		if block.Headers[identityHeader] != strconv.Quote(m.identity) {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}
