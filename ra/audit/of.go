// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Serial is how a record writes a serial number: lower-case hex, two digits a
// byte, no sign and no separators. Nil gives an empty string.
func Serial(n *big.Int) string {
	switch {
	case n == nil:
		return ""
	case n.Sign() == 0:
		return "00"
	}
	return hex.EncodeToString(n.Bytes())
}

// OfIdentity tells who asks; nil for nobody. Role is left to the caller.
func OfIdentity(who policy.Identity) *Who {
	w := &Who{}
	var methods, ids []string
	if c := who.Cert; c != nil {
		methods, ids = append(methods, "client_cert"), append(ids, c.Subject.String())
		w.Anchor = Text(strings.Join(who.Anchors, "+"))
		w.CertSerial, w.CertSHA256 = Serial(c.SerialNumber), fingerprint(c)
	}
	for _, a := range who.Accounts {
		methods, ids = append(methods, a.Method), append(ids, a.User)
	}
	for _, p := range who.Passwords {
		methods, ids = append(methods, "one_time_password"), append(ids, p.ID)
	}
	for _, d := range who.Devices {
		w.Devices = append(w.Devices, Text(d.ID()+" ("+string(d.State)+")"))
	}
	if len(methods) == 0 {
		return nil
	}
	w.Method, w.ID = Text(strings.Join(methods, "+")), Text(strings.Join(ids, " + "))
	return w
}

// OfTLS tells a connection from its version, as crypto/tls has it, and the
// result of the channel-binding check.
func OfTLS(version uint16, linked policy.Linking) *TLS {
	t := &TLS{Linked: linked.String()}
	if version != 0 {
		t.Version = strings.TrimPrefix(tls.VersionName(version), "TLS ")
	}
	return t
}

// OfCSR tells a request in short; nil for none. Its attributes are left out:
// challengePassword is one.
func OfCSR(r *csr.Request) *CSR {
	if r == nil {
		return nil
	}
	c := &CSR{
		SHA256:     r.SHA256(),
		SPKISHA256: r.SPKISHA256(),
		Key:        keyOf(r),
		Sig:        Text(r.SignatureName()),
		Subject:    Text(r.Names.Subject.String()),
		SAN:        texts(r.Names.SAN),
	}
	ids := make([]asn1.ObjectIdentifier, len(r.Extensions))
	for i, e := range r.Extensions {
		ids[i] = e.ID
	}
	c.ExtOIDs = texts(ids)
	return c
}

// keyOf is empty where the key of a request isn't looked at.
func keyOf(r *csr.Request) string {
	if len(r.RawSPKI) == 0 {
		return ""
	}
	return keyText(r.Key)
}

// OfMade tells a key that was made, by what is known of it.
func OfMade(kind csr.Key, spkiSHA256, by string, encryptedFor csr.DecryptKey) *Made {
	m := &Made{Key: keyText(kind), SPKISHA256: spkiSHA256, By: by, Form: "clear", KeyID: hex.EncodeToString(encryptedFor.ID)}
	switch {
	case encryptedFor.Asymmetric:
		m.Form = "asymmetric"
	case encryptedFor.Asked():
		m.Form = "symmetric"
	}
	return m
}

func keyText(k csr.Key) string {
	switch k.Algorithm {
	case csr.UnknownKey:
		return "unknown"
	case csr.RSA:
		return string(k.Algorithm) + " " + strconv.Itoa(k.Bits)
	case csr.ECDSA:
		return string(k.Algorithm) + " " + k.Curve
	default:
		return string(k.Algorithm)
	}
}

// OfDecision tells a decision; its plan is told by OfPlan.
func OfDecision(d policy.Decision) *Decision {
	out := &Decision{Verdict: d.Verdict.String()}
	findings := d.Findings
	if len(findings) > MaxList {
		out.FindingsMore = len(findings) - MaxList
		findings = findings[:MaxList]
	}
	for _, f := range findings {
		told := Finding{
			Path:   Text(f.Path),
			Line:   f.Pos.Line,
			Effect: string(f.Effect),
			Got:    Text(f.Got),
			Want:   Text(f.Want),
			Check:  Text(f.Check),
		}
		if f.Got == "" && f.Want == "" && f.Check == "" {
			told.Message = Text(f.Message)
		}
		out.Findings = append(out.Findings, told)
	}
	return out
}

// OfCert tells a certificate; nil for none.
func OfCert(c *x509.Certificate) *Cert {
	if c == nil {
		return nil
	}
	return &Cert{
		Serial:    Serial(c.SerialNumber),
		SHA256:    fingerprint(c),
		Issuer:    Text(c.Issuer.String()),
		NotBefore: c.NotBefore.UTC(),
		NotAfter:  c.NotAfter.UTC(),
	}
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
