// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/wire"
)

const pfxPassword = "vZ0mY3bq7LxkT2wd"

// passwords has the password of one account.
type passwords struct {
	user string
	text secret.Text
	err  error
}

func (p passwords) Password(_ context.Context, who policy.Identity) (secret.Text, error) {
	if p.err == nil && (len(who.Accounts) == 0 || who.Accounts[0].User != p.user) {
		return "", ra.ErrNoDecryptKey
	}
	return p.text, p.err
}

// RFC 8295 section 8.3.2: one body in base64, with the key and its certificate.
func TestServerKeygenAnswersWithAPKCS12(t *testing.T) {
	x := newSite(t, func(x *site) { x.Authority.Passwords = passwords{"estuser", pfxPassword, nil} })
	g := x.do(call{path: "pfx/serverkeygen", user: right, body: csrBody(t)})
	der, _, err := wire.DecodeBody([]byte(g.body))
	if err != nil || g.StatusCode != 200 || g.Header.Get("Content-Type") != "application/pkcs12" ||
		g.Header.Get("Cache-Control") != "no-store" || g.ContentLength != int64(len(g.body)) {
		t.Fatalf("%d %s, %v, %v", g.StatusCode, g.body, g.Header, err)
	}
	key, cert, err := pkcs12.Decode(der, pfxPassword) // exactly one certificate
	if err != nil {
		t.Fatal(err)
	}
	if private, ok := key.(*ecdsa.PrivateKey); !ok || !private.PublicKey.Equal(cert.PublicKey) || !cert.Equal(x.ca.Issued()[0]) {
		t.Errorf("the PKCS #12 has a %T, and the certificate %v", key, cert.Subject)
	}
	for _, other := range []string{"", "vZ0mY3bq7LxkT2we"} {
		if _, _, err := pkcs12.Decode(der, other); !errors.Is(err, pkcs12.ErrIncorrectPassword) {
			t.Errorf("with the password %q: %v", other, err)
		}
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(der, plain[36:68]) || bytes.Contains(der, cert.Raw) {
		t.Error("the PKCS #12 has the key or the certificate in clear")
	}
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if m := record.Made; m == nil || m.Form != "pkcs12" || m.KeyID != "" || m.SPKISHA256 == "" {
		t.Errorf("the record says of the key %+v", record.Made)
	}
}

func TestTheClientReadsAPKCS12(t *testing.T) {
	x := newSite(t, func(x *site) { x.Authority.Passwords = passwords{"estuser", pfxPassword, nil} })
	template := estclient.Template{Names: csr.Names{Subject: subjectOf(t, "CN=device.example")}}
	for name, c := range map[string]struct {
		label string
		with  estclient.DecryptKey
		says  string
	}{
		"the password":                {"pfx", estclient.PKCS12Password(pfxPassword), ""},
		"another password":            {"pfx", estclient.PKCS12Password("another password"), "doesn't open with this password"},
		"no password":                 {"pfx", estclient.DecryptKey{}, "there is no password for one"},
		"a server that gives parts":   {"keys", estclient.PKCS12Password(pfxPassword), "the answer is none and there is"},
		"a key to encrypt for beside": {"pfx", estclient.SymmetricKey([]byte("k"), make([]byte, 16)), "403"},
	} {
		client := x.estClient(right, nil)
		client.Label = c.label
		done, err := client.ServerKeygen(t.Context(), template, c.with)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !done.Encrypted || done.Signer != nil || !done.Key.Public().(*ecdsa.PublicKey).Equal(done.Certificate.PublicKey) {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
}

// Without a password there is no key, and none under an empty one.
func TestThreat_NoPKCS12WithoutAPasswordOfTheClients(t *testing.T) {
	identifier := csrtest.Attribute(csr.OIDDecryptKeyID, csrtest.Text(4, "k1"))
	for name, c := range map[string]struct {
		passwords ra.Passwords
		opts      []csrtest.Option
		status    int
		says      string
	}{
		"no passwords at all":          {nil, nil, 403, "no password of yours"},
		"another account's password":   {passwords{"somebody else", pfxPassword, nil}, nil, 403, "no password of yours"},
		"an empty password":            {passwords{"estuser", "", nil}, nil, 403, "no password of yours"},
		"a store that is away":         {passwords{err: errors.New("the store is away")}, nil, 503, ""},
		"a key to encrypt for instead": {passwords{"estuser", pfxPassword, nil}, []csrtest.Option{identifier}, 403, "leave decryptKeyID and asymmDecryptKeyID out"},
	} {
		x := newSite(t, func(x *site) { x.Authority.Passwords = c.passwords })
		g := x.do(call{path: "pfx/serverkeygen", user: right, body: csrBody(t, c.opts...)})
		record, _ := x.last(g.Header.Get("X-Request-Id"))
		if g.StatusCode != c.status || !strings.Contains(g.body, c.says) || record.Made != nil || len(x.ca.Issued()) > 0 {
			t.Errorf("%s: %d %q, made %+v, %d issued", name, g.StatusCode, g.body, record.Made, len(x.ca.Issued()))
		}
	}
}

// It is no key in clear, wherever TLS ends.
func TestAPKCS12GoesOutBehindAProxyThatEndsTLS(t *testing.T) {
	x := newSite(t, func(x *site) { x.Authority.Passwords = passwords{"estuser", pfxPassword, nil} })
	r := httptest.NewRequest(http.MethodPost, "https://x/.well-known/est/pfx/serverkeygen", strings.NewReader(csrBody(t)))
	r.TLS = (*tls.ConnectionState)(nil)
	r.Header.Set("Content-Type", wire.TypePKCS10)
	r.SetBasicAuth("estuser", "estpwd")
	w := httptest.NewRecorder()
	x.Serve(w, r, Incoming{Remote: netip.MustParseAddr("192.0.2.1"), TLSAhead: true, Credentials: x.credentials})
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != wire.TypePKCS12 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
