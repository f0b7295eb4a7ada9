// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// Each CA that a test stops, freezes or rotates is its own; the others share.

func TestDevicesEnrolAndReenrolAtStepCA(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	sites := map[string]config{"JWK": jwkSite(ca, ""), "X5C": x5cSite(ca)}
	for name, c := range sites {
		t.Run(name+" provisioner, curl and openssl", func(t *testing.T) {
			t.Parallel()
			testEnrolAtStepCA(t, serve(t, c), ca)
		})
		t.Run(name+" provisioner, estclient", func(t *testing.T) {
			t.Parallel()
			testLinkedAtStepCA(t, serve(t, c), ca)
		})
	}
}

// testEnrolAtStepCA looks at the certificates with crypto/x509 and openssl:
// it doesn't rely on ra.Conforms.
func testEnrolAtStepCA(t *testing.T, s *site, ca *stepcatest.CA) {
	d := newDevice(t, s)
	sh(t, d.dir, d.curl+" "+s.url("cacerts")+" | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -out bag.pem")

	d.csr("one", "/CN=a.example.net/O=Evil Corp", "DNS:a.example.net,DNS:b.example.net -addext extendedKeyUsage=serverAuth,clientAuth")
	first := d.issued("devices/simpleenroll", "one", basicOption)
	one := d.certificate("one")
	d.planned(one, ca)
	if got := fmt.Sprintf("%x", one.SerialNumber); got != first.Serial || one.SerialNumber.BitLen() < 150 {
		t.Errorf("the serial number is %s, want ours, %s", got, first.Serial)
	}
	if first.Conforms == nil || !*first.Conforms || first.Outcome != "issued" || first.Upstream == nil || first.Upstream.Name != "step_ca" {
		t.Errorf("the record says conforms %v, outcome %s, upstream %+v", first.Conforms, first.Outcome, first.Upstream)
	}
	if !strings.Contains(ca.Written(), string(first.ID)) {
		t.Error("step-ca's log lacks the request id")
	}

	d.csr("two", "/CN=a.example.net/O=Example Net", "DNS:b.example.net,DNS:a.example.net")
	second := d.issued("simplereenroll", "two", "--cert one.pem --key one.key")
	two := d.certificate("two")
	d.planned(two, ca)
	if bytes.Equal(one.RawSubjectPublicKeyInfo, two.RawSubjectPublicKeyInfo) || one.SerialNumber.Cmp(two.SerialNumber) == 0 {
		t.Error("the second certificate has the key or the serial number of the first")
	}
	if second.Who == nil || second.Who.Anchor != "ours" || second.Who.Method != "client_cert" || second.ReplacesSerial != first.Serial {
		t.Errorf("the record has who %+v, replaces %s; want ours, %s", second.Who, second.ReplacesSerial, first.Serial)
	}
	// The key of the certificate that is renewed must change.
	d.refused(d.ask("simplereenroll", "two", "--cert two.pem --key two.key"), 403, "key must change")
}

// planned compares a certificate with the policy's one plan.
func (d *device) planned(c *x509.Certificate, ca *stepcatest.CA) {
	d.t.Helper()
	if got := c.Subject.ToRDNSequence().String(); got != "O=Example Net,CN=a.example.net" && got != "CN=a.example.net,O=Example Net" {
		d.t.Errorf("the subject is %s", got)
	}
	names := slices.Sorted(slices.Values(c.DNSNames))
	if !slices.Equal(names, []string{"a.example.net", "b.example.net"}) || len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) > 0 {
		d.t.Errorf("the SAN is %v", names)
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.UnknownExtKeyUsage) > 0 {
		d.t.Errorf("the key usage is %b, the extended one %v %v", c.KeyUsage, c.ExtKeyUsage, c.UnknownExtKeyUsage)
	}
	if got := c.NotAfter.Sub(c.NotBefore); got != 30*24*time.Hour-time.Second {
		d.t.Errorf("it lives for %s, want 30 days, the last second included", got)
	}
	if age := time.Since(c.NotBefore); age < 0 || age > time.Minute {
		d.t.Errorf("it begins %s ago", age)
	}
	if c.IsCA || c.CheckSignatureFrom(ca.Intermediate) != nil {
		d.t.Error("it is a CA, or step-ca's intermediate didn't sign it")
	}
	write(d.t, d.dir, "leaf.pem", armour("CERTIFICATE", c.Raw))
	sh(d.t, d.dir, "openssl verify -purpose sslclient -CAfile bag.pem leaf.pem")
}

// testLinkedAtStepCA lets our own client link its requests to the channel,
// by both TLS versions.
func testLinkedAtStepCA(t *testing.T, s *site, ca *stepcatest.CA) {
	for _, version := range tlsVersions {
		c := s.estClient(version)
		key := newKey(t)
		done, err := c.Enroll(t.Context(), key, namesOf(t, "a.example.net"))
		if err != nil {
			t.Fatal(err)
		}
		if r := s.record(done.RequestID); r.TLS == nil || r.TLS.Linked != "matched" {
			t.Errorf("the record of the enrolment has %+v", r.TLS)
		}
		if linking, by := evidenceAt(t, ca, done.RequestID); linking != "matched" || by != binding.TypeOf(version) {
			t.Errorf("step-ca was told linking %q by %q", linking, by)
		}
		c.Basic = nil
		again, err := c.Reenroll(t.Context(), pairOf(done, key), newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		if r := s.record(again.RequestID); r.TLS == nil || r.TLS.Linked != "matched" || r.Outcome != "issued" {
			t.Errorf("the record of the renewal has %+v, outcome %s", r.TLS, r.Outcome)
		}
		if !bytes.Equal(again.Certificate.RawSubject, done.Certificate.RawSubject) {
			t.Errorf("the renewal has the subject %s", again.Certificate.Subject)
		}
	}
}

// evidenceAt is what step-ca was told of a request, by the tokens in its log.
func evidenceAt(t *testing.T, ca *stepcatest.CA, id string) (linking, by string) {
	t.Helper()
	for line := range strings.Lines(ca.Written()) {
		var entry struct {
			Token string `json:"ott"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil || strings.Count(entry.Token, ".") != 2 {
			continue
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(entry.Token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Estra struct {
				Evidence struct {
					RequestID string `json:"requestId"`
					Linking   string `json:"linking"`
					Binding   string `json:"binding"`
				} `json:"evidence"`
			} `json:"estra"`
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if e := claims.Estra.Evidence; e.RequestID == id {
			return e.Linking, e.Binding
		}
	}
	t.Fatalf("step-ca's log has no token of request %s", id)
	return "", ""
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate reads NAME.pem.
func (d *device) certificate(name string) *x509.Certificate {
	d.t.Helper()
	src, err := os.ReadFile(filepath.Join(d.dir, name+".pem"))
	if err != nil {
		d.t.Fatal(err)
	}
	block, _ := pem.Decode(src)
	if block == nil {
		d.t.Fatalf("%s.pem holds no certificate", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}
