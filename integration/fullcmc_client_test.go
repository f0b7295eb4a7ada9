// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// cmcClient runs `caddy est client fullcmc` in the folder of a site.
type cmcClient struct {
	*cmcDevice
	roots string
}

func (c *cmcClient) run(verb string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	return runCaddy(c.t, c.site.dir, append([]string{"est", "client", "fullcmc", verb,
		"--url", fmt.Sprintf("https://localhost:%d", c.site.port), "--label", "devices", "--cacert", c.roots}, args...)...)
}

// granted wants the command to succeed, and its words on standard error.
func (c *cmcClient) granted(words, verb string, args ...string) {
	c.t.Helper()
	if _, errs, code := c.run(verb, args...); code != 0 || !regexp.MustCompile(words).MatchString(errs) {
		c.t.Errorf("%s %q: exit code %d, %s, want %q\n%s", verb, args, code, errs, words, c.site.log)
	}
}

// refused wants exit code 2, and words on standard error.
func (c *cmcClient) refused(words, verb string, args ...string) {
	c.t.Helper()
	if _, errs, code := c.run(verb, args...); code != 2 || !strings.Contains(errs, words) {
		c.t.Errorf("%s %q: exit code %d, %s, want %q", verb, args, code, errs, words)
	}
}

// pair writes a certificate and its key as NAME.pem and NAME.key.
func (c *cmcClient) pair(name string, pair tls.Certificate) {
	c.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		c.t.Fatal(err)
	}
	write(c.t, c.site.dir, name+".pem", armour("CERTIFICATE", pair.Leaf.Raw))
	write(c.t, c.site.dir, name+".key", armour("PRIVATE KEY", der))
}

func (c *cmcClient) subject(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.site.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert.Subject.String()
}

func TestTheClientDoesAllOfFullCMC(t *testing.T) {
	t.Parallel()
	d, registrar := newCMCDevice(t)
	c := &cmcClient{d, d.site.tlsRoot()}
	ids, secrets := c.passwords(4)
	write(t, d.site.dir, "secret", secrets[0]+"\n")
	write(t, d.site.dir, "crmf", secrets[1]+"\n")
	write(t, d.site.dir, "unused", secrets[2]+"\n")
	write(t, d.site.dir, "mac", secrets[3]+"\n")
	c.pair("ra", registrar)
	dev := newDevice(t, d.site)
	dev.dir = d.site.dir
	dev.csr("x", "/CN=x.site.example.net", "")
	dev.csr("y", "/CN=y.site.example.net", "")
	dev.csr("z", "/CN=z.example.net", "")

	proof := func(i int, file string) []string { return []string{"--identification", ids[i], "--secret-file", file} }
	for i, form := range [][]string{{"--out", "a.pem"}, {"--crmf", "--out", "b.pem"}} {
		name := fmt.Sprintf("a%d.example.net", i)
		c.granted(`(?m)^request 1 \(CN=`+name+`\): granted$`, "enroll", append(append(proof(i, []string{"secret", "crmf"}[i]), form...),
			"--key", "key"+fmt.Sprint(i), "--subject", "CN="+name, "--san", name)...)
	}
	c.granted(`subject   CN=m.example.net`, "enroll", append(proof(3, "mac"), "--mac-hash", "--crmf", "--key", "m.key", "--subject", "CN=m.example.net")...)
	c.granted(`subject   CN=a0.example.net`, "renew", "--cert", "a.pem", "--key", "key0", "--new-key", "key0b", "--out", "a2.pem")
	c.granted(`subject   CN=a1.example.net`, "renew", "--cert", "b.pem", "--key", "key1", "--new-key", "key1b", "--crmf", "--linking", "--out", "b2.pem")

	ra := []string{"--cert", "ra.pem", "--cert-key", "ra.key"}
	if err := os.Mkdir(filepath.Join(d.site.dir, "issued"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.granted(`request 2 \(CN=y.site.example.net\): granted`, "batch", append(ra, "--out-dir", "issued", "x.der", "y.der")...)
	if got := c.subject("issued/x.pem") + " " + c.subject("issued/y.pem"); got != "CN=x.site.example.net CN=y.site.example.net" {
		t.Errorf("the files have certificates of %s", got)
	}
	c.granted(`subject   CN=w.site.example.net`, "enroll", append(ra, "--crmf", "--key", "w.key", "--subject", "CN=w.site.example.net")...)
	// One of two is refused.
	c.refused("request 2 (CN=z.example.net): refused, badRequest", "batch", append(ra, "x.der", "z.der")...)
	// The device signs, and its registration authority is at the other end of TLS.
	c.granted(`subject   CN=v.site.example.net`, "enroll", append(proof(2, "unused"), "--key", "v.key", "--subject", "CN=v.site.example.net", "--tls-cert", "ra.pem", "--tls-key", "ra.key")...)

	c.refused("the server answered 403 Forbidden; request 1 (CN=a0.example.net): refused, badIdentity", "enroll",
		append(proof(1, "secret"), "--key", "key2", "--subject", "CN=a0.example.net")...)
	c.refused("badIdentity", "enroll", "--key", "key2", "--subject", "CN=a0.example.net")
	c.refused("refused, badCertId", "query", "--token", "00", "--transaction", "01", "--key", "key0", "--cert", "a2.pem", "--cert-key", "key0b")
	scanFor(t, d.site, secrets)
}

// With a CA that can revoke: one's own certificate, and as a registration
// authority another's.
func TestTheClientRevokesByFullCMC(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	partner := newFactory(t)
	site := ownStepSite(ca, "crl", "anchors {\n\t\t\tpartner partner.pem {\n\t\t\t\tra_issuer\n\t\t\t}\n\t\t}")
	site.policy = strings.Replace(cmcPolicy, "    subject:", "      revoke: {own: true, by_ra: true}\n    subject:", 1)
	site.policy = strings.ReplaceAll(site.policy, "default: 30d", "default: 1d")
	site.files["partner.pem"] = armour("CERTIFICATE", partner.root.Raw)
	s := serve(t, site)
	c := &cmcClient{&cmcDevice{t: t, site: s}, s.tlsRoot()}
	c.pair("ra", partner.registrar(pkix.Name{CommonName: "ra.partner.example"}))
	ids, secrets := c.passwords(2)
	for i, name := range []string{"one.site", "two"} {
		write(t, s.dir, "secret", secrets[i])
		c.granted("granted", "enroll", "--identification", ids[i], "--secret-file", "secret", "--key", name+".key", "--subject", "CN="+name+".example.net", "--out", name+".pem")
	}
	c.refused("refused, badRequest", "revoke", "--cert", "one.site.pem", "--cert-key", "one.site.key", "two.pem")
	c.refused("refused, badCertId", "revoke", "--cert", "two.pem", "--cert-key", "two.key", "--serial", "0a", "--issuer", "two.pem")
	if serials := revoked(t, ca); len(serials) != 0 {
		t.Fatalf("revoked are %v", serials)
	}
	c.granted(`revocation of [0-9a-f]+: granted`, "revoke", "--cert", "two.pem", "--cert-key", "two.key", "--reason", "superseded", "two.pem")
	c.granted(`revocation of [0-9a-f]+: granted`, "revoke", "--cert", "ra.pem", "--cert-key", "ra.key", "--reason", "keyCompromise", "--comment", "stolen", "one.site.pem")
	if serials := revoked(t, ca); len(serials) != 2 {
		t.Errorf("revoked are %v\n%s", serials, s.log)
	}
}

// A registration authority of another partner, without a line in the policy, and a
// certificate that vouches for nothing here.
func TestTheClientTellsWhyFullCMCRefusesACertificate(t *testing.T) {
	t.Parallel()
	d, _ := newCMCDevice(t)
	c := &cmcClient{d, d.site.tlsRoot()}
	c.pair("stranger", newFactory(t).registrar(pkix.Name{CommonName: "ra.partner.example"}))
	c.refused("request 1 (CN=a.site.example.net): refused, badIdentity", "enroll",
		"--cert", "stranger.pem", "--cert-key", "stranger.key", "--key", "key", "--subject", "CN=a.site.example.net")
}
