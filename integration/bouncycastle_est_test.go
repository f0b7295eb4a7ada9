// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/digest"
)

// castleDevice is a device whose EST client is Bouncy Castle's.
type castleDevice struct {
	t    *testing.T
	site *site
	c    *castle
	root string
	key  *ecdsa.PrivateKey
}

// serveCastle adds a host to a site, and waits until it has its certificate.
func serveCastle(t *testing.T, c config) *site {
	t.Helper()
	c.site = strings.Replace(c.site, "localhost:PORT", "localhost:PORT, "+castleHost+":PORT", 1)
	s := serve(t, c)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{ServerName: castleHost, RootCAs: s.tlsPool()})
		if err == nil {
			conn.Close()
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("%v\n%s", err, s.log)
		}
	}
}

func newCastleDevice(t *testing.T, s *site) *castleDevice {
	t.Helper()
	src, err := os.ReadFile(s.tlsRoot())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(src)
	return &castleDevice{t: t, site: s, c: bouncyCastle(t), root: b64(block.Bytes), key: newKey(t)}
}

func (d *castleDevice) try(op string, more ...string) (url.Values, error) {
	d.t.Helper()
	question := form(append(more, "op", op, "host", castleHost, "port", fmt.Sprint(d.site.port), "root", d.root,
		"key", pkcs8(d.t, d.key), "public", spki(d.t, &d.key.PublicKey))...)
	return d.c.try(d.t, "est", question)
}

func (d *castleDevice) call(op string, more ...string) url.Values {
	d.t.Helper()
	answer, err := d.try(op, more...)
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", op, err, d.site.log)
	}
	return answer
}

// enrol must give one certificate, over the device's key.
func (d *castleDevice) enrol(op string, more ...string) *x509.Certificate {
	d.t.Helper()
	all := certificatesOf(d.t, d.call(op, more...))
	if len(all) != 1 || !d.key.PublicKey.Equal(all[0].PublicKey) {
		d.t.Fatalf("%s: %d certificates, want one over the device's key", op, len(all))
	}
	return all[0]
}

var castleBasic = []string{"user", user, "password", password}

// with adds to a list without changing it.
func with(list []string, more ...string) []string { return append(slices.Clone(list), more...) }

// names are those of the certificate that the policy `devices` gives.
func (d *castleDevice) names(cert *x509.Certificate) {
	d.t.Helper()
	if cert.Subject.CommonName != "a.example.net" || !slices.Equal(cert.Subject.Organization, []string{"Example Net"}) {
		d.t.Errorf("the subject is %s", cert.Subject)
	}
}

func TestADeviceEnrolsAndReenrolsWithBouncyCastle(t *testing.T) {
	t.Parallel()
	s := serveCastle(t, config{site: smallest, policy: devices})
	for _, version := range []string{"TLSv1.2", "TLSv1.3"} {
		t.Run(version, func(t *testing.T) {
			d := newCastleDevice(t, s)
			bag := d.call("cacerts", "tls", version)
			subjects := ""
			for _, cert := range certificatesOf(t, bag) {
				subjects += cert.Subject.CommonName + "\n"
			}
			if bag.Get("trusted") != "true" || !strings.Contains(subjects, "Estra Root") || !strings.Contains(subjects, "Estra Issuing CA") {
				t.Errorf("/cacerts: trusted %q, subjects\n%s", bag.Get("trusted"), subjects)
			}
			if attrs := d.call("csrattrs", "tls", version)["attribute"]; !slices.Contains(attrs, "1.2.840.10045.2.1") {
				t.Errorf("/csrattrs does not name the key type: %q", attrs)
			}
			one := d.enrol("enroll", with(castleBasic, "tls", version, "label", "devices", "subject", "CN=a.example.net")...)
			d.names(one)
			client := []string{"tls", version, "clientKey", pkcs8(t, d.key), "clientCert", b64(one.Raw)}
			d.key = newKey(t)
			two := d.enrol("reenroll", with(client, "subject", "CN=a.example.net,O=Example Net")...)
			d.names(two)
		})
	}
}

// ESTService sends without credentials first, and answers the challenge.
func TestBouncyCastleIsRefusedWhatItMayNot(t *testing.T) {
	t.Parallel()
	s := serveCastle(t, config{site: smallest, policy: devices})
	d := newCastleDevice(t, s)
	for name, c := range map[string]struct {
		status string
		more   []string
	}{
		"a wrong password":       {"401", []string{"user", user, "password", "wrong", "subject", "CN=a.example.net"}},
		"another's name":         {"403", with(castleBasic, "subject", "CN=evil.example.com")},
		"a label that isn't any": {"404", with(castleBasic, "subject", "CN=a.example.net", "label", "toasters")},
	} {
		if answer, err := d.try("enroll", c.more...); err == nil || answer.Get("status") != c.status {
			t.Errorf("%s: status %q, error %v, want %s", name, answer.Get("status"), err, c.status)
		}
	}
}

// It reads the first challenge, and only one without `algorithm`: MD5.
func TestBouncyCastleAnswersADigestChallenge(t *testing.T) {
	t.Parallel()
	account, err := digest.NewAccount(user, digest.Realm, digest.MD5, password)
	if err != nil {
		t.Fatal(err)
	}
	s := serveCastle(t, config{
		site: digestSite, policy: strings.Replace(digestPolicy, "[estuser, old]", "[estuser]", 1),
		files: map[string]string{"accounts.txt": account.Line()},
	})
	d := newCastleDevice(t, s)
	d.names(d.enrol("enroll", with(castleBasic, "subject", "CN=a.example.net")...))
	if answer, err := d.try("enroll", "user", user, "password", "wrong", "subject", "CN=a.example.net"); err == nil || answer.Get("status") != "401" {
		t.Errorf("a wrong password: status %q, error %v", answer.Get("status"), err)
	}
	if who, _ := s.audits()[1]["who"].(map[string]any); who["method"] != "digest" || who["id"] != user {
		t.Errorf("who: %v", who) // the record before it is that of the challenge
	}
}

// The value is tls-unique of Bouncy Castle's own TLS. On TLS 1.3 it gives the
// exporter's value during the handshake alone, which its EST client doesn't use.
func TestBouncyCastleLinksItsRequest(t *testing.T) {
	t.Parallel()
	s := serveCastle(t, config{site: smallest, policy: linked})
	d := newCastleDevice(t, s)
	request := with(castleBasic, "tls", "TLSv1.2", "subject", "CN=a.example.net")
	d.names(d.enrol("enroll", with(request, "linked", "yes")...))
	records := s.audits()
	seen, _ := records[len(records)-1]["tls"].(map[string]any)
	if seen["linked"] != "matched" || seen["version"] != "1.2" {
		t.Errorf("the record has %v", seen)
	}
	if answer, err := d.try("enroll", request...); err == nil || answer.Get("status") != "403" {
		t.Errorf("not linked: status %q, error %v", answer.Get("status"), err)
	}
}

// The key of the request is thrown away: what counts is the one that comes back.
func TestBouncyCastleGetsAKeyFromTheServer(t *testing.T) {
	t.Parallel()
	s := serveCastle(t, config{site: smallest, policy: strings.Replace(devices, "    reenroll:\n",
		"    serverkeygen: {enabled: true, encryption: if_asked}\n    reenroll:\n", 1)})
	d := newCastleDevice(t, s)
	answer := d.call("serverkeygen", with(castleBasic, "subject", "CN=a.example.net")...)
	certs := certificatesOf(t, answer)
	key, err := x509.ParsePKCS8PrivateKey(octets(t, answer.Get("key")))
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	made, is := key.(*ecdsa.PrivateKey)
	if !is || !made.PublicKey.Equal(certs[0].PublicKey) || made.PublicKey.Equal(&d.key.PublicKey) {
		t.Error("the certificate is not of the key that came with it")
	}
	d.names(certs[0])
	// The certificate renews with the key that came with it.
	d.enrol("reenroll", "clientKey", answer.Get("key"), "clientCert", b64(certs[0].Raw), "subject", "CN=a.example.net,O=Example Net")
	s.noSecrets(t, answer.Get("key"))
}
