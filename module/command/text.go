// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/audit"
)

// colons writes a fingerprint as openssl does.
func colons(sum []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return colons(sum[:])
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

func second(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// describe is one line about a CA certificate.
func describe(cert *x509.Certificate) string {
	return fmt.Sprintf("%s, until %s, SHA-256 %s", subjectOf(cert), day(cert.NotAfter), fingerprint(cert))
}

// details are the lines that people look at in a certificate.
func details(cert *x509.Certificate) []string {
	lines := []string{"subject   " + subjectOf(cert)}
	names, err := csr.NamesOf(cert)
	for _, name := range names.SAN {
		lines = append(lines, "name      "+name.String())
	}
	if err != nil {
		lines = append(lines, "names     (unreadable)")
	}
	return append(lines,
		"validity  "+second(cert.NotBefore)+" to "+second(cert.NotAfter),
		"issuer    "+issuerOf(cert),
		"serial    "+audit.Serial(cert.SerialNumber),
	)
}

// issuerOf is a certificate's issuer, safe for a terminal.
func issuerOf(cert *x509.Certificate) string {
	return subjectOf(&x509.Certificate{RawSubject: cert.RawIssuer})
}
