// SPDX-License-Identifier: Apache-2.0

package stepcatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/upstream/stepca"
)

// configuration is the part of ca.json that is needed here.
type configuration struct {
	Root      []string  `json:"root"`
	Crt       string    `json:"crt"`
	Key       string    `json:"key"`
	Address   string    `json:"address"`
	DNSNames  []string  `json:"dnsNames"`
	Logger    logger    `json:"logger"`
	DB        database  `json:"db"`
	CRL       *crl      `json:"crl,omitempty"`
	Authority authority `json:"authority"`
}

type logger struct {
	Format string `json:"format"`
}

type database struct {
	Type       string `json:"type"`
	DataSource string `json:"dataSource"`
}

type crl struct {
	Enabled          bool `json:"enabled"`
	GenerateOnRevoke bool `json:"generateOnRevoke"`
}

type authority struct {
	Provisioners []json.RawMessage `json:"provisioners"`
}

// plainProvisioner has no template: step-ca's own takes the CSR's names.
type plainProvisioner struct {
	Type   string          `json:"type"`
	Name   string          `json:"name"`
	Key    json.RawMessage `json:"key"`
	Claims plainClaims     `json:"claims"`
}

type plainClaims struct {
	Max string `json:"maxTLSCertDuration"`
}

// configure writes ca.json and all that it names.
func (ca *CA) configure() {
	ca.t.Helper()
	config := configuration{
		Root:     []string{ca.write("root.crt", certPEM(ca.Root))},
		Crt:      ca.write("intermediate.crt", certPEM(ca.Intermediate)),
		Key:      ca.write("intermediate.key", keyPEM(ca.t, ca.hier.intermediate.key)),
		Address:  strings.TrimPrefix(ca.URL, "https://"),
		DNSNames: []string{"127.0.0.1", "localhost"},
		Logger:   logger{Format: "json"},
		DB:       database{Type: "badgerv2", DataSource: filepath.Join(ca.dir, "db")},
	}
	if ca.options.CRL {
		config.CRL = &crl{Enabled: true, GenerateOnRevoke: true}
	}
	jwk := stepca.ProvisionerOptions{Name: JWKProvisioner, JWK: ca.JWK, MaxDuration: ca.options.MaxDuration}
	if ca.options.Template != "" {
		jwk.TemplateFile = ca.write("changed.tpl", []byte(ca.options.Template))
	}
	config.Authority.Provisioners = []json.RawMessage{
		ca.block(jwk),
		ca.block(stepca.ProvisionerOptions{
			Name: X5CProvisioner, Roots: []*x509.Certificate{ca.hier.raRoot.cert}, MaxDuration: ca.options.MaxDuration,
			TemplateFile: ca.write("estra.tpl", []byte(stepca.Template())),
		}),
		ca.block(stepca.ProvisionerOptions{
			Name: OwnProvisioner, Roots: []*x509.Certificate{ca.Root}, MaxDuration: ca.options.MaxDuration,
		}),
		ca.plainBlock(),
	}
	data, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
	ca.write(configFile, data)
}

func (ca *CA) block(o stepca.ProvisionerOptions) json.RawMessage {
	ca.t.Helper()
	data, err := stepca.Provisioner(o)
	if err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
	return data
}

func (ca *CA) plainBlock() json.RawMessage {
	ca.t.Helper()
	public := ca.Plain.Public()
	key, err := json.Marshal(&public)
	if err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
	data, err := json.Marshal(plainProvisioner{
		Type: "JWK", Name: PlainProvisioner, Key: key,
		Claims: plainClaims{Max: ca.options.MaxDuration.String()},
	})
	if err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
	return data
}

// A pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// A hierarchy is what step-ca issues with, and a root of its own for RA
// certificates.
type hierarchy struct {
	root, intermediate, raRoot pair
}

func newHierarchy(t testing.TB) hierarchy {
	t.Helper()
	root := authorityPair(t, "Step Test Root", nil)
	return hierarchy{
		root:         root,
		intermediate: authorityPair(t, "Step Test Intermediate", &root),
		raRoot:       authorityPair(t, "RA Test Root", nil),
	}
}

// ra makes an RA certificate, with id-kp-cmcRA (RFC 6402 section 2.10) or
// without.
func (h hierarchy) ra(t testing.TB, cmcRA bool) *stepca.X5C {
	t.Helper()
	template := skeleton(t, "est-ra")
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if cmcRA {
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
	}
	p := sign(t, template, &h.raRoot)
	return &stepca.X5C{Chain: []*x509.Certificate{p.cert}, Key: p.key}
}

func authorityPair(t testing.TB, name string, parent *pair) pair {
	t.Helper()
	template := skeleton(t, name)
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.IsCA = true
	return sign(t, template, parent)
}

func skeleton(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatalf("stepcatest: %v", err)
	}
	now := time.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(20, 0, 0),
		BasicConstraintsValid: true,
	}
}

// sign signs with the parent, or with the new key itself.
func sign(t testing.TB, template *x509.Certificate, parent *pair) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("stepcatest: %v", err)
	}
	if parent == nil {
		parent = &pair{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatalf("stepcatest: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("stepcatest: %v", err)
	}
	return pair{cert: cert, key: key}
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("stepcatest: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
