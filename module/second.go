// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/net/idna"

	"github.com/caddy-est/estra/ra/hello"
)

// SecondCertificate is a certificate of the site for those clients who say in
// the ClientHello that they trust its CA. All others get the one that Caddy has.
type SecondCertificate struct {
	// PEM file with the certificate, the intermediates, and last the root, which
	// isn't sent: a client may name it by its hash.
	Certificate string `json:"certificate,omitempty"`
	// PEM file with the private key.
	Key string `json:"key,omitempty"`
	// In place of the files: it is issued by an upstream, and renewed, as a
	// site's own certificate is.
	Own *CertificateConfig `json:"own,omitempty"`

	app *App // that keeps it

	now   atomic.Pointer[secondPair]
	wrong string // what was wrong with the files when last read
}

// A secondPair is what the files held.
type secondPair struct {
	certPEM, keyPEM []byte
	served          *tls.Certificate
	cas             []hello.CA
}

func (s *SecondCertificate) expand() (err error) {
	switch {
	case s.Own != nil && s.Certificate+s.Key != "":
		return errors.New("second_certificate: it is issued by an upstream (own), or it is in files (certificate, key): only one of them")
	case s.Own != nil:
		return nil
	case s.Certificate == "" || s.Key == "":
		return errors.New("second_certificate needs two files, `second_certificate CERTIFICATE KEY`, or an upstream, `second_certificate from UPSTREAM`")
	}
	if s.Certificate, err = expand("second_certificate", s.Certificate); err != nil {
		return err
	}
	s.Key, err = expand("second_certificate", s.Key)
	return err
}

// read takes the files if they have changed. Wrong ones change nothing.
func (s *SecondCertificate) read(hosts []string) (changed bool, err error) {
	certPEM, err := os.ReadFile(s.Certificate)
	if err != nil {
		return false, err
	}
	keyPEM, err := os.ReadFile(s.Key)
	if err != nil {
		return false, err
	}
	if old := s.now.Load(); old != nil && bytes.Equal(old.certPEM, certPEM) && bytes.Equal(old.keyPEM, keyPEM) {
		return false, nil
	}
	made, err := s.parse(certPEM, keyPEM)
	if err != nil {
		return false, err
	}
	for _, host := range hosts {
		if err := covers(made.served.Leaf, host); err != nil {
			return false, fmt.Errorf("%s: %w", s.Certificate, err)
		}
	}
	s.now.Store(made)
	return true, nil
}

func (s *SecondCertificate) parse(certPEM, keyPEM []byte) (*secondPair, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s with the key %s: %w", s.Certificate, s.Key, err)
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Certificate, err)
		}
		chain = append(chain, c)
	}
	if err := checkSecond(chain); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Certificate, err)
	}
	if last := chain[len(chain)-1]; len(chain) > 1 && bytes.Equal(last.RawIssuer, last.RawSubject) {
		pair.Certificate = pair.Certificate[:len(chain)-1] // RFC 8446 section 4.4.2: the root may be left out
	}
	pair.Leaf = chain[0]
	return &secondPair{certPEM: certPEM, keyPEM: keyPEM, served: &pair, cas: hello.CAsOf(chain)}, nil
}

// checkSecond finds what no client would take.
func checkSecond(chain []*x509.Certificate) error {
	leaf := chain[0]
	if leaf.IsCA {
		return fmt.Errorf("the first certificate is that of the CA %q: the server's own comes first", leaf.Subject)
	}
	restricted := len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0
	if restricted && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return fmt.Errorf("the certificate %q isn't for servers: its extended key usages lack serverAuth", leaf.Subject)
	}
	for i, c := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(c); err != nil {
			return fmt.Errorf("certificate %d (%q) isn't signed by the next (%q): the server's own comes first, then the intermediates, then the root: %w",
				i+1, chain[i].Subject, c.Subject, err)
		}
	}
	return nil
}

// covers says whether a certificate is good for a host of the site.
func covers(leaf *x509.Certificate, host string) error {
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		host = ascii // as certificates and ClientHellos have it
	}
	return leaf.VerifyHostname(host)
}

// forHello is the certificate, where this client should get it.
func (s *SecondCertificate) forHello(info *tls.ClientHelloInfo, name string) *tls.Certificate {
	// Over HTTP/3 no listener wrapper sees the ClientHello, and so who comes
	// that way gets the certificate for EST.
	conn, read := info.Conn.(*hello.Conn)
	if read && conn.Hello().Empty() {
		return nil // it waits for no first certificate
	}
	pair := s.pair(info.Context(), name)
	if pair == nil || covers(pair.served.Leaf, name) != nil {
		return nil
	}
	if read && !conn.Hello().Trusts(pair.cas) {
		return nil
	}
	if info.SupportsCertificate(pair.served) != nil {
		return nil // it can't verify this kind of key
	}
	return pair.served
}
