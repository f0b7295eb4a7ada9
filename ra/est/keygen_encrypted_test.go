// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/estclient"
)

// keyring has a symmetric key of one account, and nothing else.
type keyring struct {
	user string
	id   string
	key  []byte
	err  error
}

func (k keyring) DecryptKey(_ context.Context, who policy.Identity, wanted csr.DecryptKey) (cms.Recipient, error) {
	if k.err != nil {
		return cms.Recipient{}, k.err
	}
	if wanted.Asymmetric || string(wanted.ID) != k.id || len(who.Accounts) == 0 || who.Accounts[0].User != k.user {
		return cms.Recipient{}, ra.ErrNoDecryptKey
	}
	return cms.ForKEK(wanted.ID, k.key), nil
}

// estClient asks the site as a device does.
func (x *site) estClient(user string, cert *tls.Certificate) *estclient.Client {
	c := &estclient.Client{URL: x.http.URL, Label: "keys", Explicit: []*x509.Certificate{x.ca.Root.Certificate}, Implicit: x509.NewCertPool(), Certificate: cert}
	c.Implicit.AddCert(x.http.Certificate())
	if name, password, ok := strings.Cut(user, ":"); ok {
		c.Basic = &estclient.Credentials{User: name, Password: estclient.Secret(password)}
	}
	return c
}

// keyed is a device with a key of a kind, for a usage.
func (x *site) keyed(usage x509.KeyUsage, kind string) *tls.Certificate {
	signer := csrtest.NewKey(x.t, kind)
	cert := x.vendor.Sign(x.t, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "device.example"}, SubjectKeyId: []byte("ski of " + kind),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: usage, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, signer.Public())
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: signer, Leaf: cert}
}

func TestServerKeygenEncryptsForTheClientsOwnKey(t *testing.T) {
	kek := bytes.Repeat([]byte{7}, 32)
	x := newSite(t, func(x *site) { x.Authority.DecryptKeys = keyring{user: "estuser", id: "wrap-1", key: kek} })
	for name, c := range map[string]struct {
		user string
		cert *tls.Certificate
		form string
	}{
		"symmetric":     {right, nil, "symmetric"},
		"RSA":           {"", x.keyed(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, "rsa2048"), "asymmetric"},
		"P-256":         {"", x.keyed(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement, "P-256"), "asymmetric"},
		"P-384, no use": {"", x.keyed(0, "P-384"), "asymmetric"},
	} {
		with, err := estclient.SymmetricKey([]byte("wrap-1"), kek), error(nil)
		if c.cert != nil {
			with, err = estclient.AsymmetricKey(c.cert.Leaf.SubjectKeyId, c.cert.PrivateKey.(crypto.Signer))
		}
		if err != nil {
			t.Fatal(err)
		}
		done, err := x.estClient(c.user, c.cert).ServerKeygen(t.Context(), estclient.Template{Names: csr.Names{Subject: subjectOf(t, "CN=device.example")}}, with)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !done.Encrypted || done.Signer == nil || done.Certificate.Subject.CommonName != "device.example" {
			t.Errorf("%s: %+v", name, done)
		}
		if record, _ := x.last(done.RequestID); record.Made == nil || record.Made.Form != c.form || record.Made.KeyID == "" {
			t.Errorf("%s: the record says %+v", name, record.Made)
		}
	}
	done, err := x.estClient(right, nil).ServerKeygen(t.Context(), estclient.Template{Names: csr.Names{Subject: subjectOf(t, "CN=device.example")}}, estclient.DecryptKey{})
	if err != nil || done.Encrypted || done.Signer != nil {
		t.Errorf("in clear: %+v, %v", done, err)
	}
}

func subjectOf(t *testing.T, text string) csr.Name {
	t.Helper()
	name, err := csr.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// RFC 7030 section 4.4.1: what can't be encrypted as asked is an error, and
// never a key in clear.
func TestThreat_AKeyThatCannotBeEncryptedAsAskedIsNotGivenOut(t *testing.T) {
	kek := bytes.Repeat([]byte{7}, 32)
	x := newSite(t, func(x *site) { x.Authority.DecryptKeys = keyring{user: "somebody else", id: "wrap-1", key: kek} })
	down := newSite(t, func(x *site) { x.Authority.DecryptKeys = keyring{err: errors.New("the store is away")} })
	octets := func(oid, id string) csrtest.Option { return csrtest.Attribute(oid, csrtest.Text(4, id)) }
	able := func(oids ...string) csrtest.Option {
		var list [][]byte
		for _, oid := range oids {
			list = append(list, csrtest.SEQ(csrtest.OID(oid)))
		}
		return csrtest.Attribute(csr.OIDSMIMECapabilities, csrtest.SEQ(list...))
	}
	all := able("2.16.840.1.101.3.4.1.45", "2.16.840.1.101.3.4.1.42", "1.2.840.113549.1.1.1", "1.3.132.1.11.1")
	rsaDevice := x.keyed(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, "rsa2048")
	signing := x.keyed(x509.KeyUsageDigitalSignature, "P-256")
	for name, c := range map[string]struct {
		at     *site
		user   string
		cert   *tls.Certificate
		opts   []csrtest.Option
		status int
	}{
		"another account's key":                {x, right, nil, []csrtest.Option{octets(csr.OIDDecryptKeyID, "wrap-1"), all}, 403},
		"an unknown identifier":                {x, right, nil, []csrtest.Option{octets(csr.OIDDecryptKeyID, "wrap-2"), all}, 403},
		"a certificate that isn't shown":       {x, right, nil, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of rsa2048"), all}, 403},
		"that of another device":               {x, "", rsaDevice, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of P-256"), all}, 403},
		"a symmetric key by the certificate's": {x, "", rsaDevice, []csrtest.Option{octets(csr.OIDDecryptKeyID, "ski of rsa2048"), all}, 403},
		"a key that signs alone":               {x, "", signing, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of P-256"), all}, 403},
		"no algorithm of ours":                 {x, "", rsaDevice, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of rsa2048"), able("1.2.840.113549.3.7")}, 403},
		"no content cipher":                    {x, "", rsaDevice, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of rsa2048"), able("1.2.840.113549.1.1.1")}, 403},
		"no capabilities":                      {x, "", rsaDevice, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of rsa2048")}, 403},
		"capabilities that aren't":             {x, "", rsaDevice, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of rsa2048"), csrtest.Attribute(csr.OIDSMIMECapabilities, csrtest.UTF8("x"))}, 403},
		"both identifiers":                     {x, "", rsaDevice, []csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of rsa2048"), octets(csr.OIDDecryptKeyID, "wrap-1"), all}, 403},
		"keys that can't be asked for":         {down, right, nil, []csrtest.Option{octets(csr.OIDDecryptKeyID, "wrap-1"), all}, 503},
	} {
		ask := call{path: "keys/serverkeygen", user: c.user, body: csrBody(t, c.opts...)}
		if c.cert != nil {
			ask.certs = []tls.Certificate{*c.cert}
		}
		g := c.at.do(ask)
		record, _ := c.at.last(g.Header.Get("X-Request-Id"))
		if g.StatusCode != c.status || strings.Contains(g.body, "application/pkcs8") || record.Made != nil || len(c.at.ca.Issued()) > 0 {
			t.Errorf("%s: %d %q, made %+v, %d issued", name, g.StatusCode, g.body, record.Made, len(c.at.ca.Issued()))
		}
		if c.status == 403 && !strings.Contains(g.body, "encrypt") {
			t.Errorf("%s: the client is told %q", name, g.body)
		}
	}
}
