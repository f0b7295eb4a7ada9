// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
)

// attributes are the types of subject attributes that a request for a signature
// has a field for, one of each.
var attributes = []struct {
	oid, name string
	field     func(*subject) *string
}{
	{"2.5.4.3", "CN", func(s *subject) *string { return &s.CN }},
	{"2.5.4.5", "serialNumber", func(s *subject) *string { return &s.SerialNumber }},
	{"2.5.4.6", "C", func(s *subject) *string { return &s.Names[0].C }},
	{"2.5.4.7", "L", func(s *subject) *string { return &s.Names[0].L }},
	{"2.5.4.8", "ST", func(s *subject) *string { return &s.Names[0].ST }},
	{"2.5.4.10", "O", func(s *subject) *string { return &s.Names[0].O }},
	{"2.5.4.11", "OU", func(s *subject) *string { return &s.Names[0].OU }},
}

// express writes down what is planned. An error says what CFSSL can't be told.
func (u *Upstream) express(o ra.Order) (signRequest, error) {
	der, ok := o.CSR().PKCS10()
	if !ok {
		return signRequest{}, errors.New("the request is no PKCS #10, and CFSSL takes no other")
	}
	plan := o.Plan()
	r := signRequest{
		Request: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
		Profile: u.cfg.Profile, Label: u.cfg.Label, Hosts: []string{},
	}
	if u.cfg.Serial {
		r.Serial = o.Serial()
	}
	var err error
	if r.Subject, err = subjectOf(plan.Names.Subject, o.CSR().Names.Subject); err != nil {
		return signRequest{}, err
	}
	for _, g := range plan.Names.SAN {
		if !u.asHost(g) {
			return signRequest{}, fmt.Errorf("CFSSL can't be told the name %s in the SAN", g)
		}
		r.Hosts = append(r.Hosts, g.Value)
	}
	// crypto/x509 makes it critical for a certificate without a subject.
	if len(plan.Names.SAN) > 0 && plan.SANCritical != (len(plan.Names.Subject) == 0) {
		return signRequest{}, errors.New("CFSSL can't be told whether the SAN is critical")
	}
	return r, beyond(plan)
}

// beyond refuses what no field is for.
func beyond(plan policy.Plan) error {
	for _, e := range plan.Extensions {
		return fmt.Errorf("CFSSL can't be told the extension %s", e.ID)
	}
	return nil
}

// subjectOf fills the fields. Where one is empty CFSSL takes the request's, so
// nothing of it can be left out.
func subjectOf(planned, asked csr.Name) (subject, error) {
	s := subject{Names: make([]name, 1)}
	for _, rdn := range planned {
		if len(rdn) != 1 || !rdn[0].Text {
			return s, fmt.Errorf("CFSSL can't be told %s: it writes one text in each RDN", csr.Name{rdn})
		}
		field := fieldOf(&s, rdn[0])
		switch {
		case field == nil:
			return s, fmt.Errorf("CFSSL can't be told the subject's %s", csr.TypeName(rdn[0].Type))
		case *field != "" || rdn[0].Value == "":
			return s, fmt.Errorf("CFSSL can't be told the %s of the subject twice, or empty", csr.TypeName(rdn[0].Type))
		}
		*field = rdn[0].Value
	}
	for _, rdn := range asked {
		for _, a := range rdn {
			if field := fieldOf(&s, a); field != nil && *field == "" {
				return s, fmt.Errorf("the policy has dropped the %s of the request, and CFSSL can't be told to", csr.TypeName(a.Type))
			}
		}
	}
	return s, nil
}

// fieldOf is nil for an attribute that has none.
func fieldOf(s *subject, a csr.AttributeValue) *string {
	for _, known := range attributes {
		if a.Type.String() == known.oid {
			return known.field(s)
		}
	}
	return nil
}

// asHost says whether CFSSL takes a text for the name that it is: it tries an
// address, a mailbox and a URI one after the other, and what is none of them is
// a DNS name (signer/local, OverrideHosts).
func (u *Upstream) asHost(g csr.GeneralName) bool {
	if g.Value == "" {
		return false
	}
	ip := net.ParseIP(g.Value) != nil
	_, err := mail.ParseAddress(g.Value)
	mailbox := !ip && err == nil
	uri, err := url.ParseRequestURI(g.Value)
	resource := !ip && !mailbox && err == nil
	switch g.Form {
	case csr.IP:
		// An IPv4 address in IPv6 would come back as IPv4.
		a, err := netip.ParseAddr(g.Value)
		return ip && err == nil && !a.Is4In6()
	case csr.Email:
		return mailbox && !hasName(g.Value)
	case csr.URI:
		return u.cfg.URIs && resource && uri.String() == g.Value
	case csr.DNS:
		return !ip && !mailbox && !resource
	default:
		return false
	}
}

// hasName tells `Anna <anna@example.net>`, of which CFSSL would keep a part.
func hasName(mailbox string) bool {
	a, err := mail.ParseAddress(mailbox)
	return err != nil || a.Address != mailbox
}
