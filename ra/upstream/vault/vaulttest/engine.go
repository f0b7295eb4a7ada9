// SPDX-License-Identifier: Apache-2.0

package vaulttest

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// login takes what each method takes.
func (f *Fake) login(c *call) {
	var body struct {
		RoleID   string `json:"role_id"`
		SecretID string `json:"secret_id"`
		Role     string `json:"role"`
		JWT      string `json:"jwt"`
		Name     string `json:"name"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		c.fail(http.StatusBadRequest, "error parsing JSON")
		return
	}
	method := strings.TrimSuffix(strings.TrimPrefix(c.path, "auth/"), "/login")
	name := "login-" + method
	if !slices.Contains([]string{"approle", "kubernetes", "cert"}, method) {
		c.fail(http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", c.path))
		return
	}
	answer, ok := f.shaped(c, name)
	if !ok {
		return
	}
	switch method {
	case "approle":
		if body.RoleID != RoleID || body.SecretID != SecretID {
			c.fail(http.StatusBadRequest, "invalid role or secret ID")
			return
		}
	case "kubernetes":
		if body.Role != AuthRole || body.JWT != Account {
			c.fail(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
			return
		}
	case "cert":
		shown := c.r.TLS.PeerCertificates
		if len(shown) == 0 || !f.AnyCertificate && shown[0].CheckSignatureFrom(f.CA.Intermediate.Certificate) != nil || body.Name != "" && body.Name != AuthRole {
			c.fail(http.StatusBadRequest, "invalid certificate or no client certificate supplied")
			return
		}
	}
	life := f.TokenLife
	if life == 0 {
		life = 32 * 24 * time.Hour
	}
	f.fill(answer, "auth", map[string]any{
		"client_token": f.newToken(life, f.TokenMost, f.Renewable), "lease_duration": int(life.Seconds()), "renewable": f.Renewable,
	})
	c.answer(answer)
}

func (f *Fake) lookup(c *call) {
	answer, ok := f.shaped(c, "lookup-self")
	if !ok {
		return
	}
	text := c.r.Header.Get("X-Vault-Token")
	t := f.tokens[text]
	ttl := 0
	if !t.until.IsZero() {
		ttl = int(time.Until(t.until).Seconds())
	}
	f.fill(answer, "data", map[string]any{"id": text, "ttl": ttl, "renewable": t.renewable})
	c.answer(answer)
}

func (f *Fake) renew(c *call) {
	answer, ok := f.shaped(c, "renew-self")
	if !ok {
		return
	}
	text := c.r.Header.Get("X-Vault-Token")
	t := f.tokens[text]
	if !t.renewable {
		c.fail(http.StatusBadRequest, "1 error occurred:\n\t* lease is not renewable\n\n")
		return
	}
	t.until = time.Now().Add(t.life)
	if !t.last.IsZero() && t.until.After(t.last) {
		t.until = t.last
	}
	f.fill(answer, "auth", map[string]any{"client_token": text, "lease_duration": int(time.Until(t.until).Round(time.Second).Seconds())})
	c.answer(answer)
}

// request reads the CSR, and verifies its signature as Vault does.
func (c *call) request() (asked, *x509.CertificateRequest, error) {
	var a asked
	if err := json.Unmarshal(c.body, &a); err != nil {
		return a, nil, err
	}
	block, _ := pem.Decode([]byte(a.CSR))
	if block == nil {
		return a, nil, errors.New("csr contains no data")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return a, nil, fmt.Errorf("certificate request could not be parsed: %w", err)
	}
	if csr.CheckSignature() != nil {
		return a, nil, errors.New("request signature invalid")
	}
	return a, csr, nil
}

func (f *Fake) sign(c *call, name string) {
	answer, ok := f.shaped(c, "sign")
	if !ok {
		return
	}
	r, known := f.roles[name]
	if !known {
		c.fail(http.StatusBadRequest, "unknown role: "+name)
		return
	}
	a, csr, err := c.request()
	if err == nil {
		var template *x509.Certificate
		if template, err = r.template(a, csr, time.Now()); err == nil {
			f.issue(c, answer, template, csr)
			return
		}
	}
	c.fail(http.StatusBadRequest, err.Error())
}

func (f *Fake) signVerbatim(c *call) {
	answer, ok := f.shaped(c, "sign-verbatim")
	if !ok {
		return
	}
	a, csr, err := c.request()
	if err == nil {
		var template *x509.Certificate
		if template, err = verbatim(a, csr, time.Now()); err == nil {
			f.issue(c, answer, template, csr)
			return
		}
	}
	c.fail(http.StatusBadRequest, err.Error())
}

// signCEL gives a program the request as it came. What a program says against
// one is a fault of the server, by its status.
func (f *Fake) signCEL(c *call, name string) {
	answer, ok := f.shaped(c, "cel-sign")
	if !ok {
		return
	}
	p, known := f.programs[name]
	if !known {
		c.fail(http.StatusInternalServerError, "1 error occurred:\n\t* CEL role not found\n\n")
		return
	}
	var request map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(c.body)))
	decoder.UseNumber()
	if err := decoder.Decode(&request); err != nil {
		c.fail(http.StatusBadRequest, "error parsing JSON")
		return
	}
	_, csr, err := c.request()
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	template, issuer, err := p.run(request, time.Now())
	if err == nil && issuer != "default" {
		err = fmt.Errorf("unable to find PKI issuer for reference: %s", issuer)
	}
	if err != nil {
		c.fail(http.StatusInternalServerError, "1 error occurred:\n\t* "+err.Error()+"\n\n")
		return
	}
	f.issue(c, answer, template, csr)
}

// issue signs, and answers.
func (f *Fake) issue(c *call, answer map[string]any, template *x509.Certificate, csr *x509.CertificateRequest) {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 158))
	if err != nil {
		f.t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(csr.PublicKey)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	id := sha1.Sum(spki) //nolint:gosec // see above
	template.SerialNumber, template.SubjectKeyId = number, id[:]
	template.IssuingCertificateURL = []string{f.URL + "/v1/" + Mount + "/ca"}
	template.CRLDistributionPoints = []string{f.URL + "/v1/" + Mount + "/crl"}
	if f.Issue != nil {
		f.Issue(template)
	}
	issuer := f.CA.Intermediate.Certificate
	if template.NotAfter.After(issuer.NotAfter) {
		c.fail(http.StatusBadRequest, fmt.Sprintf("cannot satisfy request, as TTL would result in notAfter of %s that is beyond the expiration of the CA certificate at %s",
			template.NotAfter.Format(time.RFC3339Nano), issuer.NotAfter.Format(time.RFC3339Nano)))
		return
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, csr.PublicKey, f.CA.Intermediate.Key)
	if err != nil {
		c.fail(http.StatusInternalServerError, "1 error occurred:\n\t* unable to create certificate: "+err.Error()+"\n\n")
		return
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	f.issued[colons(leaf)] = leaf
	f.fill(answer, "data", map[string]any{
		"certificate": armour(leaf), "issuing_ca": armour(issuer), "ca_chain": []string{armour(issuer), armour(f.CA.Root.Certificate)},
		"serial_number": colons(leaf), "expiration": leaf.NotAfter.Unix(),
	})
	c.answer(answer)
}

func (f *Fake) issuer(c *call) {
	if answer, ok := f.shaped(c, "issuer"); ok {
		f.fill(answer, "data", map[string]any{"certificate": armour(f.CA.Intermediate.Certificate), "ca_chain": []string{armour(f.CA.Intermediate.Certificate)}})
		c.answer(answer)
	}
}

func (f *Fake) crl(c *call) {
	list := &x509.RevocationList{Number: big.NewInt(int64(len(f.revoked) + 1)), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(72 * time.Hour)}
	for serial, at := range f.revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: f.issued[serial].SerialNumber, RevocationTime: at})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, f.CA.Intermediate.Certificate, f.CA.Intermediate.Key)
	if err != nil {
		f.t.Error(err)
		return
	}
	c.w.Header().Set("Content-Type", "application/pkix-crl")
	_, _ = c.w.Write(der)
}

func (f *Fake) revoke(c *call) {
	answer, ok := f.shaped(c, "revoke")
	if !ok {
		return
	}
	var body struct {
		Serial string `json:"serial_number"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		c.fail(http.StatusBadRequest, "error parsing JSON")
		return
	}
	if _, known := f.issued[body.Serial]; !known {
		c.fail(http.StatusBadRequest, fmt.Sprintf("certificate with serial %s not found in storage", body.Serial))
		return
	}
	if _, already := f.revoked[body.Serial]; !already {
		f.revoked[body.Serial] = time.Now()
	}
	f.fill(answer, "data", map[string]any{"revocation_time": f.revoked[body.Serial].Unix()})
	c.answer(answer)
}

// colons is a serial number as Vault writes it.
func colons(c *x509.Certificate) string {
	var text strings.Builder
	for i, b := range c.SerialNumber.Bytes() {
		if i > 0 {
			text.WriteByte(':')
		}
		fmt.Fprintf(&text, "%02x", b)
	}
	return text.String()
}
