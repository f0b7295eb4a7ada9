// SPDX-License-Identifier: Apache-2.0

package ejbcatest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"time"
)

// dn is the CA's, as the list of CAs has it.
func (f *Fake) dn() string { return "CN=" + f.CA.Intermediate.Certificate.Subject.CommonName }

func (f *Fake) listCAs(c *call) {
	e, ok := f.shaped(c, "ca")
	if !ok {
		return
	}
	list, _ := e.Form(f.t)["certificate_authorities"].([]any)
	one, _ := list[0].(map[string]any)
	one["name"], one["subject_dn"] = CAName, f.dn()
	f.answer(c, "ca", map[string]any{"certificate_authorities": list})
}

func (f *Fake) download(c *call, dn string) {
	if dn != f.dn() || c.r.Method != http.MethodGet {
		f.fail(c, "no such CA")
		return
	}
	for _, cert := range []*x509.Certificate{f.CA.Intermediate.Certificate, f.CA.Root.Certificate} {
		_, _ = fmt.Fprintf(c.w, "Subject: %s\nIssuer: %s\n", cert.Subject, cert.Issuer)
		_ = pem.Encode(c.w, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
}

// reasons are those of which tests have a use.
var reasons = map[string]int{"KEY_COMPROMISE": 1, "SUPERSEDED": 4, "PRIVILEGES_WITHDRAWN": 9}

func (f *Fake) crl(c *call, dn string) {
	if dn != f.dn() || c.r.URL.Query().Get("deltaCrl") != "false" {
		f.fail(c, "no such CA")
		return
	}
	var entries []x509.RevocationListEntry
	for number, reason := range f.revoked {
		n, _ := new(big.Int).SetString(number, 16)
		entries = append(entries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: time.Now(), ReasonCode: reasons[reason]})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour), RevokedCertificateEntries: entries,
	}, f.CA.Intermediate.Certificate, f.CA.Intermediate.Key)
	if err != nil {
		f.t.Errorf("no CRL: %v", err)
	}
	f.answer(c, "crl", map[string]any{"crl": f.encoded(der)})
}

func (f *Fake) revoke(c *call, dn, number string) {
	_, already := f.revoked[number]
	there := false
	for _, leaf := range f.issued {
		there = there || serial(leaf) == number
	}
	reason := c.r.URL.Query().Get("reason")
	switch {
	case dn != f.dn() || !there:
		f.fail(c, "no such CA")
	case already:
		f.fail(c, "already revoked")
	default:
		f.revoked[number] = reason
		f.answer(c, "revoke", map[string]any{"serial_number": number, "revocation_reason": reason})
	}
}
