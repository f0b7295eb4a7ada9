// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// patience is for one call; a CA under test is near.
const patience = 30 * time.Second

func testCACerts(t *testing.T, up ra.Upstream, pins []*x509.Certificate) {
	certs := caCerts(t, up)
	for _, c := range certs {
		if !c.IsCA {
			t.Errorf("CACerts has %q, which is no CA certificate", c.Subject)
		}
	}
	for _, pin := range pins {
		if !slices.ContainsFunc(certs, pin.Equal) {
			t.Errorf("CACerts lacks %q", pin.Subject)
		}
	}
	selfSigned := func(c *x509.Certificate) bool { return c.CheckSignatureFrom(c) == nil }
	if !slices.ContainsFunc(certs, selfSigned) {
		t.Errorf("CACerts has no root among its %d certificates", len(certs))
	}
}

// An Order is made for a CSR that asks for less and for other things than the
// plan has.
func testRewrite(t *testing.T, up ra.Upstream) {
	order := Rewritten(t, up)
	leaf := Issue(t, up, order)
	chain(t, leaf, caCerts(t, up))
}

// A OneUsage is an Upstream under test whose CA gives every certificate the same
// usages, such as `{key: [digitalSignature], ext: [serverAuth]}`. The orders of the
// suite plan them.
type OneUsage interface{ OneUsage() string }

// usageOf is the usage that a policy plans for an upstream.
func usageOf(up ra.Upstream, otherwise string) string {
	if one, ok := up.(OneUsage); ok {
		return one.OneUsage()
	}
	return otherwise
}

// permissive is ratest.Permissive, as far as the upstream has usages.
func permissive(up ra.Upstream) string {
	return strings.Replace(ratest.Permissive, permissiveUsage, "    usage: "+usageOf(up, "{key: [digitalSignature], ext: [clientAuth, serverAuth]}")+"\n", 1)
}

const permissiveUsage = `    usage:
      key: [digitalSignature]
      ext: [clientAuth, serverAuth]
`

// named is a request for one DNS name, with a subject where the upstream has one.
func named(t testing.TB, can policy.Capabilities, name string) []byte {
	t.Helper()
	return csrtest.New(t, commonName(can, name), csrtest.SAN(csrtest.DNS(name)))
}

func commonName(can policy.Capabilities, name string) csrtest.Option {
	if can.Attribute("2.5.4.3") || can.PassesAttribute("2.5.4.3") {
		return csrtest.Subject(csrtest.CN(name))
	}
	return csrtest.Subject()
}

// Rewritten is an order whose plan differs from the CSR in whatever the
// upstream carries: O is added after the CN, a URI is added to the SAN or its
// DNS name replaced, the purposes include one that nobody knows, and two
// extensions, one of them critical, are copied. It lasts 50 hours.
func Rewritten(t testing.TB, up ra.Upstream) ra.Order {
	t.Helper()
	can := up.Carries()
	var subject, san string
	options := []csrtest.Option{commonName(can, "rewritten.example")}
	var asked [][]byte
	for _, name := range []struct {
		form csr.NameForm
		der  []byte
	}{
		{csr.DNS, csrtest.DNS("rewritten.example")}, {csr.IP, csrtest.IP("192.0.2.7")}, {csr.IP, csrtest.IP("2001:db8::7")},
		{csr.Email, csrtest.Email("dev@rewritten.example")},
	} {
		if can.Name(name.form) || can.PassesName(name.form) {
			asked = append(asked, name.der)
		}
	}
	dns, names := `{allow: ["**"]}`, len(asked)
	if can.Attribute("2.5.4.10") {
		subject = `      O: {set: "Rewritten & Sons <Ltd>"}` + "\n"
	}
	if can.Name(csr.URI) {
		san = `      uri: {set: "https://rewritten.example/id/7"}` + "\n"
		names++
	} else if can.Name(csr.DNS) {
		dns = `{set: "renamed.example"}`
	}
	usage := ""
	if can.ExtKeyUsage {
		usage = `, "1.3.6.1.4.1.32473.1.7"`
	}
	extensions := ""
	if can.Extensions {
		extensions = `    extensions: {allow: ["1.3.6.1.4.1.32473.1.8", "1.3.6.1.4.1.32473.1.9"]}` + "\n"
		options = append(options,
			csrtest.Extension("1.3.6.1.4.1.32473.1.8", false, csrtest.UTF8("not critical")),
			csrtest.Extension("1.3.6.1.4.1.32473.1.9", true, csrtest.SEQ(csrtest.INTEGER(7))))
	}
	usage = usageOf(up, fmt.Sprintf("{key: [digitalSignature, keyAgreement], ext: [clientAuth%s]}", usage))
	order := ratest.Order(t, ratest.Case{
		Policy: fmt.Sprintf(rewriting, subject, dns, san, usage, extensions),
		CSR:    csrtest.New(t, append(options, csrtest.SAN(asked...))...),
		Now:    time.Now(), OwnSerials: !can.Serial,
	})
	plan := order.Plan()
	if subject != "" && len(plan.Names.Subject) != 2 || len(plan.Names.SAN) != names || can.Extensions && len(plan.Extensions) != 2 {
		t.Fatalf("the order isn't the rewritten one: %v %v %v", plan.Names.Subject, plan.Names.SAN, plan.Extensions)
	}
	return order
}

const rewriting = `
version: 1
name: rewriting policy for tests
profiles:
  any:
    labels: [any]
    enroll:
      who: [{http_basic: {users: [ratest]}}]
      linking: if_present
    subject:
%s      CN: {allow: ["**"]}
    san:
      dns: %s
      ip: {allow: ["0.0.0.0/0", "::/0"]}
      email: {allow: ["**@**"]}
%s    usage: %s
%s    validity: {default: 50h}
default: any
`

// Issue issues and holds the certificate against the order, as the authority
// does.
func Issue(t testing.TB, up ra.Upstream, order ra.Order) *x509.Certificate {
	t.Helper()
	leaf, err := issue(t.Context(), up, order)
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	return leaf
}

func issue(ctx context.Context, up ra.Upstream, order ra.Order) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	issued, err := up.Issue(ctx, order)
	if err != nil {
		return nil, err
	}
	if issued.Certificate == nil {
		return nil, errors.New("neither a certificate nor an error")
	}
	issuers, err := up.CACerts(ctx)
	if err != nil {
		return nil, err
	}
	var tolerated ra.Tolerated
	if t, ok := up.(ra.Tolerance); ok {
		tolerated = t.Tolerates()
	}
	if up.Carries().Serial && issued.Certificate.SerialNumber.Cmp(order.Serial()) != 0 {
		return nil, fmt.Errorf("serial number %x, and the order has %x", issued.Certificate.SerialNumber, order.Serial())
	}
	return issued.Certificate, ra.Conforms(issued.Certificate, order, tolerated, issuers)
}

// Fails holds an error to its kind, and gives it back.
func Fails(t testing.TB, err error, kind ra.Kind) *ra.Error {
	t.Helper()
	var e *ra.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v, want the kind %v", err, kind)
	}
	return e
}

func caCerts(t testing.TB, up ra.Upstream) []*x509.Certificate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	certs, err := up.CACerts(ctx)
	if err != nil {
		t.Fatalf("CACerts: %v", err)
	}
	return certs
}

// chain builds the path a client of /cacerts would.
func chain(t testing.TB, leaf *x509.Certificate, certs []*x509.Certificate) {
	t.Helper()
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range certs {
		if c.CheckSignatureFrom(c) == nil {
			roots.AddCert(c)
		} else {
			intermediates.AddCert(c)
		}
	}
	// crypto/x509 knows none of our own critical extensions.
	copied := *leaf
	copied.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions),
		func(oid asn1.ObjectIdentifier) bool { return strings.HasPrefix(oid.String(), "1.3.6.1.4.1.32473.") })
	_, err := copied.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		t.Errorf("the certificate doesn't chain to CACerts: %v", err)
	}
}

// A device that enrolls again may send the very same CSR.
func testTwice(t *testing.T, up ra.Upstream) {
	again := ratest.Case{Policy: permissive(up), CSR: named(t, up.Carries(), "twice.example"), Now: time.Now(), OwnSerials: !up.Carries().Serial}
	first := Issue(t, up, ratest.Order(t, again))
	second := Issue(t, up, ratest.Order(t, again))
	if first.Equal(second) {
		t.Error("two orders gave one certificate")
	}
}

func testCancelled(t *testing.T, up ra.Upstream) {
	order := ratest.Order(t, ratest.Case{Policy: permissive(up), CSR: named(t, up.Carries(), "device.example"), Now: time.Now()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	issued, err := up.Issue(ctx, order)
	if issued.Certificate != nil {
		t.Error("Issue gave a certificate to nobody")
	}
	kind, ok := kindOf(err)
	if !ok || !slices.Contains([]ra.Kind{ra.UpstreamDown, ra.UpstreamTimeout, ra.Busy}, kind) {
		t.Errorf("Issue: %v, want an upstream's error", err)
	}
	if _, err := up.CACerts(ctx); err != nil {
		if _, ok := kindOf(err); !ok {
			t.Errorf("CACerts: %v is no *ra.Error", err)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s to give up", took)
	}
}

func testConcurrent(t *testing.T, up ra.Upstream) {
	const callers = 12
	orders := make([]ra.Order, callers)
	for i := range orders {
		name := fmt.Sprintf("device-%d.example", i)
		orders[i] = ratest.Order(t, ratest.Case{
			Policy: permissive(up), CSR: named(t, up.Carries(), name), Now: time.Now(), OwnSerials: !up.Carries().Serial,
		})
	}
	var group sync.WaitGroup
	for i, order := range orders {
		group.Go(func() {
			if _, err := issue(t.Context(), up, order); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	group.Wait()
}

func kindOf(err error) (ra.Kind, bool) {
	var e *ra.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Kind, true
}
