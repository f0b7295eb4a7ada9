// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

var (
	oidSAN     = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEKU     = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidPlanned = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 7}
	oidAdded   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 8}
)

// replaced puts another value into an extension that the plan has.
func replaced(id asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		removed(id)(c)
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
	}
}

func removed(id asn1.ObjectIdentifier) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = slices.DeleteFunc(c.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
	}
}

func san(names ...[]byte) func(*x509.Certificate) {
	return replaced(oidSAN, false, csrtest.SEQ(names...))
}

func eku(oids ...string) func(*x509.Certificate) {
	var parts [][]byte
	for _, oid := range oids {
		parts = append(parts, csrtest.OID(oid))
	}
	return replaced(oidEKU, false, csrtest.SEQ(parts...))
}

const (
	serverAuth = "1.3.6.1.5.5.7.3.1"
	clientAuth = "1.3.6.1.5.5.7.3.2"
	cmcRA      = "1.3.6.1.5.5.7.3.28"
)

// withExtension is Permissive, and takes one extension of the request.
var withExtension = strings.Replace(ratest.Permissive, "    usage:",
	"    extensions: {allow: [\""+oidPlanned.String()+"\"]}\n    usage:", 1)

func TestConformsComparesEveryField(t *testing.T) {
	dns, ip := csrtest.DNS("rtr-1.example"), csrtest.IP("10.0.0.1")
	order := ratest.Order(t, ratest.Case{
		Policy: withExtension,
		CSR: csrtest.New(t,
			csrtest.Subject(csrtest.CN("rtr-1.example"), csrtest.O("Example")),
			csrtest.SAN(dns, ip),
			csrtest.Extension(oidPlanned.String(), false, []byte{5, 0})),
	})
	tolerated := ra.Tolerated{Backdate: time.Minute, Extensions: []string{oidAdded.String()}}
	after := func(d time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(d) }
	}
	before := func(d time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(d) }
	}
	subject := func(rdns ...[]byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.RawSubject = csrtest.Name(rdns...) }
	}
	for name, test := range map[string]struct {
		mutate func(*x509.Certificate)
		want   string // the field that differs; "": none
	}{
		"as planned":                            {mutate: func(*x509.Certificate) {}},
		"another public key":                    {mutate: func(c *x509.Certificate) { c.PublicKey = ratest.NewKey(t).Public() }, want: "public key"},
		"another common name":                   {mutate: subject(csrtest.CN("rtr-2.example"), csrtest.O("Example")), want: "subject"},
		"one more attribute":                    {mutate: subject(csrtest.CN("rtr-1.example"), csrtest.O("Example"), csrtest.O("Other")), want: "subject"},
		"one attribute less":                    {mutate: subject(csrtest.CN("rtr-1.example")), want: "subject"},
		"attributes in another order":           {mutate: subject(csrtest.O("Example"), csrtest.CN("rtr-1.example")), want: "subject"},
		"the subject in another letter case":    {mutate: subject(csrtest.CN("RTR-1.example"), csrtest.O("Example"))},
		"a name added after the check":          {mutate: san(dns, ip, csrtest.DNS("admin.example")), want: "subjectAltName"},
		"an otherName that crypto/x509 hides":   {mutate: san(dns, ip, csrtest.OtherName("1.2.3", csrtest.UTF8("x"))), want: "subjectAltName"},
		"a directoryName that it hides":         {mutate: san(dns, ip, csrtest.DirectoryName(csrtest.CN("admin"))), want: "subjectAltName"},
		"a registeredID that it hides":          {mutate: san(dns, ip, csrtest.RegisteredID("1.2.3")), want: "subjectAltName"},
		"a name less":                           {mutate: san(dns), want: "subjectAltName"},
		"another address":                       {mutate: san(dns, csrtest.IP("10.0.0.2")), want: "subjectAltName"},
		"no subjectAltName":                     {mutate: removed(oidSAN), want: "subjectAltName"},
		"the names in another order":            {mutate: san(ip, dns)},
		"a critical subjectAltName":             {mutate: replaced(oidSAN, true, csrtest.SEQ(dns, ip)), want: "subjectAltName critical"},
		"one more key usage":                    {mutate: func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, want: "keyUsage"},
		"no key usage":                          {mutate: func(c *x509.Certificate) { c.KeyUsage = 0 }, want: "keyUsage"},
		"one more extended key usage":           {mutate: eku(clientAuth, serverAuth, cmcRA), want: "extKeyUsage"},
		"one extended key usage less":           {mutate: eku(clientAuth), want: "extKeyUsage"},
		"no extended key usage":                 {mutate: removed(oidEKU), want: "extKeyUsage"},
		"the usages in another order":           {mutate: eku(serverAuth, clientAuth)},
		"a CA certificate":                      {mutate: func(c *x509.Certificate) { c.IsCA = true }, want: "basicConstraints"},
		"an end one second later":               {mutate: after(time.Second), want: "notAfter"},
		"an end a minute earlier":               {mutate: after(-time.Minute)},
		"an end more than a minute earlier":     {mutate: after(-61 * time.Second), want: "notAfter"},
		"a beginning a minute earlier":          {mutate: before(-time.Minute)},
		"a beginning more than that earlier":    {mutate: before(-61 * time.Second), want: "notBefore"},
		"a beginning by the CA's own clock":     {mutate: before(time.Minute)},
		"a beginning far in the future":         {mutate: before(61 * time.Second), want: "notBefore"},
		"the planned extension missing":         {mutate: removed(oidPlanned), want: "extension " + oidPlanned.String()},
		"the planned extension changed":         {mutate: replaced(oidPlanned, false, []byte{1, 1, 0xff}), want: "extension " + oidPlanned.String()},
		"the planned extension made critical":   {mutate: replaced(oidPlanned, true, []byte{5, 0}), want: "extension " + oidPlanned.String() + " critical"},
		"an extension that the adapter names":   {mutate: replaced(oidAdded, false, []byte{5, 0})},
		"a tolerated extension, but critical":   {mutate: replaced(oidAdded, true, []byte{5, 0}), want: "extension " + oidAdded.String()},
		"an extension that nobody names":        {mutate: replaced(asn1.ObjectIdentifier{2, 5, 29, 31}, false, []byte{0x30, 0}), want: "extension 2.5.29.31"},
		"another serial number than was asked":  {mutate: func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) }, want: "serial number"},
		"a key identifier of the CA's own make": {mutate: func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3} }},
	} {
		t.Run(name, func(t *testing.T) {
			ca := ratest.NewCA(t)
			ca.Set(ratest.Knobs{Mutate: test.mutate})
			issued, err := ca.Issue(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			wantOnly(t, ra.Conforms(issued.Certificate, order, tolerated, issuers(ca)), test.want)
		})
	}
}

// A CA that ends certificates when it likes gives none that has ended.
func TestConformsRefusesACertificateThatHasEnded(t *testing.T) {
	order := ratest.Order(t, ratest.Case{})
	ca := ratest.NewCA(t)
	for end, want := range map[time.Time]string{
		order.NotBefore(): "", order.NotBefore().Add(-time.Second): "notAfter", order.NotAfter(): "", order.NotAfter().Add(time.Second): "notAfter",
	} {
		ca.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) { c.NotBefore, c.NotAfter = order.NotBefore().Add(-time.Minute), end }})
		issued, err := ca.Issue(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		wantOnly(t, ra.Conforms(issued.Certificate, order, ra.Tolerated{Backdate: time.Minute, Shorter: math.MaxInt64}, issuers(ca)), want)
	}
}

func issuers(ca *ratest.CA) []*x509.Certificate {
	return []*x509.Certificate{ca.Intermediate.Certificate}
}

// wantOnly wants a difference in one field, or none at all.
func wantOnly(t *testing.T, err error, field string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf("differences: %v", err)
		}
		return
	}
	var differences ra.Differences
	if !errors.As(err, &differences) || len(differences) != 1 || differences[0].Field != field {
		t.Errorf("got %v, want a difference in %q alone", err, field)
	}
}

func TestConformsWantsTheCAsOwnIssuer(t *testing.T) {
	order := ratest.Order(t, ratest.Case{})
	ca := ratest.NewCA(t)
	sibling := ca.Root.Sub(t, "Another Issuing CA")
	namesake := ca.Root.Sub(t, ca.Intermediate.Certificate.Subject.CommonName)
	for name, test := range map[string]struct {
		signer ratest.Signer
		want   string
	}{
		"the issuing CA":                           {ca.Intermediate, ""},
		"a sibling CA under the same root":         {sibling, "issuer"},
		"a sibling CA of the same name":            {namesake, "issuer"},
		"the root itself":                          {ca.Root, "issuer"},
		"a stranger with the root's name":          {ratest.NewRoot(t, "Test Root"), "issuer"},
		"a stranger with the issuing CA's name":    {ratest.NewRoot(t, "Test Issuing CA"), "issuer"},
		"a CA under the issuing CA, not a sibling": {ca.Intermediate.Sub(t, "Below"), "issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			ca.Set(ratest.Knobs{Sign: &test.signer})
			issued, err := ca.Issue(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			wantOnly(t, ra.Conforms(issued.Certificate, order, ra.Tolerated{}, issuers(ca)), test.want)
		})
	}
}

func TestConformsChecksTheSerialNumber(t *testing.T) {
	order := ratest.Order(t, ratest.Case{})
	ca := ratest.NewCA(t)
	issued, err := ca.Issue(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	for name, serial := range map[string]*big.Int{
		"none":             nil,
		"zero":             big.NewInt(0),
		"a negative one":   big.NewInt(-5),
		"one of 21 octets": new(big.Int).Lsh(big.NewInt(1), 159),
	} {
		t.Run(name, func(t *testing.T) {
			leaf := *issued.Certificate
			leaf.SerialNumber = serial
			wantOnly(t, ra.Conforms(&leaf, order, ra.Tolerated{}, issuers(ca)), "serial number")
		})
	}
}

func TestConformsListsAllDifferencesAndNeedsAnOrder(t *testing.T) {
	order := ratest.Order(t, ratest.Case{})
	ca := ratest.NewCA(t)
	ca.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) {
		c.RawSubject = csrtest.Name(csrtest.CN("admin"))
		c.KeyUsage |= x509.KeyUsageKeyEncipherment
		c.NotAfter = c.NotAfter.AddDate(1, 0, 0)
	}})
	issued, err := ca.Issue(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	err = ra.Conforms(issued.Certificate, order, ra.Tolerated{}, nil)
	for _, field := range []string{"subject", "keyUsage", "notAfter", "issuer"} {
		if err == nil || !strings.Contains(err.Error(), field+": planned ") {
			t.Errorf("%v doesn't tell of %s", err, field)
		}
	}
	if ra.Conforms(issued.Certificate, ra.Order{}, ra.Tolerated{}, issuers(ca)) == nil {
		t.Error("a certificate conforms to the zero Order")
	}
	if ra.Conforms(nil, order, ra.Tolerated{}, issuers(ca)) == nil {
		t.Error("no certificate conforms")
	}
}

func TestConformsWithAnEmptySubjectWantsACriticalSAN(t *testing.T) {
	order := ratest.Order(t, ratest.Case{
		CSR: csrtest.New(t, csrtest.Subject(), csrtest.SAN(csrtest.DNS("rtr-1.example"))),
	})
	ca := ratest.NewCA(t)
	for name, test := range map[string]struct {
		mutate func(*x509.Certificate)
		want   string
	}{
		"critical":     {func(*x509.Certificate) {}, ""},
		"not critical": {san(csrtest.DNS("rtr-1.example")), "subjectAltName critical"},
	} {
		t.Run(name, func(t *testing.T) {
			ca.Set(ratest.Knobs{Mutate: test.mutate})
			issued, err := ca.Issue(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			wantOnly(t, ra.Conforms(issued.Certificate, order, ra.Tolerated{}, issuers(ca)), test.want)
		})
	}
}
