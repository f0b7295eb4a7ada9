// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/x509util"

	"github.com/caddy-est/estra/ra/upstream/stepca"
)

// A signer calls step-ca's /1.0/sign directly, on one kept connection. Its
// tokens are those of a registration authority: the same provisioner, key and
// template as behind Estra, so that step-ca has the same work.
type signer struct {
	fleet    *fleet
	job      job
	conn     *connection
	jose     jose.Signer
	audience string
	checked  bool
}

func newSigner(f *fleet, j job, cfg *tls.Config) (*signer, error) {
	src, err := os.ReadFile(j.Key)
	if err != nil {
		return nil, err
	}
	key, err := stepca.ParseJWK(src, nil)
	if err != nil {
		return nil, err
	}
	s := &signer{fleet: f, job: j, audience: "https://" + j.Address + "/1.0/sign"}
	s.jose, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key.Key},
		new(jose.SignerOptions).WithType("JWT").WithHeader("kid", key.KeyID))
	if err != nil {
		return nil, err
	}
	s.conn, err = dial(j.Address, cfg)
	return s, err
}

// claims are what step-ca and our template read.
type claims struct {
	jose.Claims
	SANs         []string          `json:"sans"`
	Confirmation map[string]string `json:"cnf"`
	Estra        decision          `json:"estra"`
}

// decision is the claim that our template takes (ra/upstream/stepca).
type decision struct {
	Subject   map[string]any                    `json:"subject"`
	SANs      []x509util.SubjectAlternativeName `json:"sans"`
	KeyUsage  x509util.KeyUsage                 `json:"keyUsage"`
	EKU       x509util.ExtKeyUsage              `json:"eku"`
	NotBefore time.Time                         `json:"notBefore"`
	NotAfter  time.Time                         `json:"notAfter"`
	Serial    string                            `json:"serial"`
}

type signRequest struct {
	CSR string `json:"csr"`
	OTT string `json:"ott"`
}

type signResponse struct {
	Certificate string `json:"crt"`
}

func (s *signer) call() error {
	d, _ := s.fleet.take()
	token, err := s.token(d)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: d.csr})
	body, err := json.Marshal(signRequest{CSR: string(block), OTT: token})
	if err != nil {
		return err
	}
	head := fmt.Sprintf("POST /1.0/sign HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", s.job.Address, len(body))
	response, answer, err := s.conn.post(head, body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("step-ca: status %d: %.200s", response.StatusCode, answer)
	}
	if s.checked {
		return nil
	}
	s.checked = true
	return checkSigned(answer)
}

func (s *signer) token(d *device) (string, error) {
	request, err := x509.ParseCertificateRequest(d.csr)
	if err != nil {
		return "", err
	}
	name, now, sum := request.Subject.CommonName, time.Now(), sha256.Sum256(d.csr)
	return jose.Signed(s.jose).Claims(claims{
		Claims: jose.Claims{
			ID: rand.Text(), Issuer: s.job.Provisioner, Subject: name, Audience: jose.Audience{s.audience},
			IssuedAt: jose.NewNumericDate(now), NotBefore: jose.NewNumericDate(now), Expiry: jose.NewNumericDate(now.Add(time.Minute)),
		},
		SANs:         []string{name},
		Confirmation: map[string]string{"x5rt#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
		Estra: decision{
			Subject:  map[string]any{"commonName": name, "der": request.RawSubject},
			SANs:     []x509util.SubjectAlternativeName{{Type: x509util.DNSType, Value: name}},
			KeyUsage: x509util.KeyUsage(x509.KeyUsageDigitalSignature), EKU: x509util.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			NotBefore: now.UTC().Truncate(time.Second), NotAfter: now.UTC().Truncate(time.Second).Add(90 * 24 * time.Hour),
			Serial: newSerial().String(),
		},
	}).CompactSerialize()
}

func checkSigned(answer []byte) error {
	var r signResponse
	if err := json.Unmarshal(answer, &r); err != nil {
		return err
	}
	if block, _ := pem.Decode([]byte(r.Certificate)); block == nil {
		return errors.New("step-ca's answer holds no certificate")
	}
	return nil
}

func (s *signer) close() { s.conn.conn.Close() }
