// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// oidTLSFeature is the extension of a request that ACME CAs copy (RFC 7633).
const oidTLSFeature = "1.3.6.1.5.5.7.1.24"

// A wish is what an order is made and finalized with.
type wish struct {
	names []string // DNS names in lower case, sorted
	csr   []byte   // PKCS #10, DER
}

// express refuses what an ACME CA wouldn't issue, before it is asked: the request
// is what the order is finalized with, so the plan must be what it says (RFC 8555
// section 7.4: the CSR has exactly the identifiers of the order).
func (u *Upstream) express(o ra.Order) (wish, error) {
	der, ok := o.CSR().PKCS10()
	if !ok {
		return wish{}, errors.New("the request is no PKCS #10, and ACME takes no other")
	}
	plan := o.Plan()
	for _, e := range plan.Extensions {
		return wish{}, fmt.Errorf("ACME can't be told the extension %s", e.ID)
	}
	for _, e := range o.CSR().Extensions {
		if e.ID.String() == oidTLSFeature {
			return wish{}, errors.New("the request asks for the extension tlsFeature, which an ACME CA copies, and the policy doesn't plan it")
		}
	}
	planned, err := dnsNames(plan.Names.SAN)
	if err != nil {
		return wish{}, err
	}
	if len(planned) == 0 {
		return wish{}, errors.New("there is no DNS name in the SAN, and ACME certifies nothing else")
	}
	asked, err := dnsNames(o.CSR().Names.SAN)
	if err != nil {
		return wish{}, fmt.Errorf("the request goes to the CA as it is, and %w", err)
	}
	if !slices.Equal(planned, asked) {
		return wish{}, fmt.Errorf("the policy plans the names %s, and the request, which goes to the CA as it is, has %s", list(planned), list(asked))
	}
	if err := u.subject(plan, o.CSR().Names.Subject, asked); err != nil {
		return wish{}, err
	}
	for _, n := range planned {
		if strings.HasPrefix(n, "*.") && u.cfg.Challenge != DNS01 {
			return wish{}, fmt.Errorf("the wildcard %s wants `challenge dns-01` (RFC 8555 section 7.1.3)", upstream.Line(n))
		}
	}
	return wish{planned, der}, u.lives(o)
}

// subject: a CN that the request has is an identifier of the order, too (RFC 8555
// section 7.4), and no CA takes anything else over.
func (u *Upstream) subject(plan policy.Plan, asked csr.Name, names []string) error {
	for _, rdn := range asked {
		for _, a := range rdn {
			if a.Type.String() == commonName && !slices.Contains(names, strings.ToLower(a.Value)) {
				return fmt.Errorf("the CN %s of the request isn't one of its DNS names, and an ACME CA takes it for one", upstream.Line(a.Value))
			}
		}
	}
	// crypto/x509, as most CAs are made with, makes the SAN critical where there is
	// no subject.
	if plan.SANCritical != (len(plan.Names.Subject) == 0) {
		return errors.New("ACME can't be told whether the SAN is critical")
	}
	if !u.cfg.CommonName {
		if len(plan.Names.Subject) > 0 {
			return fmt.Errorf("the plan has the subject %s, and certificates of this CA have none: where they have a CN, write `common_name` in the upstream", upstream.Line(plan.Names.Subject.String()))
		}
		return nil
	}
	if subject := plan.Names.Subject; len(subject) != 1 || len(subject[0]) != 1 || subject[0][0].Type.String() != commonName {
		return fmt.Errorf("the plan has the subject %q, and certificates of this CA have one CN (`common_name`)", upstream.Line(plan.Names.Subject.String()))
	}
	if !plan.Names.Subject.Equal(asked) {
		return errors.New("the policy has rewritten the subject, and the request goes to the CA as it is")
	}
	return nil
}

// lives refuses a plan that ends before the CA's certificates do: each would be
// withheld.
func (u *Upstream) lives(o ra.Order) error {
	least := u.cfg.Lifetime - u.cfg.Backdate
	if planned := o.NotAfter().Sub(o.NotBefore()) + time.Second; u.cfg.Lifetime > 0 && least > planned {
		return fmt.Errorf("the CA's certificates live %s (`lifetime`), and the policy plans %s", u.cfg.Lifetime, planned)
	}
	return nil
}

// dnsNames are the names of a SAN, in lower case, sorted, each once.
func dnsNames(san []csr.GeneralName) ([]string, error) {
	var names []string
	for _, g := range san {
		if g.Form != csr.DNS {
			return nil, fmt.Errorf("the SAN has %s, which is no DNS name", upstream.Line(g.String()))
		}
		names = append(names, strings.ToLower(g.Value))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "(none)"
	}
	return upstream.Line(strings.Join(names, ", "))
}
