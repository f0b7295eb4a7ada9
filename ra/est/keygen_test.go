// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/wire"
)

// generated reads a success of /serverkeygen, and holds that the certificate is
// of the key.
func (g got) generated(t testing.TB) (crypto.Signer, []byte, *x509.Certificate) {
	t.Helper()
	answer, err := wire.DecodeParts(g.Header.Get("Content-Type"), []byte(g.body))
	if err != nil || answer.Encrypted {
		t.Fatalf("%d %s: %v", g.StatusCode, g.body, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(answer.Key)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := cms.ParseCertsOnly(answer.Certificates)
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok || !signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(certs[0].PublicKey) {
		t.Fatal("the certificate is of another key")
	}
	return signer, answer.Key, certs[0]
}

func TestServerKeygenAnswersWithAKeyAndItsCertificate(t *testing.T) {
	x := newSite(t)
	for name, body := range map[string]string{
		"a good request":             csrBody(t),
		"a bad signature":            csrBody(t, csrtest.BadSignature()),
		"an unknown kind of key":     csrBody(t, csrtest.SPKI(csrtest.SEQ(csrtest.SEQ(csrtest.OID("1.2.3")), csrtest.BITS(0, 1)))),
		"a key beyond the guardrail": csrBody(t, csrtest.Signer(csrtest.Key(t, "rsa1024"))),
	} {
		for _, agent := range []string{"", "libest 3.2.0"} {
			g := x.do(call{path: "keys/serverkeygen", user: right, body: body, header: http.Header{"User-Agent": {agent}}})
			if g.StatusCode != 200 || g.Header.Get("Cache-Control") != "no-store" || g.ContentLength != int64(len(g.body)) || g.Header.Get("Content-Transfer-Encoding") != "" {
				t.Errorf("%s: %d %s, %v", name, g.StatusCode, g.body, g.Header)
				continue
			}
			_, der, cert := g.generated(t)
			if cert.Subject.CommonName != "device.example" {
				t.Errorf("%s: the certificate is of %s", name, cert.Subject)
			}
			record, rep := x.last(g.Header.Get("X-Request-Id"))
			sum := csr.Request{RawSPKI: cert.RawSubjectPublicKeyInfo}
			if m := record.Made; m == nil || m.SPKISHA256 != sum.SPKISHA256() || m.Key != "ecdsa P-256" || m.By != "ra" || m.Form != "clear" || m.KeyID != "" {
				t.Errorf("%s: the record says of the key %+v", name, record.Made)
			}
			if record.CSR == nil || record.CSR.Key != "" || record.CSR.SPKISHA256 != "" || record.CSR.Sig != "" {
				t.Errorf("%s: the record says of the request %+v", name, record.CSR)
			}
			kept, err := json.Marshal([]any{record, rep})
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{base64.StdEncoding.EncodeToString(der[30:62]), hex.EncodeToString(der[30:62])} {
				if bytes.Contains(kept, []byte(text)) {
					t.Errorf("%s: the key is in the record or the report: %s", name, kept)
				}
			}
		}
	}
}

func TestServerKeygenRefusals(t *testing.T) {
	x := newSite(t)
	asking := csrtest.Attribute(csr.OIDDecryptKeyID, csrtest.Text(4, "k1"))
	list := csrtest.Attribute(csr.OIDSMIMECapabilities, csrtest.SEQ(csrtest.SEQ(csrtest.OID("2.16.840.1.101.3.4.1.45"))))
	for name, c := range map[string]struct {
		call   call
		status int
		kind   string
		text   string
	}{
		"nobody":                           {call{}, 401, "unauthenticated", ""},
		"a body that is no request":        {call{user: right, body: "AAAA"}, 400, "malformed", "request could not be read"},
		"another media type":               {call{user: right, header: http.Header{"Content-Type": {"application/pkcs7-mime"}}}, 415, "media_type", "request could not be read"},
		"GET":                              {call{user: right, method: http.MethodGet}, 405, "method", "request could not be read"},
		"a name that isn't taken":          {call{user: right, body: csrBody(t, csrtest.SAN(csrtest.IP("10.0.0.1")))}, 403, "refused", "refused by policy"},
		"a linking value of another place": {call{user: right, body: csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("AAAA")))}, 403, "link_failed", "linking"},
		"encryption without algorithms":    {call{user: right, body: csrBody(t, asking)}, 403, "refused", "smimeCapabilities"},
		"an unknown key to encrypt for":    {call{user: right, body: csrBody(t, asking, list)}, 403, "refused", "encrypt"},
	} {
		c.call.path = "keys/serverkeygen"
		g := x.do(c.call)
		record, _ := x.last(g.Header.Get("X-Request-Id"))
		if g.StatusCode != c.status || string(record.Kind) != c.kind || !strings.Contains(g.body, c.text) || record.Made != nil {
			t.Errorf("%s: %d %q, record %s %s, made %+v", name, g.StatusCode, g.body, record.Kind, record.Reason, record.Made)
		}
	}
	if n := len(x.ca.Issued()); n > 0 {
		t.Errorf("%d certificates were issued", n)
	}
}

func TestThreat_NoPrivateKeyGoesOutInTheOpen(t *testing.T) {
	x := newSite(t)
	for name, state := range map[string]*tls.ConnectionState{
		"a proxy that ends TLS":      nil,
		"a cipher without 128 bits":  {HandshakeComplete: true, Version: tls.VersionTLS12, CipherSuite: tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA},
		"a cipher that nobody knows": {HandshakeComplete: true, Version: tls.VersionTLS12, CipherSuite: 0x0001},
	} {
		r := httptest.NewRequest(http.MethodPost, "https://x/.well-known/est/keys/serverkeygen", strings.NewReader(csrBody(t)))
		r.TLS = state
		r.Header.Set("Content-Type", wire.TypePKCS10)
		r.SetBasicAuth("estuser", "estpwd")
		w := httptest.NewRecorder()
		x.Serve(w, r, Incoming{Remote: netip.MustParseAddr("192.0.2.1"), TLSAhead: true, Credentials: x.credentials})
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "ask for the private key to be encrypted") || len(x.ca.Issued()) > 0 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestALinkingValueOfAKeygenIsRecordedAsUnproven(t *testing.T) {
	x := newSite(t)
	client := x.client(false)
	state := x.doWith(client, call{method: http.MethodGet, path: "cacerts"}).TLS
	g := x.doWith(client, call{path: "keys/serverkeygen", user: right, body: csrBody(t, linkingOf(t, state))})
	g.generated(t)
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if record.TLS.Linked != "unproven" || record.Input.Linking != "unproven" {
		t.Errorf("the record says %s", record.TLS.Linked)
	}
	orders := x.ca.Orders()
	if e := orders[len(orders)-1].Evidence(); e.Linking != policy.Unproven || e.Binding != "" {
		t.Errorf("the CA is told %+v", e)
	}
}

func TestARepeatSupersedesTheCertificateBefore(t *testing.T) {
	kept, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	x := newSite(t, func(x *site) { x.Authority.Made = kept.Made() })
	ask := func(name string) *x509.Certificate {
		g := x.do(call{path: "keys/serverkeygen", user: right, body: csrBody(t, csrtest.Subject(csrtest.CN(name)))})
		_, _, cert := g.generated(t)
		return cert
	}
	first, other := ask("a.example"), ask("b.example")
	if n := len(x.ca.Revoked()); n > 0 {
		t.Fatalf("%d certificates are revoked", n)
	}
	second := ask("a.example")
	revoked := x.ca.Revoked()
	if len(revoked) != 1 || revoked[0].SerialNumber.Cmp(first.SerialNumber) != 0 || revoked[0].ReasonCode != 4 {
		t.Fatalf("revoked are %+v; the first certificate is %x, another's %x", revoked, first.SerialNumber, other.SerialNumber)
	}
	third := ask("a.example")
	if revoked = x.ca.Revoked(); len(revoked) != 2 || revoked[1].SerialNumber.Cmp(second.SerialNumber) != 0 {
		t.Errorf("revoked are %+v after %x", revoked, third.SerialNumber)
	}
	x.mu.Lock()
	last := x.records[len(x.records)-1]
	x.mu.Unlock()
	if s := last.Made.Superseded; len(s) != 1 || !s[0].Revoked || s[0].Serial != second.SerialNumber.Text(16) {
		t.Errorf("the record says %+v", s)
	}
}

func TestTheAuthorityMakesAKeyForAKeygenAlone(t *testing.T) {
	x := newSite(t)
	p, _ := x.Policy.Profile("keys")
	parsed, err := csr.Parse(csrtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	who := policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: "estuser"}}}
	if _, err := x.Authority.Enroll(t.Context(), p, ra.Request{Request: policy.Request{Op: policy.ServerKeygen, Who: who, CSR: parsed}}); err == nil {
		t.Error("Enroll takes a request for a key")
	}
	for name, req := range map[string]policy.Request{
		"another operation": {Op: policy.SimpleEnroll, Who: who, CSR: parsed},
		"no request":        {Op: policy.ServerKeygen, Who: who},
	} {
		if _, key, err := x.Authority.Keygen(t.Context(), p, ra.Keygen{Request: req, Confidential: true}); err == nil || key.DER != nil {
			t.Errorf("%s: a key was made", name)
		}
	}
}

// What real clients have sent to other servers is answered here, too.
func TestRecordedClientsAreGivenKeys(t *testing.T) {
	x := newSite(t, under(strings.Replace(strings.ReplaceAll(rules, "BODY", strings.Trim(body, "\n")), "    reenroll:",
		"    serverkeygen: {enabled: true, encryption: if_asked}\n    reenroll:", 1)))
	for file, wrapped := range map[string]bool{"libest-3.2.0-serverkeygen-basic": true, "bouncycastle-1.72-serverkeygen-basic": false} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			request, err := os.ReadFile(filepath.Join("testdata", "clients", file+".http"))
			if err != nil {
				t.Fatal(err)
			}
			l := x.dial(t, version)
			l.send(string(request))
			s := l.read()
			kind, _ := s.get("Content-Type")
			answer, err := wire.DecodeParts(kind, []byte(s.body))
			if s.status != 200 || err != nil || answer.Encrypted {
				t.Errorf("%s: %d %q, %v", file, s.status, s.body, err)
				continue
			}
			longest := 0
			for line := range strings.Lines(s.body) {
				longest = max(longest, len(line))
			}
			if wrapped != (longest < 90) {
				t.Errorf("%s: the longest line has %d characters", file, longest)
			}
		}
	}
}
