// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/wire"
)

const (
	accountPFX = "account-0Qm4bZ7kx2"
	devicePFX  = "device-Vt8sLw1pYc5"
)

// pfxServer is keyServer with PKCS #12: one device and the account have a
// password, another device has none.
func pfxServer(t *testing.T) (f *factory, s *site) {
	t.Helper()
	f = newFactory(t)
	s = prepare(t, config{site: keygenSite, policy: strings.Replace(sealedKeys, "      enabled: true\n", "      enabled: true\n      form: pkcs12\n", 1), files: map[string]string{
		"factory.pem": armour("CERTIFICATE", f.root.Raw),
		"keys.csv":    "user,pkcs12_password\nhttp_basic:estuser," + accountPFX + "\n",
	}})
	s.env = append(s.env, "EST_REGISTRY_KEY="+registryKey)
	s.run()
	return f, s
}

// A PKCS #12 of the server's is what openssl reads, with the device's own
// certificate and its key.
func TestOpenSSLOpensAPKCS12(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	_, s := pfxServer(t)
	der, err := estclient.Request(rand.Reader, newKey(t), estclient.Template{Names: csr.Names{Subject: subjectOf(t, "CN=one.example.net")}}, "")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url("serverkeygen"), bytes.NewReader(wire.EncodeBody(der, false)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", wire.TypePKCS10)
	req.SetBasicAuth(user, password)
	res, err := s.client(nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/pkcs12" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s\n%s", res.StatusCode, res.Header, text.Bytes(), s.log)
	}
	pfx, _, err := wire.DecodeBody(text.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "device.p12", string(pfx))
	write(t, dir, "password", accountPFX+"\n")
	sh(t, dir, "openssl pkcs12 -in device.p12 -passin file:password -nodes -out device.pem")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "device.pem"), filepath.Join(dir, "device.pem"))
	if err != nil || len(pair.Certificate) != 1 || pair.Leaf.Subject.CommonName != "one.example.net" {
		t.Errorf("openssl has taken out %d certificates, %v", len(pair.Certificate), err)
	}
	sh(t, dir, "openssl pkcs12 -in device.p12 -passin file:password -info -noout 2>&1 | tee info")
	info, err := os.ReadFile(filepath.Join(dir, "info"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MAC: sha256", "PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256"} {
		if !strings.Contains(string(info), want) {
			t.Errorf("openssl doesn't say %q:\n%s", want, info)
		}
	}
}

func TestTheClientCommandAsksForAPKCS12(t *testing.T) {
	t.Parallel()
	f, s := pfxServer(t)
	dir := t.TempDir()
	for _, name := range []string{"SN-1", "SN-2"} {
		key := newKey(t)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		device := f.holderOf("ec.example.net", name, key, x509.KeyUsageDigitalSignature)
		write(t, dir, name+".pem", armour("CERTIFICATE", device.Certificate[0]))
		write(t, dir, name+".key", armour("PRIVATE KEY", private))
	}
	s.imports("issuer,serial_number,pkcs12_password\n" + fmt.Sprintf("%x,SN-1,%s\n%[1]x,SN-2,\n", f.root.SubjectKeyId, devicePFX))
	s.wrapsNothingInClear([]byte(devicePFX))
	write(t, dir, "device.password", devicePFX+"\n")
	write(t, dir, "account.password", accountPFX+"\n")
	write(t, dir, "empty.password", "\n")
	write(t, dir, "password", password+"\n")
	common := []string{"est", "client", "serverkeygen", "--url", fmt.Sprintf("https://localhost:%d", s.port), "--cacert", s.root("est"), "--subject", "CN=ec.example.net"}
	one, two := []string{"--cert", "SN-1.pem", "--cert-key", "SN-1.key"}, []string{"--cert", "SN-2.pem", "--cert-key", "SN-2.key"}
	basic := []string{"--user", user, "--password-file", "password"}
	for name, c := range map[string]struct {
		args []string
		file string
		code int
		says string
	}{
		"registry":                     {one, "device.password", 0, "in a PKCS #12, under the password"},
		"account":                      {basic, "account.password", 0, "in a PKCS #12, under the password"},
		"a device that has none":       {two, "device.password", 2, "no password of yours"},
		"another's":                    {basic, "device.password", 2, "doesn't open with this password"},
		"no password":                  {basic, "", 2, "no password for one"},
		"an empty password":            {basic, "empty.password", 3, "no password in its first line"},
		"a key to encrypt for instead": {append([]string{"--decrypt-with-cert"}, one...), "", 2, "leave decryptKeyID and asymmDecryptKeyID out"},
		"both":                         {append([]string{"--decrypt-with-cert"}, one...), "device.password", 3, "only one of them"},
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".made")
		args := append(append(append([]string{}, common...), c.args...), "--key", file, "--out", file+".pem")
		if c.file != "" {
			args = append(args, "--p12-password-file", c.file)
		}
		s.makesKey(dir, name, file, args, c.code, c.says)
	}
	for _, secret := range []string{devicePFX, accountPFX} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a password is in the log")
		}
	}
}
