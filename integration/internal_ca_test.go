// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/wire"
)

func init() {
	if os.Getenv(asCaddy) == "1" { // in the server alone
		caddy.RegisterModule(new(wrongCA))
	}
}

// wrongCA is the embedded CA, which here adds to certificates what it doesn't say:
// what it issues doesn't conform.
type wrongCA struct{ module.Internal }

func (*wrongCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.wrong", New: func() caddy.Module { return new(wrongCA) }}
}

func (*wrongCA) Tolerates() ra.Tolerated { return ra.Tolerated{} }

// revocationSite is one with plain http that sends all else to https.
const revocationSite = `
http://localhost {
	est_revocation
	redir https://{host}{uri}
}
`

// plainly gets a path of the site with plain http, whatever its address is.
func (s *site) plainly(path string) (status int, content []byte, header http.Header) {
	s.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", s.http, path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "localhost"
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, []byte(body(s.t, res)), res.Header
}

// crl is the list at a path, by the issuing key of the CA est.
func (s *site) crl(path string) *x509.RevocationList {
	s.t.Helper()
	code, content, header := s.plainly(path)
	if code != http.StatusOK || header.Get("Content-Type") != "application/pkix-crl" {
		s.t.Fatalf("%s is %d, %q\n%s", path, code, header.Get("Content-Type"), s.log)
	}
	list, err := x509.ParseRevocationList(content)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(s.issuing()); err != nil {
		s.t.Fatal(err)
	}
	return list
}

func (s *site) authorities() string {
	return filepath.Join(s.dir, "data", "caddy", "pki", "authorities", "est")
}

func (s *site) issuing() *x509.Certificate {
	s.t.Helper()
	return certificateIn(s.t, filepath.Join(s.authorities(), "intermediate.crt"))
}

func certificateIn(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// reasonOf is that of a serial number in a list; -1: it isn't there.
func reasonOf(list *x509.RevocationList, serial *big.Int) int {
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(serial) == 0 {
			return e.ReasonCode
		}
	}
	return -1
}

// openSSL gives the output, whatever it exits with.
func openSSL(t *testing.T, dir string, args ...string) string {
	t.Helper()
	need(t, "openssl")
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput()
	return string(out)
}

func TestTheEmbeddedCARevokesByFullCMCAndTellsEverybody(t *testing.T) {
	t.Parallel()
	partner := newFactory(t)
	s := serve(t, config{
		site:   strings.Replace(brokeredSite, "\t\t\tvendor vendor.pem\n", "", 1) + revocationSite,
		policy: strings.Replace(cmcPolicy, "    subject:", "      revoke: {own: true, by_ra: true}\n    subject:", 1),
		files:  map[string]string{"partner.pem": armour("CERTIFICATE", partner.root.Raw)},
	})
	s.logged(`"at":"http://localhost"`)
	c := &cmcClient{&cmcDevice{t: t, site: s}, s.tlsRoot()}
	c.pair("ra", partner.registrar(pkix.Name{CommonName: "ra.partner.example"}))
	ids, secrets := c.passwords(2)
	for i, name := range []string{"one.site", "two.site"} {
		write(t, s.dir, "secret", secrets[i])
		c.granted("granted", "enroll", "--identification", ids[i], "--secret-file", "secret", "--key", name+".key", "--subject", "CN="+name+".example.net", "--out", name+".pem")
	}
	one, two := certificateIn(t, filepath.Join(s.dir, "one.site.pem")), certificateIn(t, filepath.Join(s.dir, "two.site.pem"))

	address := "http://localhost/crl/est/" + hex.EncodeToString(s.issuing().SubjectKeyId) + ".crl"
	if got := fmt.Sprint(one.CRLDistributionPoints, one.OCSPServer); got != "["+address+"] [http://localhost/ocsp/est]" {
		t.Fatalf("the certificate names %s", got)
	}
	path := strings.TrimPrefix(address, "http://localhost")
	before := s.crl(path)
	if len(before.RevokedCertificateEntries) > 0 {
		t.Fatalf("revoked are %v", before.RevokedCertificateEntries)
	}
	c.refused("refused, internalCAError", "revoke", "--cert", "ra.pem", "--cert-key", "ra.key", "--reason", "certificateHold", "one.site.pem")
	s.logged("certificateHold would let the certificate come back")
	c.granted(`revocation of [0-9a-f]+: granted`, "revoke", "--cert", "ra.pem", "--cert-key", "ra.key", "--reason", "keyCompromise", "one.site.pem")
	after := s.crl(path)
	if after.Number.Cmp(before.Number) <= 0 || reasonOf(after, one.SerialNumber) != 1 || reasonOf(after, two.SerialNumber) != -1 {
		t.Errorf("the list is number %s after %s: %v", after.Number, before.Number, after.RevokedCertificateEntries)
	}
	if newest := s.crl("/crl/est.crl"); !bytes.Equal(newest.Raw, after.Raw) {
		t.Error("the list without a key in its path isn't the one of the key that issues")
	}
	checkByOpenSSL(t, s, after)

	// Neither asks for a client certificate, and all else goes on.
	if res, err := s.client(nil).Get(fmt.Sprintf("https://localhost:%d/crl/est.crl", s.port)); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("over https: %v", err)
	} else {
		res.Body.Close()
	}
	if code, _, header := s.plainly("/elsewhere"); code != http.StatusFound || header.Get("Location") != "https://localhost/elsewhere" {
		t.Errorf("all else is %d, to %q", code, header.Get("Location"))
	}
	c.refused("refused, badIdentity", "renew", "--cert", "one.site.pem", "--key", "one.site.key", "--new-key", "new.key")
	if s.sync(); !strings.Contains(s.log.String(), fmt.Sprintf("anchor ours: the certificate (serial %x) is revoked", one.SerialNumber)) {
		t.Errorf("the record doesn't say that it is revoked\n%s", s.log)
	}
	c.granted("granted", "renew", "--cert", "two.site.pem", "--key", "two.site.key", "--new-key", "new.key", "--out", "two2.pem")

	if der := s.getCRL("two.site"); !bytes.Contains(der, after.Raw) {
		t.Error("getCRL gives another list")
	}

	s.stop()
	s.run()
	again := s.crl(path)
	if again.Number.Cmp(after.Number) < 0 || reasonOf(again, one.SerialNumber) != 1 {
		t.Errorf("after a restart the list is number %s: %v", again.Number, again.RevokedCertificateEntries)
	}
}

// getCRL asks by CMC (RFC 5272 section 6.10) with the certificate in NAME.pem, and
// gives the answer.
func (s *site) getCRL(name string) []byte {
	s.t.Helper()
	der := func(b []byte, err error) []byte {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
		return b
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, name+".pem"), filepath.Join(s.dir, name+".key"))
	if err != nil {
		s.t.Fatal(err)
	}
	asked := &cmc.PKIData{Controls: cmc.Controls{
		cmc.NewControl(1, cmc.OIDGetCRL, der(cmc.GetCRL{Issuer: s.issuing().RawSubject}.Marshal())),
		cmc.NewControl(2, cmc.OIDSenderNonce, cmc.Octets([]byte("once"))),
	}}
	message := der(cms.Sign(cms.Content{Type: cms.IDPKIData, Bytes: der(asked.Marshal())}, []*x509.Certificate{pair.Leaf},
		cms.Signer{Key: pair.PrivateKey.(crypto.Signer), ID: cms.IssuerAndSerial(pair.Leaf)}))
	res, err := s.client(nil).Post(s.url("devices/fullcmc"), wire.TypeCMCRequest, strings.NewReader(base64.StdEncoding.EncodeToString(message)))
	if err != nil {
		s.t.Fatal(err)
	}
	text := body(s.t, res)
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("getCRL is %d, %s", res.StatusCode, text)
	}
	return der(base64.StdEncoding.DecodeString(strings.TrimSpace(text)))
}

// checkByOpenSSL asks as a relying party does: one is revoked, and two isn't.
func checkByOpenSSL(t *testing.T, s *site, list *x509.RevocationList) {
	t.Helper()
	write(t, s.dir, "list.pem", armour("X509 CRL", list.Raw))
	write(t, s.dir, "issuer.pem", armour("CERTIFICATE", s.issuing().Raw))
	roots := s.root("est")
	for name, want := range map[string]string{"one.site.pem": "certificate revoked", "two.site.pem": "two.site.pem: OK"} {
		if out := openSSL(t, s.dir, "verify", "-crl_check", "-CRLfile", "list.pem", "-CAfile", roots, "-untrusted", "issuer.pem", name); !strings.Contains(out, want) {
			t.Errorf("openssl verify says %q, want %q", out, want)
		}
	}
	for name, want := range map[string]string{"one.site.pem": `one.site.pem: revoked\n(.*\n)*\tReason: keyCompromise`, "two.site.pem": `two.site.pem: good`} {
		out := openSSL(t, s.dir, "ocsp", "-issuer", "issuer.pem", "-cert", name, "-CAfile", roots, "-url", fmt.Sprintf("http://localhost:%d/ocsp/est", s.http), "-header", "Host=localhost")
		if !strings.Contains(out, "Response verify OK") || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("openssl ocsp says %q, want %q", out, want)
		}
	}
}

func TestACertificateThatDoesNotConformIsRevokedAtTheEmbeddedCA(t *testing.T) {
	t.Parallel()
	const upstreams = "\t\tupstream internal\n\t\tupstream wrong wrong {\n\t\t\tpublish http://localhost\n\t\t}\n\t\tcertificate off\n\t\tanchors {\n\t\t\tours upstream internal\n\t\t}\n"
	s := serve(t, config{
		site:   strings.Replace(smallest, "\t\tpolicy policy.yaml\n", "\t\tpolicy policy.yaml\n"+upstreams, 1) + revocationSite,
		policy: strings.Replace(devices, "profiles:\n  devices:\n", "profiles:\n  devices:\n    upstream: wrong\n", 1),
	})
	status, text, id, _ := s.asks("a.example.net")
	if status < http.StatusInternalServerError {
		t.Fatalf("what doesn't conform is %d, %s\n%s", status, text, s.log)
	}
	s.logged("it has been revoked")
	serial, ok := new(big.Int).SetString(s.record(id).Cert.Serial, 16)
	if !ok {
		t.Fatalf("the record is %+v", s.record(id))
	}
	if got := reasonOf(s.crl("/crl/est.crl"), serial); got != 9 {
		t.Errorf("in the list its reason is %d, want privilegeWithdrawn", got)
	}
}

func TestWithoutRevocationTheEmbeddedCAIsAsItWas(t *testing.T) {
	t.Parallel()
	s := serve(t, config{
		site:   strings.Replace(smallest, "\t\tpolicy policy.yaml\n", "\t\tpolicy policy.yaml\n\t\tupstream internal {\n\t\t\trevocation off\n\t\t}\n", 1) + revocationSite,
		policy: devices,
	})
	s.logged("has no CRL that is asked: a revoked certificate can be renewed")
	if code, _, _ := s.plainly("/crl/est.crl"); code != http.StatusFound {
		t.Errorf("the CRL is %d", code)
	}
	if status, text, _, leaf := s.asks("a.example.net"); status != http.StatusOK || len(leaf.CRLDistributionPoints)+len(leaf.OCSPServer) > 0 {
		t.Errorf("enrolment is %d, %s\n%s", status, text, s.log)
	}
	if store := s.admins("/est/store"); !strings.Contains(store, `{"table":"ca_certificates","rows":0}`) {
		t.Errorf("the store has %s", store)
	}
}

// The intermediate that is too short for a policy is replaced, as Caddy replaces one
// whose time comes: with another key of the same name.
func TestAFormerIssuingKeyOfTheEmbeddedCAGoesOnSigning(t *testing.T) {
	t.Parallel()
	c := config{site: smallest + revocationSite, policy: keys}
	c.site = strings.Replace(c.site, "estuser HASH", "estuser HASH\nsecond HASH\nthird HASH", 1)
	s := serve(t, c)
	client := s.estClient(tls.VersionTLS13)
	first, err := client.ServerKeygen(t.Context(), namesOf(t, "a.example.net"), estclient.DecryptKey{})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	former := s.issuing()
	path := "/crl/est/" + hex.EncodeToString(former.SubjectKeyId) + ".crl"
	before := s.crl(path)
	s.stop()
	s.replace("policy.yaml", strings.ReplaceAll(keys, "default: 30d", "default: 700d"))
	s.run()
	now := s.issuing()
	if bytes.Equal(now.SubjectKeyId, former.SubjectKeyId) || !bytes.Equal(now.RawSubject, former.RawSubject) {
		t.Fatalf("the intermediate is %q with the key %x, and was %q with %x", now.Subject, now.SubjectKeyId, former.Subject, former.SubjectKeyId)
	}
	// A repeat supersedes what the former key has signed.
	again, err := s.estClient(tls.VersionTLS13).ServerKeygen(t.Context(), namesOf(t, "a.example.net"), estclient.DecryptKey{})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	if err := again.Certificate.CheckSignatureFrom(now); err != nil {
		t.Errorf("the new key doesn't issue: %v", err)
	}
	_, content, _ := s.plainly(path)
	list, err := x509.ParseRevocationList(content)
	if err != nil {
		t.Fatalf("%v: %q", err, content)
	}
	if list.CheckSignatureFrom(former) != nil || list.Number.Cmp(before.Number) <= 0 || reasonOf(list, first.Certificate.SerialNumber) != 4 {
		t.Errorf("the former key's list is number %s after %s: %v", list.Number, before.Number, list.RevokedCertificateEntries)
	}
	if newest := s.crl("/crl/est.crl"); len(newest.RevokedCertificateEntries) > 0 {
		t.Errorf("the new key's list has %v", newest.RevokedCertificateEntries)
	}
	write(t, s.dir, "first.pem", armour("CERTIFICATE", first.Certificate.Raw))
	write(t, s.dir, "former.pem", armour("CERTIFICATE", former.Raw))
	out := openSSL(t, s.dir, "ocsp", "-issuer", "former.pem", "-cert", "first.pem", "-CAfile", s.root("est"), "-url", fmt.Sprintf("http://localhost:%d/ocsp/est", s.http), "-header", "Host=localhost")
	if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, "first.pem: revoked") || !strings.Contains(out, "Reason: superseded") {
		t.Errorf("openssl ocsp says %q", out)
	}
}
