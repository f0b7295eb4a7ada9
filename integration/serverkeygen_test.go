// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
	"github.com/caddy-est/estra/ra/wire"
)

// keys is the policy devices, with keys that are made for them.
var keys = strings.Replace(threeUsers, "    subject:\n", "    serverkeygen: {enabled: true, encryption: if_asked}\n    subject:\n", 1)

func TestKeysAreMadeForDevicesAtEachCA(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	for name, c := range map[string]config{
		"internal": {site: strings.Replace(smallest, "estuser HASH", "estuser HASH\nsecond HASH\nthird HASH", 1)},
		"JWK":      jwkSite(ca, ""), "X5C": x5cSite(ca),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.policy = keys
			s := serve(t, c)
			client := s.estClient(tls.VersionTLS13)
			first, err := client.ServerKeygen(t.Context(), namesOf(t, "a.example.net"), estclient.DecryptKey{})
			if err != nil {
				t.Fatalf("%v\n%s", err, s.log)
			}
			again, err := client.ServerKeygen(t.Context(), namesOf(t, "a.example.net"), estclient.DecryptKey{})
			if err != nil {
				t.Fatal(err)
			}
			if first.Key.Public().(*ecdsa.PublicKey).Equal(again.Key.Public()) {
				t.Error("the key is the same twice")
			}
			record := s.record(again.RequestID)
			if record.TLS.Linked != "unproven" || record.Made == nil || len(record.Made.Superseded) != 1 {
				t.Fatalf("the record says linked %s, %+v", record.TLS.Linked, record.Made)
			}
			if old := record.Made.Superseded[0]; old.Serial != hex.EncodeToString(first.Certificate.SerialNumber.Bytes()) || !old.Revoked {
				t.Errorf("superseded is %+v, and the first certificate %x", old, first.Certificate.SerialNumber)
			}
			// Any key that was seen is one that is kept nowhere.
			for _, key := range []crypto.Signer{first.Key, again.Key} {
				s.keepsNothingOf(key)
			}
		})
	}
}

// keepsNothingOf looks for a private key in all that the server has written.
func (s *site) keepsNothingOf(key crypto.Signer) {
	s.t.Helper()
	secret, err := key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.sync()
	forms := [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(base64.StdEncoding.EncodeToString(der)[:60])}
	look := func(where string, text []byte) {
		for _, form := range forms {
			if bytes.Contains(text, form) {
				s.t.Errorf("a private key is in %s", where)
			}
		}
	}
	look("the log", []byte(s.log.String()))
	err = filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // a file that went meanwhile
		}
		if text, err := os.ReadFile(path); err == nil {
			look(path, text)
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}

// holder is a device with a certificate that may be encrypted for.
func (f *factory) holder(name string, key crypto.Signer, usage x509.KeyUsage) tls.Certificate {
	f.t.Helper()
	return f.holderOf(name, "SN-1", key, usage)
}

func (f *factory) holderOf(name, serial string, key crypto.Signer, usage x509.KeyUsage) tls.Certificate {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: name, SerialNumber: serial}, SubjectKeyId: []byte("key of " + name),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: usage, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, f.root, key.Public(), f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

const keygenSite = `localhost:PORT {
	est {
		policy policy.yaml
		anchors {
			idevid factory.pem {
				any_eku
			}
		}
		registry sensors
		decrypt_keys {
			registry_key {env.EST_REGISTRY_KEY}
			file keys.csv
		}
		basic {
			estuser HASH
		}
	}
}
`

const sealedKeys = `version: 1
name: KEYS
default: sensors
profiles:
  sensors:
    labels: [devices]
    serverkeygen:
      enabled: true
      who:
        - client_cert: {anchor: idevid, registry: sensors}
          checks: [{id: its-own, rule: 'csr.subject.CN == who.cert.subject.CN', message: the name is that of the certificate}]
        - http_basic: {users: [estuser]}
    subject:
      CN: {require: true, allow: ["*.example.net"]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

// What the device has asked for in CBC and by RSA, openssl opens.
func TestOpenSSLOpensAKeyThatWasMade(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	f, s := keyServer(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	device := f.holder("rsa.example.net", key, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment)
	s.imports("issuer,serial_number\n" + hex.EncodeToString(f.root.SubjectKeyId) + ",SN-1\n")
	attribute := func(oid string, value any) csr.Attribute {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := csr.TypeOID(oid)
		return csr.Attribute{Type: id, Values: [][]byte{der}}
	}
	type capability struct{ ID asn1.ObjectIdentifier }
	template := estclient.Template{Names: csr.Names{Subject: subjectOf(t, "CN=rsa.example.net")}, Attributes: []csr.Attribute{
		attribute(csr.OIDAsymmDecryptKeyID, device.Leaf.SubjectKeyId),
		attribute(csr.OIDSMIMECapabilities, []capability{{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}}, {asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}}}),
	}}
	der, err := estclient.Request(rand.Reader, newKey(t), template, "")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url("serverkeygen"), bytes.NewReader(wire.EncodeBody(der, false)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", wire.TypePKCS10)
	res, err := s.client(func(c *tls.Config) { c.Certificates = []tls.Certificate{device} }).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := wire.DecodeParts(res.Header.Get("Content-Type"), text)
	if err != nil || !answer.Encrypted || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s: %v\n%s", res.StatusCode, text, err, s.log)
	}
	dir := t.TempDir()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "device.key", armour("PRIVATE KEY", private))
	write(t, dir, "key.p7m", string(answer.Key))
	sh(t, dir, "openssl cms -decrypt -inform DER -in key.p7m -inkey device.key -out signed.bare")
	bare, err := os.ReadFile(filepath.Join(dir, "signed.bare"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := cms.Content{Type: cms.IDSignedData, Bytes: bare}.Message()
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "signed.der", string(signed))
	// The server's own certificate has signed; the root is that of its CA.
	sh(t, dir, "openssl cms -verify -binary -inform DER -in signed.der -CAfile "+s.root("est")+" -purpose any -out package.der 2>&1")
	pack, err := os.ReadFile(filepath.Join(dir, "package.der"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := cms.ReadKeyPackage(pack)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
	certs, err := cms.ParseCertsOnly(answer.Certificates)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParsePKCS8PrivateKey(list[0])
	if err != nil || !made.(*ecdsa.PrivateKey).PublicKey.Equal(certs[0].PublicKey) {
		t.Errorf("the certificate is of another key: %v", err)
	}
}

const registryKey = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8="

// keyServer runs keygenSite, with a file of keys of accounts.
func keyServer(t *testing.T) (*factory, *site) {
	t.Helper()
	f := newFactory(t)
	s := prepare(t, config{site: keygenSite, policy: sealedKeys, files: map[string]string{
		"factory.pem": armour("CERTIFICATE", f.root.Raw),
		"keys.csv":    "user,decrypt_key_id,decrypt_key\nhttp_basic:estuser,6163636f756e74," + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{3}, 16)) + "\n",
	}})
	s.env = append(s.env, "EST_REGISTRY_KEY="+registryKey)
	s.run()
	return f, s
}

// imports puts a list into the registry of the running server.
func (s *site) imports(list string) {
	s.t.Helper()
	write(s.t, s.dir, "list.csv", list)
	if out, errs, code := runCaddy(s.t, s.dir, "est", "device", "import", "--registry", "sensors", "--address", s.admin, "list.csv"); code != 0 {
		s.t.Fatalf("exit %d\n%s%s\n%s", code, out, errs, s.log)
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

// The command is a device: it asks in each form, and writes the key for its
// owner alone.
func TestTheClientCommandAsksForKeysInEachForm(t *testing.T) {
	t.Parallel()
	f, s := keyServer(t)
	key := newKey(t)
	device := f.holder("ec.example.net", key, x509.KeyUsageKeyAgreement|x509.KeyUsageDigitalSignature)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	agreement := newKey(t)
	other, err := x509.MarshalPKCS8PrivateKey(agreement)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(agreement.Public())
	if err != nil {
		t.Fatal(err)
	}
	wrap := bytes.Repeat([]byte{9}, 32)
	s.imports("issuer,serial_number,decrypt_key_id,decrypt_key,asymm_decrypt_key_id,asymm_decrypt_key\n" +
		fmt.Sprintf("%x,SN-1,77726170,%s,0102,%s\n", f.root.SubjectKeyId, base64.StdEncoding.EncodeToString(wrap), base64.StdEncoding.EncodeToString(spki)) +
		fmt.Sprintf("%x,SN-2,6f74686572,%s,,\n", f.root.SubjectKeyId, base64.StdEncoding.EncodeToString(wrap)))
	s.wrapsNothingInClear(wrap)
	dir := t.TempDir()
	write(t, dir, "device.pem", armour("CERTIFICATE", device.Certificate[0]))
	write(t, dir, "device.key", armour("PRIVATE KEY", private))
	write(t, dir, "other.key", armour("PRIVATE KEY", other))
	write(t, dir, "wrap.key", hex.EncodeToString(wrap)+"\n")
	write(t, dir, "account.key", hex.EncodeToString(bytes.Repeat([]byte{3}, 16))+"\n")
	write(t, dir, "password", password+"\n")
	common := []string{"est", "client", "serverkeygen", "--url", fmt.Sprintf("https://localhost:%d", s.port), "--cacert", s.root("est"), "--subject", "CN=ec.example.net"}
	cert, basic := []string{"--cert", "device.pem", "--cert-key", "device.key"}, []string{"--user", user, "--password-file", "password"}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"certificate":  {append([]string{"--decrypt-with-cert"}, cert...), 0, "encrypted, and signed by CN=localhost"},
		"registry":     {append([]string{"--decrypt-key-id", "77726170", "--decrypt-key-file", "wrap.key"}, cert...), 0, "encrypted"},
		"public":       {append([]string{"--asymm-decrypt-key-id", "0102", "--asymm-decrypt-key", "other.key"}, cert...), 0, "encrypted"},
		"account":      {append([]string{"--decrypt-key-id", "61:63:63:6f:75:6e:74", "--decrypt-key-file", "account.key"}, basic...), 0, "encrypted"},
		"clear":        {cert, 2, "encrypted only"},
		"another's":    {append([]string{"--decrypt-key-id", "6f74686572", "--decrypt-key-file", "wrap.key"}, cert...), 2, "can't be encrypted as asked"},
		"the device's": {append([]string{"--decrypt-key-id", "77726170", "--decrypt-key-file", "wrap.key"}, basic...), 2, "can't be encrypted as asked"},
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".made")
		args := append(append(append([]string{}, common...), c.args...), "--key", file, "--out", file+".pem")
		s.makesKey(dir, name, file, args, c.code, c.says)
	}
}

// makesKey runs `caddy est client serverkeygen`, which leaves the key for its
// owner alone where it ends with 0, and no file where it doesn't.
func (s *site) makesKey(dir, name, file string, args []string, want int, says string) {
	s.t.Helper()
	_, errs, code := runCaddy(s.t, dir, args...)
	if code != want || !strings.Contains(errs, says) {
		s.t.Errorf("%s: exit %d\n%s\n%s", name, code, errs, s.log)
		return
	}
	info, err := os.Stat(file)
	if want == 0 && (err != nil || info.Mode().Perm() != 0o600) || want != 0 && err == nil {
		s.t.Errorf("%s: the file of the key: %v, %v", name, info, err)
	}
	if want != 0 {
		return
	}
	if _, err := tls.LoadX509KeyPair(file+".pem", file); err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
}

// wrapsNothingInClear looks for a key of a registry in the store's files.
func (s *site) wrapsNothingInClear(key []byte) {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "est", "store.db*"))
	if err != nil || len(found) == 0 {
		s.t.Fatalf("no store: %v", err)
	}
	for _, name := range found {
		if text, err := os.ReadFile(name); err == nil && bytes.Contains(text, key) {
			s.t.Errorf("the key of a device is in %s", name)
		}
	}
}

// RFC 8635, the operator-driven way: the policy to start from, as it is.
func TestAStationGetsTheKeyOfABGPsecRouter(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../examples/policies/bgpsec.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := newFactory(t)
	s := serve(t, config{policy: string(source), files: map[string]string{"noc.pem": armour("CERTIFICATE", f.root.Raw), "noc.crl": f.crl(1)}, site: `localhost:PORT {
	est {
		policy policy.yaml
		anchors {
			noc noc.pem {
				crl noc.crl
			}
		}
		basic {
			noc-east HASH
			noc-west HASH
		}
	}
}
`})
	key := newKey(t)
	station := f.holder("noc-east", key, x509.KeyUsageKeyAgreement|x509.KeyUsageDigitalSignature)
	client := s.estClient(tls.VersionTLS12)
	client.Label, client.Link, client.Certificate = "as64496", false, &station
	client.Basic = &estclient.Credentials{User: "noc-east", Password: password}
	with, err := estclient.AsymmetricKey(station.Leaf.SubjectKeyId, key)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(subject string, with estclient.DecryptKey) (*estclient.Generated, error) {
		return client.ServerKeygen(t.Context(), estclient.Template{Names: csr.Names{Subject: subjectOf(t, subject)}}, with)
	}
	made, err := ask("CN=ROUTER-0000FBF0, serialNumber=C0000201", with)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	cert := made.Certificate
	router := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 30}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || public.Curve.Params().Name != "P-256" || len(cert.UnknownExtKeyUsage) != 1 || !cert.UnknownExtKeyUsage[0].Equal(router) {
		t.Errorf("the certificate has %T and the usages %v", cert.PublicKey, cert.UnknownExtKeyUsage)
	}
	numbers := false
	for _, e := range cert.Extensions {
		numbers = numbers || e.Id.String() == "1.3.6.1.5.5.7.1.8" && e.Critical
	}
	if !numbers || !made.Encrypted {
		t.Errorf("encrypted %t, AS numbers %t", made.Encrypted, numbers)
	}
	for name, err := range map[string]error{
		"in clear":                   failure(ask("CN=ROUTER-0000FBF0, serialNumber=C0000201", estclient.DecryptKey{})),
		"the other station's router": failure(ask("CN=ROUTER-0000FBF0, serialNumber=C6336401", with)),
	} {
		if err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func failure[T any](_ T, err error) error { return err }
