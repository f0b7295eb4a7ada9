// SPDX-License-Identifier: Apache-2.0

package stepcatest

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// Sibling is a client certificate, with its chain, of another CA of that
// name under the same root.
func (ca *CA) Sibling(name string, subject pkix.Name, change ...func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	return ca.stranger(&ca.hier.root, name, subject, change...)
}

// Registrar is the client certificate of an RA (RFC 7030 section 3.7) that
// step-ca's own intermediate has signed.
func (ca *CA) Registrar(subject pkix.Name) tls.Certificate {
	ca.t.Helper()
	return ca.client(&ca.hier.intermediate, subject, ForCMCRA)
}

// ForCMCRA makes a certificate one for id-kp-cmcRA (RFC 6402 section 2.10).
func ForCMCRA(c *x509.Certificate) {
	c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28})
}

// Subordinate is one of another CA that step-ca's own intermediate has
// certified.
func (ca *CA) Subordinate(name string, subject pkix.Name) tls.Certificate {
	ca.t.Helper()
	return ca.stranger(&ca.hier.intermediate, name, subject)
}

func (ca *CA) stranger(parent *pair, name string, subject pkix.Name, change ...func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	issuer := authorityPair(ca.t, name, parent)
	return ca.client(&issuer, subject, change...)
}

func (ca *CA) client(issuer *pair, subject pkix.Name, change ...func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	template := skeleton(ca.t, "")
	template.Subject = subject
	template.NotAfter = template.NotBefore.AddDate(0, 0, 30)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, f := range change {
		f(template)
	}
	leaf := sign(ca.t, template, issuer)
	return tls.Certificate{Certificate: [][]byte{leaf.cert.Raw, issuer.cert.Raw}, PrivateKey: leaf.key, Leaf: leaf.cert}
}

// Rotate restarts step-ca with a new intermediate, key and name, under the
// same root.
func (ca *CA) Rotate() {
	ca.t.Helper()
	ca.hier.intermediate = authorityPair(ca.t, "Step Test Intermediate, the next", &ca.hier.root)
	ca.Intermediate = ca.hier.intermediate.cert
	ca.configure()
	ca.Restart()
}
