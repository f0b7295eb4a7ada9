// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// credential is an RA certificate with its key, in PEM.
func credential(t testing.TB, change ...func(*x509.Certificate)) (certs, key []byte) {
	t.Helper()
	device := ratest.NewRoot(t, "RA Root").Device(t, "est-ra", append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
	}}, change...)...)
	for _, der := range device.Certificate {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return certs, pkcs8(t, device.PrivateKey)
}

func pkcs8(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	x5c, err := stepca.ParseX5C(credential(t))
	if err != nil {
		t.Fatal(err)
	}
	public := newJWK(t).Public()
	cases := []struct {
		name   string
		change func(*stepca.Config)
		says   string
	}{
		{"no URL", func(c *stepca.Config) { c.URL = "" }, "isn't an https URL"},
		{"plain HTTP", func(c *stepca.Config) { c.URL = "http://ca.example" }, "isn't an https URL"},
		{"no host", func(c *stepca.Config) { c.URL = "https://:9000" }, "names no host"},
		{"a path", func(c *stepca.Config) { c.URL = "https://ca.example/1.0/sign" }, "more than a host"},
		{"a query", func(c *stepca.Config) { c.URL = "https://ca.example?x" }, "more than a host"},
		{"a password", func(c *stepca.Config) { c.URL = "https://me:secret@ca.example" }, "user name"},
		{"a password in no URL", func(c *stepca.Config) { c.URL = "https://me:secret@ca.example:port" }, "isn't a URL"},
		{"no root", func(c *stepca.Config) { c.Roots = nil }, "no root certificate"},
		{"no provisioner", func(c *stepca.Config) { c.Provisioner = "" }, "no provisioner"},
		{"no key", func(c *stepca.Config) { c.JWK = nil }, "neither a JWK nor an X5C"},
		{"two keys", func(c *stepca.Config) { c.X5C = x5c }, "has one"},
		{"a public key", func(c *stepca.Config) { c.JWK = &public }, "no private part"},
		{"a key without a name", func(c *stepca.Config) { c.JWK = &jose.JSONWebKey{Key: c.JWK.Key} }, "no kid"},
		{"an empty key", func(c *stepca.Config) { c.JWK = &jose.JSONWebKey{} }, "EC, RSA or Ed25519 private key"},
		{"an empty X5C credential", func(c *stepca.Config) { c.JWK, c.X5C = nil, &stepca.X5C{} }, "needs a certificate"},
		{"a negative timeout", func(c *stepca.Config) { c.Timeout = -1 }, "negative"},
		{"a negative number of connections", func(c *stepca.Config) { c.MaxConns = -1 }, "make no sense"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := stepca.Config{
				URL: "https://ca.example:9000", Roots: []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate},
				Provisioner: "est-ra", JWK: newJWK(t),
			}
			if _, err := stepca.New(cfg); err != nil {
				t.Fatalf("the good configuration: %v", err)
			}
			c.change(&cfg)
			_, err := stepca.New(cfg)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestParseJWK(t *testing.T) {
	private := newJWK(t)
	plain, err := json.Marshal(private)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := jose.EncryptJWK(private, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := encrypted.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	nameless, err := json.Marshal(&jose.JSONWebKey{Key: private.Key})
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range []struct{ name, data, password string }{
		{"plain", string(plain), ""},
		{"plain, with a password that isn't needed", string(plain), "x"},
		{"plain, in lines", "\n " + string(plain) + "\n", ""},
		{"encrypted, compact", compact + "\n", "correct horse"},
		{"encrypted, JSON", encrypted.FullSerialize(), "correct horse"},
		{"without kid", string(nameless), ""},
	} {
		t.Run("takes a key that is "+good.name, func(t *testing.T) {
			key, err := stepca.ParseJWK([]byte(good.data), []byte(good.password))
			if err != nil {
				t.Fatal(err)
			}
			if key.KeyID != private.KeyID { // NewJWK names it by its thumbprint
				t.Errorf("kid is %q, want the thumbprint %q", key.KeyID, private.KeyID)
			}
		})
	}
	public, err := json.Marshal(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ name, data, password, says string }{
		{"nothing", "", "", "neither a JWK"},
		{"no JSON", "hunter2", "", "neither a JWK"},
		{"JSON of another kind", `{"d":"hunter2"}`, "", "neither a JWK"},
		{"a symmetric key", `{"kty":"oct","k":"aHVudGVyMg"}`, "", "EC, RSA or Ed25519 private key"},
		{"a public key", string(public), "", "no private part"},
		{"a key for encryption", strings.Replace(string(plain), `"use":"sig"`, `"use":"enc"`, 1), "", "not for signatures"},
		{"an encrypted key without a password", compact, "", "no password"},
		{"an encrypted key with another password", compact, "hunter2", "can't be decrypted"},
	} {
		t.Run("refuses "+bad.name, func(t *testing.T) {
			_, err := stepca.ParseJWK([]byte(bad.data), []byte(bad.password))
			if err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Fatalf("got %v, want %q", err, bad.says)
			}
			for _, secret := range []string{"hunter2", "aHVudGVyMg"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v shows the data", err)
				}
			}
		})
	}
}

func TestKeysOfEveryKindSignTokens(t *testing.T) {
	for _, kind := range []string{"P-256", "P-384", "P-521", "rsa2048", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			data, err := json.Marshal(&jose.JSONWebKey{Key: csrtest.Key(t, kind)})
			if err != nil {
				t.Fatal(err)
			}
			key, err := stepca.ParseJWK(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = stepca.New(stepca.Config{
				URL: "https://ca.example", Roots: []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate},
				Provisioner: "p", JWK: key,
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseX5C(t *testing.T) {
	certs, key := credential(t)
	x5c, err := stepca.ParseX5C(certs, key)
	if err != nil || len(x5c.Chain) != 2 {
		t.Fatalf("got %v, %v", x5c, err)
	}
	for _, bad := range []struct {
		name   string
		certs  []byte
		key    []byte
		change func(*x509.Certificate)
		says   string
	}{
		{name: "no certificate", certs: []byte("none"), key: key, says: "no PEM certificate"},
		{name: "a broken certificate", certs: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), key: key, says: "certificate 1"},
		{name: "no key", certs: certs, key: []byte("hunter2"), says: "isn't PEM"},
		{name: "a broken key", certs: certs, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}), says: "no PKCS #8"},
		{name: "another's key", certs: certs, key: pkcs8(t, ratest.NewKey(t)), says: "doesn't belong"},
		{name: "no cmcRA", change: func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }, says: "id-kp-cmcRA"},
		{name: "no clientAuth", change: func(c *x509.Certificate) { c.ExtKeyUsage = nil }, says: "clientAuth"},
		{name: "no digitalSignature", change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, says: "digital signatures"},
	} {
		t.Run("refuses "+bad.name, func(t *testing.T) {
			if bad.change != nil {
				bad.certs, bad.key = credential(t, bad.change)
			}
			_, err := stepca.ParseX5C(bad.certs, bad.key)
			if err == nil || !strings.Contains(err.Error(), bad.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, bad.says)
			}
		})
	}
}

func TestAnX5CCertificateMustOutliveTheDevices(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		end  time.Time
		kind ra.Kind
		says string
	}{
		{"expired", now.Add(-time.Hour), ra.UpstreamDown, "expired on"},
		{"ends before the device's", now.Add(time.Hour), ra.UpstreamRefused, "use a JWK provisioner"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x5c, err := stepca.ParseX5C(credential(t, func(leaf *x509.Certificate) { leaf.NotAfter = c.end }))
			if err != nil {
				t.Fatal(err)
			}
			up, calls := server(t, nil, func(cfg *stepca.Config) { cfg.JWK, cfg.X5C = nil, x5c })
			_, err = up.Issue(t.Context(), order(t))
			if e := upstreamtest.Fails(t, err, c.kind); !strings.Contains(e.Reason, c.says) || calls.Load() != 0 {
				t.Errorf("after %d calls: %v", calls.Load(), e)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	up, _ := server(t, nil)
	if can := up.Carries(); !can.Subject || !can.SAN || !can.KeyUsage || !can.ExtKeyUsage || !can.Extensions || !can.Serial || can.MaxValidity != 0 {
		t.Errorf("it carries %+v", can)
	}
	tolerated := up.Tolerates()
	if tolerated.Backdate != 0 || !slices.Contains(tolerated.Extensions, "1.3.6.1.4.1.37476.9000.64.1") {
		t.Errorf("it tolerates %+v", tolerated)
	}
}
