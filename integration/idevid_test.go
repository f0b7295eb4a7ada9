// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A factory makes device certificates as factories do.
type factory struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newFactory(t *testing.T) *factory {
	t.Helper()
	f := &factory{t: t, key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Acme Factory"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	f.root = f.sign(tmpl, tmpl, &f.key.PublicKey)
	return f
}

func (f *factory) sign(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey) *x509.Certificate {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	return cert
}

// idevid is a certificate of IEEE 802.1AR: it never ends, its subject is
// empty, its only name is a critical hardwareModuleName, and it has no EKU.
func (f *factory) idevid(serial int64) tls.Certificate {
	f.t.Helper()
	module, err := asn1.Marshal(struct {
		Type   asn1.ObjectIdentifier
		Serial []byte
	}{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, []byte("SN-0001")})
	if err != nil {
		f.t.Fatal(err)
	}
	other, err := asn1.Marshal(struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue
	}{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}, asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: module}})
	if err != nil {
		f.t.Fatal(err)
	}
	other[0] = 0xA0 // otherName [0]
	san, err := asn1.Marshal([]asn1.RawValue{{FullBytes: other}})
	if err != nil {
		f.t.Fatal(err)
	}
	key := newKey(f.t)
	cert := f.sign(&x509.Certificate{
		SerialNumber: big.NewInt(serial), RawSubject: []byte{0x30, 0x00},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: san}},
	}, f.root, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// crl revokes serial numbers.
func (f *factory) crl(number int64, serials ...int64) string {
	f.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, f.root, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return armour("X509 CRL", der)
}

// request is the body of an enrolment.
func request(t *testing.T, name string) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func (s *site) enrolWith(cert tls.Certificate, name string) (int, string) {
	s.t.Helper()
	client := s.client(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	res, err := client.Post(s.url("simpleenroll"), "application/pkcs10", strings.NewReader(request(s.t, name)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestAnIDevIDEnrolsUntilTheFactoryRevokesIt(t *testing.T) {
	t.Parallel()
	f, stranger := newFactory(t), newFactory(t)
	s := serve(t, config{
		site: strings.Replace(smallest, "basic {\n\t\t\testuser HASH\n\t\t}",
			"anchors {\n\t\t\tidevid idevid.pem {\n\t\t\t\tcrl idevid.crl\n\t\t\t}\n\t\t}", 1),
		policy: strings.Replace(devices, "http_basic: {users: [estuser], shared: true}", "client_cert: {anchor: idevid}", 1),
		files:  map[string]string{"idevid.pem": armour("CERTIFICATE", f.root.Raw), "idevid.crl": f.crl(1, 9)},
	})
	device := f.idevid(7)
	if status, text := s.enrolWith(device, "a.example.net"); status != http.StatusOK {
		t.Fatalf("%d %s\n%s", status, text, s.log)
	}
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics := body(t, res)
	for _, what := range []string{"anchor/idevid", "anchor/idevid/crl"} {
		if !strings.Contains(metrics, `caddy_est_expiry_seconds{what="`+what+`"}`) {
			t.Errorf("no time left of %s in the metrics", what)
		}
	}
	if status, _ := s.enrolWith(f.idevid(9), "a.example.net"); status != http.StatusForbidden {
		t.Errorf("a revoked certificate: %d, want 403", status)
	}
	if status, _ := s.enrolWith(stranger.idevid(7), "a.example.net"); status != http.StatusForbidden {
		t.Errorf("a certificate of a factory of the same name: %d, want 403", status)
	}
	write(t, s.dir, "idevid.crl", f.crl(2, 7, 9))
	later := time.Now().Add(2 * time.Second) // modification times may be coarse
	if err := os.Chtimes(filepath.Join(s.dir, "idevid.crl"), later, later); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1200 * time.Millisecond)
	if status, _ := s.enrolWith(device, "a.example.net"); status != http.StatusForbidden {
		t.Errorf("after its revocation: %d, want 403", status)
	}
	write(t, s.dir, "idevid.crl", "rubbish")
	time.Sleep(1200 * time.Millisecond)
	if status, _ := s.enrolWith(f.idevid(11), "a.example.net"); status != http.StatusServiceUnavailable {
		t.Errorf("with a CRL that can't be read: %d, want 503", status)
	}
}
