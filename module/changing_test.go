// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
)

// put writes a file that is so old.
func put(t *testing.T, name string, text []byte, age time.Duration) {
	t.Helper()
	when := time.Now().Add(-age)
	if err := errors.Join(os.WriteFile(name, text, 0o600), os.Chtimes(name, when, when)); err != nil {
		t.Fatal(err)
	}
}

// putPair writes a certificate and its key.
func putPair(t *testing.T, dir string, pair tls.Certificate, age time.Duration) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "ra.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), age)
	put(t, filepath.Join(dir, "ra.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), age)
}

// No upstream needs a reload, nor a restart, for an RA certificate that was renewed.
func TestEachUpstreamShowsTheCertificateOfTheFilesAsTheyAreNow(t *testing.T) {
	t.Setenv("ESTRA_TOKEN", "hvs.x")
	root := ratest.NewRoot(t, "Root")
	registrar := func(life time.Duration) tls.Certificate {
		return root.Device(t, "ra.example", func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(life).Truncate(time.Second)
			c.ExtKeyUsage, c.UnknownExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
		})
	}
	first, second, device := registrar(time.Hour), registrar(2*time.Hour), root.Device(t, "device.example")
	type shows interface {
		caddy.Provisioner
		Upstream
	}
	for name, of := range map[string]func(addressOptions, clientOptions) shows{
		"est": func(a addressOptions, c clientOptions) shows { return &ESTServer{addressOptions: a, clientOptions: c} },
		"cfssl": func(a addressOptions, c clientOptions) shows {
			return &CFSSL{addressOptions: a, clientOptions: c, AuthKey: "00ff"}
		},
		"webhook": func(a addressOptions, c clientOptions) shows {
			return &WebhookCA{addressOptions: a, clientOptions: c, Secret: "c2l4dGVlbiBieXRlcyBsb25nIQ=="}
		},
		"ejbca": func(a addressOptions, c clientOptions) shows {
			return &EJBCA{addressOptions: a, clientOptions: c, CA: "c", CertificateProfile: "c", EndEntityProfile: "e"}
		},
		"vault": func(a addressOptions, c clientOptions) shows {
			return &Vault{addressOptions: a, clientOptions: c, vaultLogin: vaultLogin{Token: "{env.ESTRA_TOKEN}"}, Role: "r"}
		},
		"step_ca": func(a addressOptions, c clientOptions) shows {
			return &StepCA{addressOptions: a, Provisioner: "p", Key: c.Key, Certificate: c.Certificate}
		},
	} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "root.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate.Raw}), 0)
		putPair(t, dir, first, time.Hour)
		u := of(addressOptions{URL: "https://ca.example", Root: filepath.Join(dir, "root.pem")}, clientOptions{Certificate: filepath.Join(dir, "ra.pem"), Key: filepath.Join(dir, "ra.key")})
		if err := u.Provision(caddy.Context{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ends := func(want tls.Certificate, when string) {
			t.Helper()
			if got := u.Expiries()["ra_certificate"]; !got.Equal(want.Leaf.NotAfter) {
				t.Errorf("%s: %s, its certificate ends on %s, want %s", name, when, got, want.Leaf.NotAfter)
			}
		}
		ends(first, "at first")
		putPair(t, dir, second, time.Minute)
		ends(second, "after a renewal")
		if name == "est" || name == "step_ca" { // which no CA would take from an RA
			putPair(t, dir, device, time.Second)
			ends(second, "with a certificate that is for no RA")
		}
	}
}

func TestAStepCAIsShownTheKeyOfTheFileAsItIsNow(t *testing.T) {
	dir := stepCAFiles(t)
	file := filepath.Join(dir, "ra.jwk")
	u := &StepCA{addressOptions: addressOptions{URL: "https://ca.example:9000", Root: filepath.Join(dir, "root.pem")}, Provisioner: "est", Key: file}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	before := u.opener.now().JWK
	if u.opener.now().JWK != before {
		t.Error("a file that hasn't changed is read again")
	}
	put(t, file, []byte("half of a JWK"), time.Minute)
	if u.opener.now().JWK != before {
		t.Error("a file that can't be taken takes the place of the key")
	}
	key, _, err := stepca.NewJWK()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, file, text, 0)
	if got := u.opener.now().JWK.KeyID; got != key.KeyID || got == before.KeyID {
		t.Errorf("the key is %s, want %s", got, key.KeyID)
	}
}

// What a placeholder stands for changes as a file does.
func TestAPlaceholderIsReadAgain(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	put(t, name, []byte("one"), 0)
	parse := func(text string) (string, error) {
		if text == "bad" {
			return "", errors.New("it can't be taken")
		}
		return text, nil
	}
	for _, of := range []struct{ text, file string }{{text: "{file." + name + "}"}, {file: name}} {
		put(t, name, []byte("one"), time.Hour)
		get, err := credentialOf("auth_key", of.text, of.file, parse)
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range []struct{ text, want string }{{"one", "one"}, {"two", "two"}, {"bad", "two"}, {"three", "three"}} {
			put(t, name, []byte(step.text), time.Duration(10-i)*time.Minute)
			if got := get(); got != step.want {
				t.Errorf("%v: with %s it is %s, want %s", of, step.text, got, step.want)
			}
		}
	}
}
