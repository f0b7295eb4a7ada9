// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// addressOptions are those of every upstream that is asked at an address.
type addressOptions struct {
	// The address of the CA, such as https://ca.example.net. Required.
	URL string `json:"url"`
	// Further addresses of the same CA, with the same issuing certificates, each
	// asked when those before it can't be reached.
	OtherURLs []string `json:"other_urls,omitempty"`
	// A PEM file with the root certificates of the CA. Required: they bound what
	// /cacerts may publish. The CA's own TLS is verified with them, too, where
	// tls_root doesn't say otherwise.
	Root string `json:"root"`
	// How long one call of the API may take. Default: 15s; for ejbca 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// The most connections at once. Default: 16.
	MaxConnections int `json:"max_connections,omitempty"`

	pins []*x509.Certificate
}

func (o *addressOptions) options() options {
	return options{
		"root": valueOf("FILE", &o.Root), "timeout": durationOf("15s", &o.Timeout), "max_connections": numberOf("16", &o.MaxConnections),
	}
}

// needsAddress says which of these options is missing.
func needsAddress(title string, o *addressOptions) error {
	switch {
	case o.URL == "":
		return fmt.Errorf("%s needs an address, and it is empty", title)
	case o.Root == "":
		return fmt.Errorf("%s needs `root FILE`", title)
	}
	return nil
}

// load replaces the placeholders, and reads the roots.
func (o *addressOptions) load() error {
	err := errors.Join(expandAll(expandable{"url", &o.URL}, expandable{"root", &o.Root}), expandEach("other_urls", o.OtherURLs))
	if err != nil {
		return err
	}
	o.pins, err = loadRoots(o.Root)
	return err
}

// orWrite adds to an error about addresses what to write, where one isn't https.
func (o *addressOptions) orWrite(err error, what string) error {
	https := func(address string) bool { return strings.HasPrefix(address, "https://") }
	if err == nil || https(o.URL) && !slices.ContainsFunc(o.OtherURLs, func(address string) bool { return !https(address) }) {
		return err
	}
	return fmt.Errorf("%w: write %s", err, what)
}

// Pins are the configured roots.
func (o *addressOptions) Pins() []*x509.Certificate { return o.pins }

// IssueTimeout is how long issuing may take; 0 is the default.
func (o *addressOptions) IssueTimeout() time.Duration { return time.Duration(o.Timeout) }

// Connections is how many requests may be at the CA at once.
func (o *addressOptions) Connections() int { return connections(o.MaxConnections) }

// Needs refuses nothing: how long certificates live is the CA's business, and what
// comes back is compared.
func (*addressOptions) Needs(time.Duration) error { return nil }

// clientOptions are those of an upstream that may be shown a TLS client
// certificate.
type clientOptions struct {
	// A PEM file with roots that the CA's TLS is verified with: in place of root
	// by ejbca and vault, else beside it. Default: none.
	TLSRoot string `json:"tls_root,omitempty"`
	// A PEM file with our TLS client certificate and its chain. It is read again
	// when it changes. Default: this server's own certificate for est, ejbca, and
	// vault with cert; else none.
	Certificate string `json:"certificate,omitempty"`
	// A PEM file with its private key.
	Key string `json:"key,omitempty"`

	tlsRoots []*x509.Certificate
	pair     *changing[clientPair]
}

func (o *clientOptions) options() options {
	return options{"tls_root": valueOf("FILE", &o.TLSRoot), "certificate": valueOf("FILE", &o.Certificate), "key": valueOf("FILE", &o.Key)}
}

// load replaces the placeholders, and reads the files. A client certificate must
// pass fits, where there is one, also when it changes.
func (o *clientOptions) load(fits func(*x509.Certificate) error) error {
	err := expandAll(expandable{"tls_root", &o.TLSRoot}, expandable{"certificate", &o.Certificate}, expandable{"key", &o.Key})
	if err != nil {
		return err
	}
	if o.tlsRoots, err = loadOptional("tls_root", o.TLSRoot); err != nil {
		return err
	}
	o.pair, err = loadClientPair(o.Certificate, o.Key, fits)
	return err
}

// shown is what a handshake asks for; nil where there is no certificate.
func (o *clientOptions) shown() func() (*tls.Certificate, error) {
	if o.pair == nil {
		return nil
	}
	return func() (*tls.Certificate, error) {
		now := o.pair.now().tls
		return &now, nil
	}
}

// Expiries is the first end in our client certificate's chain, where it is a file.
func (o *clientOptions) Expiries() map[string]time.Time {
	if o.pair == nil {
		return nil
	}
	return map[string]time.Time{"ra_certificate": firstEnd(o.pair.now().chain)}
}

// crlOption is that of an upstream whose CA publishes a CRL.
type crlOption struct {
	// Ask the CA's CRL at reenrolment, failing closed.
	AskCRL bool `json:"crl,omitempty"`
}

// CRLEnabled says that reenrolment asks the CA's CRL.
func (o *crlOption) CRLEnabled() bool { return o.AskCRL }

// chainOption is that of an upstream whose CA doesn't tell its whole chain.
type chainOption struct {
	// A PEM file with the CA certificates between the root and the one that issues,
	// as far as the CA doesn't tell them. Default: none.
	Chain string `json:"chain,omitempty"`
}

func (o *chainOption) options() options { return options{"chain": valueOf("FILE", &o.Chain)} }

// load replaces the placeholders, and reads the file.
func (o *chainOption) load() ([]*x509.Certificate, error) {
	if err := expandAll(expandable{"chain", &o.Chain}); err != nil {
		return nil, err
	}
	return loadOptional("chain", o.Chain)
}

// takesOwn is an upstream that may show this server's own certificate to the CA.
type takesOwn struct{ own ownSource }

// UseOwn takes what gives our own certificate.
func (o *takesOwn) UseOwn(give func() (*tls.Certificate, error)) { o.own = give }

// BoundByOwn is false: the CA issues for as long as it says.
func (*takesOwn) BoundByOwn() bool { return false }

// ownCertificate is that of now, where somebody gives it.
func (o *takesOwn) ownCertificate() (*tls.Certificate, error) {
	if o.own == nil {
		return nil, errors.New("nobody gives our own certificate")
	}
	return o.own()
}

// sayOfAddress logs which of several addresses isn't asked any more, and which
// is again.
func sayOfAddress(log *zap.Logger) func(host string, failure error) {
	return func(host string, failure error) {
		if failure != nil {
			log.Warn("an address of the CA fails again and again, and isn't asked for a while", zap.String("address", host), zap.Error(failure))
			return
		}
		log.Info("an address of the CA is well again", zap.String("address", host))
	}
}

// loadRoots reads the roots that the operator trusts for a CA.
func loadRoots(file string) ([]*x509.Certificate, error) {
	roots, err := loadCertificates([]string{file})
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	for _, root := range roots {
		if !bytes.Equal(root.RawSubject, root.RawIssuer) {
			return nil, fmt.Errorf("root: %s: %q isn't a root certificate: %q has issued it", file, root.Subject.String(), root.Issuer.String())
		}
	}
	return roots, nil
}

// loadOptional reads the certificates of an option, where it is written.
func loadOptional(option, file string) ([]*x509.Certificate, error) {
	if file == "" {
		return nil, nil
	}
	certs, err := loadCertificates([]string{file})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	return certs, nil
}

// firstEnd is when the first certificate of a chain ends.
func firstEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}
