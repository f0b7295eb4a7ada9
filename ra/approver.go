// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/audit"
)

// An Approver decides about requests that wait. It is no client: neither an end
// entity nor a registration authority can become one. The zero value is nobody.
type Approver struct {
	cert *x509.Certificate // nil: only a name was stated
	name string
}

// The methods by which approvers are known.
const (
	ApproverByCert = "client_cert" // the remote admin API has verified it
	ApproverStated = "stated"      // nobody has
)

// CertifiedApprover is who has shown a certificate that the caller has verified.
func CertifiedApprover(cert *x509.Certificate) (Approver, error) {
	if cert == nil {
		return Approver{}, errors.New("there is no certificate")
	}
	name := cert.Subject.CommonName
	if name == "" {
		name = cert.Subject.String()
	}
	return Approver{cert: cert, name: name}, checkApprover(name)
}

// StatedApprover is who says to be somebody, on a socket of this machine.
func StatedApprover(name string) (Approver, error) {
	return Approver{name: name}, checkApprover(name)
}

func checkApprover(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return errors.New("an approver has a name")
	case len(name) > 200 || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%.200q is no name of an approver: at most 200 bytes of text on one line", name)
	}
	return nil
}

// Known tells an approver from the zero value.
func (a Approver) Known() bool { return a.name != "" }

// Name is for people.
func (a Approver) Name() string { return a.name }

// Method is client_cert or stated.
func (a Approver) Method() string {
	if a.cert != nil {
		return ApproverByCert
	}
	return ApproverStated
}

// key tells people apart. Somebody with a certificate who also states that name
// is one person.
func (a Approver) key() string { return folded(a.name) }

func folded(name string) string { return strings.ToLower(strings.Join(strings.Fields(name), " ")) }

// asks says how the approver is the one who asks; "": it is somebody else. Names
// that were only stated count as well.
func (a Approver) asks(q policy.Arrival) string {
	asked := q.Asked()
	if cert := q.Who.Cert; cert != nil {
		if a.cert != nil && bytes.Equal(a.cert.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) {
			return "has the key of the certificate that asks"
		}
		if cn := cert.Subject.CommonName; cn != "" && folded(cn) == a.key() || folded(cert.Subject.String()) == a.key() {
			return "has the name of the certificate that asks"
		}
	}
	if a.cert != nil && asked != nil && len(asked.RawSPKI) > 0 && bytes.Equal(a.cert.RawSubjectPublicKeyInfo, asked.RawSPKI) {
		return "has the key for which a certificate is asked"
	}
	for _, account := range q.Who.Accounts {
		if folded(account.User) == a.key() {
			return fmt.Sprintf("has the name of the account that asks, %q", account.User)
		}
	}
	return ""
}

// Audit is the approver in records.
func (a Approver) Audit() *audit.Who {
	w := &audit.Who{Method: audit.Text(a.Method()), ID: audit.Text(a.name), Role: roleApprover}
	if a.cert != nil {
		shown := audit.OfIdentity(policy.Identity{Cert: a.cert})
		w.CertSerial, w.CertSHA256 = shown.CertSerial, shown.CertSHA256
	}
	return w
}

const roleApprover = "approver"
